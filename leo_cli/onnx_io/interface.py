"""The inputs and outputs of a graph as `TensorSpec`s, and which axis counts the samples.

Axis 0 of an input with two or more axes counts samples, and so does the only axis of an input of
unknown length. An input without a declared shape gets one from the Gemm that reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import onnx

from leo_cli.errors import ModelError
from leo_cli.onnx_io.constants import DTYPES, type_name
from leo_cli.tensors import TensorSpec

MOST_FEATURES = 1 << 26  # of one input; more is a mistake in the file

Shape = tuple[int | str | None, ...]


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return int(dim.dim_value)
    return dim.dim_param or None


def declared_shape(info: onnx.ValueInfoProto) -> Shape | None:
    """The axes as in the file; None where it declares none."""
    tensor = info.type.tensor_type
    if not info.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    return tuple(_dim(d) for d in tensor.shape.dim)


def _features_of_reader(graph: onnx.GraphProto, tensor: str, rank: int | None) -> int | None:
    """The number of features that the first matrix product on an input asks for."""
    stored = {t.name: tuple(t.dims) for t in graph.initializer}
    for node in graph.node:
        if len(node.input) < 2 or node.input[0] != tensor or node.input[1] not in stored:
            continue
        dims = stored[node.input[1]]
        flags = {a.name: a.i for a in node.attribute}
        if node.op_type == "Gemm" and len(dims) == 2 and not flags.get("transA"):
            return int(dims[1] if flags.get("transB") else dims[0])
        if node.op_type == "MatMul" and len(dims) == 2 and rank == 2:
            return int(dims[0])
    return None


def _shape_of_input(graph: onnx.GraphProto, info: onnx.ValueInfoProto, name: str) -> Shape:
    shape = declared_shape(info)
    unknown = shape is None or any(not isinstance(n, int) for n in shape[1:])
    if unknown:
        found = _features_of_reader(graph, info.name, None if shape is None else len(shape))
        if found is not None and (shape is None or len(shape) == 2):
            shape = (None if shape is None else shape[0], found)
            unknown = False
    if shape is None or unknown:
        shown = "no shape" if shape is None else f"shape {list(shape)}"
        raise ModelError(
            f'{name}: input "{info.name}" has {shown}; export it with all axes but the first'
        )
    return shape


def input_specs(proto: onnx.ModelProto, name: str) -> tuple[TensorSpec, ...]:
    """The inputs that a caller gives. Raises ModelError for none, and for what is no number."""
    stored = {t.name for t in proto.graph.initializer}
    stored.update(t.values.name for t in proto.graph.sparse_initializer)
    specs = []
    for info in proto.graph.input:
        if info.name in stored:
            continue
        element_type = info.type.tensor_type.elem_type
        dtype = DTYPES.get(element_type, "bool")
        if not info.type.HasField("tensor_type") or dtype == "bool":
            shown = type_name(element_type) if info.type.HasField("tensor_type") else "no tensor"
            raise ModelError(
                f'{name}: input "{info.name}" is {shown}; leo works on inputs that are numbers'
            )
        shape = _shape_of_input(proto.graph, info, name)
        has_batch = len(shape) >= 2 or (len(shape) == 1 and not isinstance(shape[0], int))
        features = tuple(n for n in shape[1 if has_batch else 0 :] if isinstance(n, int))
        if prod(features) > MOST_FEATURES:
            raise ModelError(
                f'{name}: input "{info.name}" has {prod(features)} features; '
                f"the most is {MOST_FEATURES}"
            )
        specs.append(TensorSpec(info.name, shape, features, dtype))
    if not specs:
        raise ModelError(f"{name}: the model has no inputs; there is nothing to compress")
    return tuple(specs)


def without_batch(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...] | None:
    """The same inputs read as one sample each (column vectors); None where an axis is open."""
    if any(not isinstance(n, int) for spec in specs for n in spec.shape):
        return None
    whole = tuple(
        replace(spec, features=tuple(n for n in spec.shape if isinstance(n, int))) for spec in specs
    )
    return None if whole == tuple(specs) else whole


def output_specs(proto: onnx.ModelProto, inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The outputs. The batch axis is the first open one, or the first as long as the inputs'
    first."""
    batched = any(len(s.features) < len(s.shape) for s in inputs)
    fixed = {s.shape[0] for s in inputs if len(s.features) < len(s.shape)}
    specs = []
    for info in proto.graph.output:
        if not info.type.HasField("tensor_type"):
            specs.append(TensorSpec(info.name, (), (), info.type.WhichOneof("value") or "unknown"))
            continue
        shape = declared_shape(info) or ()
        dtype = DTYPES.get(info.type.tensor_type.elem_type, "other")
        axis = next((k for k, n in enumerate(shape) if not isinstance(n, int)), None)
        if axis is None and len(shape) >= 2 and shape[0] in fixed:
            axis = 0
        axis = axis if batched else None
        features = tuple(n if isinstance(n, int) else -1 for k, n in enumerate(shape) if k != axis)
        specs.append(TensorSpec(info.name, shape, features, dtype))
    return tuple(specs)
