"""What makes a whole model unfit, wherever it stands in the graph; each check names the way out.

Control flow and random numbers are refused even behind the dense part: a rewritten network must be
comparable with the original, and names that a subgraph captures cannot be followed. The checks by
onnx (checker, shape and type inference) run on a copy without large tensors, so that their cost
does not depend on the size of the weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import prod

import onnx
from onnx import checker, defs, helper, inliner, shape_inference

from leo_cli.errors import ModelError
from leo_cli.onnx_io import external
from leo_cli.onnx_io.constants import check_data

CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
RANDOM = frozenset(
    {
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Multinomial",
        "Bernoulli",
    }
)
STANDARD = ("", "ai.onnx", "ai.onnx.ml")
RUNTIME = ("com.microsoft", "com.microsoft.nchwc")
LARGE = 4096  # entries; tensors above this size are left out of the copy that onnx checks
FIRST_OPSET = 7  # the first with today's broadcasting, and the first that onnxruntime supports


def label(node: onnx.NodeProto) -> str:
    """How messages call a node."""
    known_by = node.name or next((o for o in node.output if o), "")
    return f'node "{known_by}" ({node.op_type})'


def check_tensors(proto: onnx.ModelProto, name: str) -> None:
    """Shapes against data, and names defined twice."""
    for tensor in external.tensors(proto.graph):
        check_data(tensor, name)
    counts = Counter(t.name for t in proto.graph.initializer)
    counts.update(t.values.name for t in proto.graph.sparse_initializer)
    for tensor_name, count in counts.items():
        if count > 1:
            raise ModelError(
                f'{name}: initializer "{tensor_name}" is defined {count} times; '
                "export the model again"
            )


def opsets(proto: onnx.ModelProto) -> dict[str, int]:
    """Domain -> version ("" for the standard operators)."""
    return {("" if o.domain == "ai.onnx" else o.domain): o.version for o in proto.opset_import}


def check_versions(proto: onnx.ModelProto, name: str) -> None:
    """IR and operator set versions that the installed onnx knows."""
    if proto.ir_version > onnx.IR_VERSION:
        raise ModelError(
            f"{name}: IR version {proto.ir_version} is newer than the installed onnx knows "
            f"({onnx.IR_VERSION}); upgrade onnx"
        )
    versions = opsets(proto)
    for entry in proto.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        if versions[domain] != entry.version:
            raise ModelError(f'{name}: two versions of the operator set "{domain}"; keep one')
    if "" not in versions:
        raise ModelError(f"{name}: the model imports no standard operator set; export it again")
    known = {"": defs.onnx_opset_version(), "ai.onnx.ml": _newest("ai.onnx.ml")}
    for domain, newest in known.items():
        version = versions.get(domain, newest)
        if not 1 <= version <= newest:
            shown = domain or "ai.onnx"
            raise ModelError(
                f"{name}: opset {version} of {shown} is not supported (newest known: {newest}); "
                "upgrade onnx or export with an older opset"
            )
    if versions[""] < FIRST_OPSET:
        raise ModelError(
            f"{name}: opset {versions['']} is older than {FIRST_OPSET}; convert the model with "
            "onnx.version_converter"
        )


def _newest(domain: str) -> int:
    return max(s.since_version for s in defs.get_all_schemas() if s.domain == domain)


def inline_functions(proto: onnx.ModelProto, name: str) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The model with model-local functions replaced by their bodies, and a note if there were
    any."""
    if not proto.functions:
        return proto, ()
    names = ", ".join(f.name for f in proto.functions)
    try:
        return inliner.inline_local_functions(proto), (f"model-local functions inlined: {names}",)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ModelError(
            f"{name}: model-local functions ({names}) cannot be inlined ({_line(error)}); "
            "inline them with onnx.inliner"
        ) from None


