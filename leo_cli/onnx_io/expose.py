"""Let a caller see what leaves the dense part: its output tensors as outputs of the graph."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import helper

from leo_cli.onnx_io.constants import ELEMENT_TYPES
from leo_cli.onnx_io.model import Model
from leo_cli.onnx_io.placement import Placement
from leo_cli.tensors import TensorSpec


def _shown(model: Model, place: Placement) -> str:
    """The name under which a tensor is seen: its own, or that of its transposed copy."""
    name = place.tensor or ""
    if not place.batch:
        return name
    taken = {o for node in model.proto.graph.node for o in node.output}
    shown = f"{name}/samples_first"
    while shown in taken:
        shown += "_"
    return shown


def observed_tensors(model: Model) -> tuple[TensorSpec, ...]:
    """The tensors that hold `network.outputs`, in that order.

    shape has the batch axis first (None), or no batch axis. Where the file has it elsewhere, the
    tensor is a transposed copy that `with_outputs` adds.
    """
    specs = []
    for node in model.network.outputs:
        place = model.places[model.network.layers[node - 1].name]
        shape = place.shape if place.batch is None else (None, *place.shape)
        specs.append(TensorSpec(_shown(model, place), shape, place.shape, place.dtype))
    return tuple(specs)


def with_outputs(model: Model, names: Iterable[str]) -> bytes:
    """The model with some of its observed tensors as additional outputs, after its own."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    present = {o.name for o in graph.output}
    places = {_shown(model, place): place for place in model.places.values() if place.tensor}
    for name in names:
        if name in present:
            continue
        present.add(name)
        place = places[name]
        if place.batch:
            rank = len(place.shape) + 1
            order = [place.batch, *(k for k in range(rank) if k != place.batch)]
            tensor = place.tensor or ""
            graph.node.append(helper.make_node("Transpose", [tensor], [name], perm=order))
        shape = list(place.shape) if place.batch is None else [None, *place.shape]
        graph.output.append(helper.make_tensor_value_info(name, ELEMENT_TYPES[place.dtype], shape))
    content: bytes = proto.SerializeToString(deterministic=True)
    return content
