"""Render a rewritten network as an ONNX model: the user's graph with its dense part replaced.

Kept as they are: inputs and outputs with names, shapes and types, operator sets, IR version,
metadata, doc strings, and every operator outside the part that changed (`plan`). Written anew: the
layers that changed (`layers`). Constants that nobody reads any more are left out; shapes noted for
tensors that changed are corrected. Equal arguments give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

from leo_cli.errors import InternalFault, ModelError
from leo_cli.network import Network
from leo_cli.onnx_io.layers import Layers
from leo_cli.onnx_io.model import Model
from leo_cli.onnx_io.naming import Names, Sheet
from leo_cli.onnx_io.ordering import evaluation_order
from leo_cli.onnx_io.placement import OUTPUTS_KEY
from leo_cli.onnx_io.plan import Plan, Planner
from leo_cli.onnx_io.screening import check_model, opsets

INITIALIZERS_ARE_INPUTS = 4  # below this IR version every initializer must be listed as an input


@dataclass(frozen=True, eq=False)
class Rendered:
    """A model in memory, all its weights inside. external: it is to be saved with a data file
    beside it, as its source was."""

    proto: onnx.ModelProto = field(repr=False)
    external: bool

    def to_bytes(self) -> bytes:
        """The model as one file's content."""
        content: bytes = self.proto.SerializeToString(deterministic=True)
        return content


def render(model: Model, network: Network, metadata: Mapping[str, str]) -> Rendered:
    """The model with `network` in the place of `model.network`.

    Layers of the original are recognised by their names and `origin`; weights must be numbers of
    the type that the layer is stored in. metadata: keys and values to set in the file. Raises
    InternalFault for a network that does not fit the model, or a result that onnx's checker does
    not accept.
    """
    if len(network.outputs) != len(model.network.outputs) or network.inputs != model.network.inputs:
        raise InternalFault(f"{model.name}: the rewritten network has another interface")
    plan = Planner(model, network).plan()
    graph = model.proto.graph
    kept = [node for k, node in enumerate(graph.node) if k in plan.kept]
    constants = {i for node in kept for i in node.input} | {o.name for o in graph.output}
    alive = set(plan.tensors) | constants | {o for node in kept for o in node.output}
    names = Names(alive | set(plan.in_place))
    operators = Names(node.name for node in kept)
    named = any(node.name for node in graph.node)
    sheet = Sheet(names, operators, opsets(model.proto)[""], named)
    Layers(model, network, plan, sheet).write()
    proto = _assembled(model, network, plan, sheet, constants, metadata)
    try:
        check_model(proto, model.name)
    except ModelError as error:
        raise InternalFault(f"the rewritten model is not valid: {error}") from error
    return Rendered(proto, model.has_external_data)


