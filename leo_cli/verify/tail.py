"""The part of a model behind its rewritten dense part, as a model of its own.

Softmax, ArgMax, ZipMap and the like stay as they are, so their outputs in the candidate must be
what the *original's* tail computes from the candidate's scores, bit by bit. Where that holds, a
label that differs between the models was decided by the difference of the scores alone: if that is
within the allowed difference, the label is shown to be a near-tie.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx


def tail_model(
    proto: onnx.ModelProto, cut: Mapping[str, np.dtype[Any]], outputs: Sequence[str]
) -> tuple[bytes, tuple[str, ...]]:
    """The nodes that compute `outputs` from the tensors in `cut` (name to type) and from graph
    inputs.

    Returns the serialised model, and the names of its inputs in order: tensors of `cut` and graph
    inputs, as far as they are used.
    """
    graph = proto.graph
    producers = {name: node for node in graph.node for name in node.output if name}
    back = _originals(producers, cut)
    needed: set[int] = set()
    used: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name in used:
            continue
        used.add(name)
        if name in back:
            waiting.append(back[name].input[0])
            continue
        node = None if name in cut else producers.get(name)
        if node is not None and id(node) not in needed:
            needed.add(id(node))
            waiting += _reads(node)
    tail = _empty_copy(proto)
    tail.graph.node.extend(node for name, node in back.items() if name in used)
    tail.graph.node.extend(node for node in graph.node if id(node) in needed)
    tail.graph.initializer.extend(
        tensor for tensor in graph.initializer if tensor.name in used and tensor.name not in cut
    )
    tail.graph.sparse_initializer.extend(
        tensor for tensor in graph.sparse_initializer if tensor.values.name in used
    )
    constants = {tensor.name for tensor in graph.initializer}
    names = [name for name in cut if name in used]
    for name in names:
        value = tail.graph.input.add(name=name)
        value.type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(cut[name])
    for value in graph.input:
        if value.name in used and value.name not in cut:
            tail.graph.input.append(value)
            if value.name not in constants:
                names.append(value.name)
    tail.graph.output.extend(value for value in graph.output if value.name in set(outputs))
    return tail.SerializeToString(), tuple(names)


def _empty_copy(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model's versions, metadata and functions, with an empty graph."""
    empty = onnx.ModelProto()
    for field, value in proto.ListFields():
        if field.name == "graph":
            continue
        if field.is_repeated:
            getattr(empty, field.name).extend(value)
        else:
            setattr(empty, field.name, value)
    empty.graph.name = proto.graph.name
    return empty


def _originals(
    producers: Mapping[str, onnx.NodeProto], cut: Mapping[str, np.dtype[Any]]
) -> dict[str, onnx.NodeProto]:
    """Where a tensor of `cut` is a transposed copy that nothing else reads, the tensor that the
    graph reads, and the node that makes it from the copy."""
    read = {name for node in producers.values() for name in _reads(node)}
    out = {}
    for name in cut:
        node = producers.get(name)
        if node is None or node.op_type != "Transpose" or name in read:
            continue
        order = next(list(a.ints) for a in node.attribute if a.name == "perm")
        inverse = [order.index(axis) for axis in range(len(order))]
        made = onnx.helper.make_node("Transpose", [name], [node.input[0]], perm=inverse)
        out[node.input[0]] = made
    return out


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node reads, those of its subgraphs included (local ones do no harm)."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.HasField("g") else []
        for graph in [*graphs, *attribute.graphs]:
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from _reads(inner)