def check_operators(proto: onnx.ModelProto, name: str) -> None:
    """No control flow, no random numbers, no operator that onnxruntime does not know."""
    versions = opsets(proto)
    for node in proto.graph.node:
        domain = "" if node.domain == "ai.onnx" else node.domain
        if domain == "" and node.op_type in CONTROL_FLOW:
            raise ModelError(
                f"{name}: {label(node)}: control flow is not supported; export the model without it"
            )
        if domain == "" and node.op_type in RANDOM:
            raise ModelError(
                f"{name}: {label(node)}: not deterministic; export the model for inference"
            )
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            raise ModelError(f"{name}: {label(node)}: subgraphs are not supported")
        if not _is_known(node.op_type, domain, versions):
            shown = f"{domain}.{node.op_type}" if domain else node.op_type
            raise ModelError(
                f"{name}: {label(node)}: unknown operator {shown}; "
                "export the model with standard operators"
            )


def _is_known(op_type: str, domain: str, versions: dict[str, int]) -> bool:
    if domain in STANDARD:
        if not defs.has(op_type, domain):
            return False
        try:
            return not defs.get_schema(op_type, versions.get(domain, 1), domain).deprecated
        except defs.SchemaError:
            return False
    if domain not in RUNTIME:
        return False
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime  # only for these models

    return any(s.domain == domain and s.name == op_type for s in runtime.get_all_operator_schema())


def skeleton(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy for onnx's checks: large initializers become inputs; claims about the shapes of inner
    tensors, which exporters often get wrong and runtimes ignore, are left out."""
    light = onnx.ModelProto()
    for descriptor, value in proto.ListFields():
        if descriptor.name == "graph":
            continue
        if descriptor.name in ("opset_import", "functions", "metadata_props", "training_info"):
            getattr(light, descriptor.name).extend(value)
        else:
            setattr(light, descriptor.name, value)
    graph = light.graph
    graph.name = proto.graph.name
    graph.node.extend(proto.graph.node)
    graph.input.extend(proto.graph.input)
    graph.output.extend(proto.graph.output)
    graph.sparse_initializer.extend(proto.graph.sparse_initializer)
    declared = {i.name for i in graph.input}
    for tensor in proto.graph.initializer:
        if prod(tensor.dims) <= LARGE:
            graph.initializer.append(tensor)
        elif tensor.name not in declared:
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    for info in (*graph.input, *graph.output):  # the checker wants a shape, runtimes do not
        tensor = info.type.tensor_type
        if info.type.HasField("tensor_type") and not tensor.HasField("shape"):
            tensor.shape.SetInParent()
    return light


def check_model(proto: onnx.ModelProto, name: str) -> None:
    """onnx's checker and strict type inference, and outputs that nothing makes."""
    graph = proto.graph
    made = {o for node in graph.node for o in node.output if o}
    made.update(i.name for i in graph.input)
    made.update(t.name for t in graph.initializer)
    made.update(t.values.name for t in graph.sparse_initializer)
    for output in graph.output:
        if output.name not in made:
            raise ModelError(
                f'{name}: graph output "{output.name}" is not produced; export the model again'
            )
    light = skeleton(proto)
    try:
        checker.check_model(light)
        for info in (*light.graph.output, *_without_shape(graph.input, light.graph.input)):
            if info.type.HasField("tensor_type"):
                info.type.tensor_type.ClearField("shape")
        shape_inference.infer_shapes(light, check_type=True, strict_mode=True)
    except (checker.ValidationError, shape_inference.InferenceError, ValueError) as error:
        raise ModelError(f"{name}: not a valid ONNX model: {_line(error)}") from None


def _without_shape(
    declared: Iterable[onnx.ValueInfoProto], copied: Iterable[onnx.ValueInfoProto]
) -> list[onnx.ValueInfoProto]:
    """The copies of inputs for which the file declares no shape."""
    missing = {i.name for i in declared if not i.type.tensor_type.HasField("shape")}
    return [i for i in copied if i.name in missing]


def _line(error: Exception) -> str:
    """The first telling line of an error of onnx, without what follows it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