def _assembled(
    model: Model,
    network: Network,
    plan: Plan,
    sheet: Sheet,
    constants: set[str],
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    old = model.proto.graph
    proto = onnx.ModelProto()
    _copy_fields(model.proto, proto, skip={"graph"})
    places = (model.places[model.network.layers[n - 1].name] for n in model.network.outputs)
    ends = "\n".join(p.tensor for p in places if p.tensor)
    _set_metadata(proto, {**metadata, OUTPUTS_KEY: ends} if ends else metadata)
    graph = proto.graph
    big = {"node", "initializer", "sparse_initializer", "input", "value_info"}
    _copy_fields(old, graph, skip=big | {"quantization_annotation"})
    graph.node.extend(_ordered([*_kept_with_place(old, plan), *sheet.nodes]))
    graph.initializer.extend(t for t in old.initializer if t.name in constants)
    graph.initializer.extend(sheet.initializers)
    graph.sparse_initializer.extend(s for s in old.sparse_initializer if s.values.name in constants)
    _set_inputs(model, graph, sheet, constants)
    _set_value_info(model, graph, plan)
    present = {o for n in graph.node for o in n.output} | {t.name for t in graph.initializer}
    graph.quantization_annotation.extend(
        q for q in old.quantization_annotation if q.tensor_name in present
    )
    return proto


def _copy_fields(
    source: onnx.ModelProto | onnx.GraphProto,
    target: onnx.ModelProto | onnx.GraphProto,
    skip: set[str],
) -> None:
    """Copy all fields but some, without a detour through the large ones."""
    for descriptor, value in source.ListFields():
        if descriptor.name in skip:
            continue
        if hasattr(value, "extend"):
            getattr(target, descriptor.name).extend(value)
        elif hasattr(value, "CopyFrom"):
            getattr(target, descriptor.name).CopyFrom(value)
        else:
            setattr(target, descriptor.name, value)


def _set_metadata(proto: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    known = {entry.key: entry for entry in proto.metadata_props}
    for key, value in metadata.items():
        if key in known:
            known[key].value = value
        else:
            proto.metadata_props.add(key=key, value=value)


def _kept_with_place(graph: onnx.GraphProto, plan: Plan) -> list[tuple[int, onnx.NodeProto]]:
    return [(k, node) for k, node in enumerate(graph.node) if k in plan.kept]


def _ordered(nodes: list[tuple[int, onnx.NodeProto]]) -> list[onnx.NodeProto]:
    """The operators in an order of evaluation, as near as possible to the order of their places."""
    order = evaluation_order([node for _, node in nodes], [place for place, _ in nodes])
    if len(order) < len(nodes):
        raise InternalFault("the rewritten graph has a cycle")
    return [nodes[k][1] for k in order]


def _set_inputs(model: Model, graph: onnx.GraphProto, sheet: Sheet, constants: set[str]) -> None:
    """The inputs that callers give, and where the IR version wants them, the initializers.
    Initializers that callers could override are no inputs any more: they were taken as
    constants."""
    old = model.proto.graph
    stored = {t.name for t in old.initializer}
    listed = model.proto.ir_version < INITIALIZERS_ARE_INPUTS
    for info in old.input:
        if info.name not in stored or (listed and info.name in constants):
            graph.input.append(info)
    if listed:
        graph.input.extend(
            onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims)
            for t in sheet.initializers
        )


def _set_value_info(model: Model, graph: onnx.GraphProto, plan: Plan) -> None:
    """Types and shapes noted for inner tensors, as far as they still hold."""
    old = model.proto.graph
    kept = {o for k in plan.kept for o in old.node[k].output}
    shapes = {t.name: list(t.dims) for t in graph.initializer}
    old_shapes = {t.name: list(t.dims) for t in old.initializer}
    widths = _widths(graph, shapes)
    for info in old.value_info:
        name = info.name
        same_constant = name in shapes and shapes[name] == old_shapes.get(name)
        if same_constant or (name in kept and name not in plan.in_place):
            graph.value_info.append(info)
        elif name in widths and _counts_samples_first(info, model.batch_size):
            graph.value_info.append(info)
            dim = graph.value_info[-1].type.tensor_type.shape.dim[1]
            dim.Clear()
            dim.dim_value = widths[name]


def _counts_samples_first(info: onnx.ValueInfoProto, batch_size: int | None) -> bool:
    """Has the tensor the axes (samples, features)?"""
    dims = info.type.tensor_type.shape.dim
    if len(dims) != 2 or not dims[1].dim_value:
        return False
    return not dims[0].dim_value or dims[0].dim_value == batch_size


def _widths(graph: onnx.GraphProto, shapes: Mapping[str, list[int]]) -> dict[str, int]:
    """Number of features of the tensors that the written dense layers make."""
    widths: dict[str, int] = {}
    for node in graph.node:
        dims = shapes.get(node.input[1], []) if len(node.input) > 1 else []
        if node.op_type == "Gemm" and len(dims) == 2:
            turned = any(a.name == "transB" and a.i for a in node.attribute)
            widths[node.output[0]] = dims[0] if turned else dims[1]
        elif node.op_type == "MatMul" and len(dims) == 2:
            widths[node.output[0]] = dims[1]
        elif node.op_type in ("Add", "Relu") and node.input[0] in widths:
            widths[node.output[0]] = widths[node.input[0]]
    return widths
