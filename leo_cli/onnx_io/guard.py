"""Make a rewritten model safe outside its domain: clip its inputs, or say whether they are inside.

clip: every reader of an input x reads max(min(x, upper), lower) instead. Inside the box that is x,
to the bit; for boxes only. flag: a second output, true for samples of the domain alone
(`in_domain`). Both leave inputs and other outputs as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import helper

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.errors import InputError, InternalFault, ModelError
from leo_cli.onnx_io.constants import ELEMENT_TYPES
from leo_cli.onnx_io.in_domain import write_membership
from leo_cli.onnx_io.model import Model, has_batch
from leo_cli.onnx_io.naming import Names, Sheet
from leo_cli.onnx_io.ordering import evaluation_order
from leo_cli.onnx_io.screening import check_model, opsets
from leo_cli.onnx_io.write import INITIALIZERS_ARE_INPUTS, Rendered
from leo_cli.tensors import TensorSpec

BROADCASTING = 8  # the operator set from which Min and Max broadcast


@dataclass(frozen=True, eq=False)
class Guarded:
    """output: name of the added output, None where none was added."""

    rendered: Rendered
    output: str | None


def add_guard(
    rendered: Rendered, model: Model, domain: Domain, kind: Literal["clip", "flag"]
) -> Guarded:
    """The rendered form of `model` with a guard for `domain`.

    Raises InputError where the guard cannot be had: `clip` for more than a box, `flag` for
    equations that floats cannot decide, and operator sets that lack what is needed.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(rendered.proto)
    graph = proto.graph
    taken = {o for n in graph.node for o in n.output}
    taken.update(i.name for i in graph.input)
    taken.update(t.name for t in graph.initializer)
    operators = Names(n.name for n in graph.node)
    sheet = Sheet(Names(taken), operators, opsets(proto)[""])
    output: str | None = None
    if kind == "clip":
        _clip(graph, model, domain, sheet)
    else:
        output = sheet.tensors.fresh("in_domain")
        write_membership(sheet, model, domain, output)
        samples = next((s.shape[0] for s in model.inputs if has_batch(s)), 1)
        graph.output.append(helper.make_tensor_value_info(output, onnx.TensorProto.BOOL, [samples]))
    nodes = [*(node for _, node in sheet.nodes), *graph.node]
    order = evaluation_order(nodes, range(len(nodes)))
    ordered = [nodes[k] for k in order]
    del graph.node[:]
    graph.node.extend(ordered)
    graph.initializer.extend(sheet.initializers)
    if proto.ir_version < INITIALIZERS_ARE_INPUTS:
        graph.input.extend(
            helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in sheet.initializers
        )
    try:
        check_model(proto, model.name)
    except ModelError as error:
        raise InternalFault(f"the guarded model is not valid: {error}") from error
    return Guarded(Rendered(proto, rendered.external), output)


def _clip(graph: onnx.GraphProto, model: Model, domain: Domain, sheet: Sheet) -> None:
    if not domain.is_box:
        raise InputError(
            f"{model.name}: --guard clip works for boxes only, and this domain has integer "
            "features, one-hot groups or linear constraints; use --guard flag"
        )
    if sheet.opset < BROADCASTING:
        raise InputError(
            f"{model.name}: --guard clip needs opset {BROADCASTING} or newer, this model has "
            f"{sheet.opset}; convert it with onnx.version_converter"
        )
    start = 0
    for spec in model.inputs:
        part = slice(start, start + spec.size)
        start += spec.size
        readers = [n for n in graph.node if spec.name in n.input]
        if not readers:
            continue
        lower = _limits(domain.lower[part], spec, model.name, f"{spec.name}/lower", sheet)
        upper = _limits(domain.upper[part], spec, model.name, f"{spec.name}/upper", sheet)
        fresh = sheet.tensors.fresh
        below = sheet.add("Min", [spec.name, upper], fresh(f"{spec.name}/below"))
        clipped = sheet.add("Max", [below, lower], fresh(f"{spec.name}/clipped"))
        for node in readers:
            names = [clipped if i == spec.name else i for i in node.input]
            del node.input[:]
            node.input.extend(names)


def _limits(values: Floats, spec: TensorSpec, model: str, wanted: str, sheet: Sheet) -> str:
    """A constant of the input's axes without the batch axis (one number where all are equal)."""
    stored = values.astype(spec.dtype)
    if spec.dtype not in ELEMENT_TYPES or not np.array_equal(stored.astype(np.float64), values):
        raise InputError(
            f'{model}: input "{spec.name}": the bounds are no numbers of type {spec.dtype}; '
            "use --guard flag"
        )
    same = len(stored) > 0 and bool(np.all(stored == stored[0]))
    return sheet.constant(wanted, stored[0] if same else stored.reshape(spec.features))
