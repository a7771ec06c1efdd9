"""Write an affine form with stored coefficients: sum over terms of map(units) + bias.

A dense term is a Gemm or a MatMul, whichever the original had; a scaled one picks units (Gather)
and multiplies (Mul); a form that picks one unit for each entry is one Gather for all its terms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from leo_cli.arrays import Floats
from leo_cli.errors import InternalFault
from leo_cli.network import Dense, Scaled, Term
from leo_cli.onnx_io.forms import Form, Picked, picked
from leo_cli.onnx_io.naming import Sheet
from leo_cli.onnx_io.units import Units

OPTIONAL_BIAS = 11  # from this operator set on, Gemm may leave out its third input


@dataclass(frozen=True)
class Predecessors:
    """Operators of the original that made a layer: what replaces them takes over their names, and
    the names of their constants. style: "Gemm" or "MatMul"."""

    nodes: tuple[onnx.NodeProto, ...]
    constants: frozenset[str]
    style: str

    def of(self, *op_types: str) -> onnx.NodeProto | None:
        return next((n for n in self.nodes if n.op_type in op_types), None)

    def constant(self, node: onnx.NodeProto | None, among: slice, otherwise: str) -> str:
        """The name of the node's first constant among these inputs."""
        if node is None:
            return otherwise
        return next((i for i in node.input[among] if i in self.constants), otherwise)


def is_live(term: Term) -> bool:
    """Has the term a coefficient that is not 0?"""
    linear = term.map
    return bool(np.any(linear.scale if isinstance(linear, Scaled) else linear.rows(slice(None))))


class Products:
    def __init__(self, units: Units, sheet: Sheet) -> None:
        self.units = units
        self.sheet = sheet

    def write(self, out: str, form: Form, dtype: str, old: Predecessors) -> str:
        """Write the form (with at least one live term); the result is `out`, or a tensor that
        already holds it."""
        picks = picked(form)
        if picks is not None and np.all(picks.scale != 0):
            return self._selected(out, picks, form.bias, dtype, old)
        terms = [t for t in form.terms if is_live(t)]
        terms.sort(key=lambda t: not isinstance(t.map, Dense))
        bias = form.bias
        sums = []
        for term in terms:
            alone = len(terms) == 1
            if not isinstance(term.map, Dense):
                alone = alone and not np.any(bias)
                sums.append(self._scaled(self._name(out, alone), term, dtype))
            elif not sums and old.style == "Gemm":
                sums.append(self._gemm(self._name(out, alone), term, bias, dtype, old))
                bias = np.zeros_like(bias)
            else:
                alone = alone and not np.any(bias)
                sums.append(self._matmul(self._name(out, alone), term, dtype, old))
        total = sums[0]
        for count, part in enumerate(sums[1:], start=2):
            last = count == len(sums) and not np.any(bias)
            total = self.sheet.add("Add", [total, part], self._name(out, last))
        return self.plus(out, total, bias, dtype, old) if np.any(bias) else total

    def plus(self, out: str, tensor: str, bias: Floats, dtype: str, old: Predecessors) -> str:
        like = old.of("Add", "Sub")
        added = like if like is not None and like.op_type == "Add" else None
        name = old.constant(added, slice(None), f"{out}/bias")
        return self.sheet.add("Add", [tensor, self.sheet.stored(name, bias, dtype)], out, like)

    def _name(self, out: str, last: bool) -> str:
        return out if last else self.sheet.tensors.fresh(f"{out}/part")

    def _gemm(self, out: str, term: Term, bias: Floats, dtype: str, old: Predecessors) -> str:
        like = old.of("Gemm", "FusedGemm")
        turned = like is None or any(a.name == "transB" and a.i for a in like.attribute)
        matrix = term.map.rows(slice(None))
        name = old.constant(like, slice(0, 2), f"{out}/weight")
        weights = self.sheet.stored(name, matrix if turned else matrix.T, dtype)
        inputs = [self.units.read(term.source, dtype), weights]
        if np.any(bias) or self.sheet.opset < OPTIONAL_BIAS:
            name = old.constant(like, slice(2, 3), f"{out}/bias")
            inputs.append(self.sheet.stored(name, bias, dtype))
        return self.sheet.add("Gemm", inputs, out, like, **({"transB": 1} if turned else {}))

    def _matmul(self, out: str, term: Term, dtype: str, old: Predecessors) -> str:
        like = old.of("MatMul")
        name = old.constant(like, slice(0, 2), f"{out}/weight")
        weights = self.sheet.stored(name, term.map.rows(slice(None)).T, dtype)
        return self.sheet.add("MatMul", [self.units.read(term.source, dtype), weights], out, like)

    def _scaled(self, out: str, term: Term, dtype: str) -> str:
        linear = term.map
        if not isinstance(linear, Scaled):
            raise InternalFault(f'"{out}": a map that is neither dense nor scaled')
        source = np.full(linear.out_features, term.source)
        if np.all(linear.scale == 1):
            return self.units.pick(source, linear.index, dtype, out)
        inner = self.sheet.tensors.fresh(f"{out}/picked")
        data = self.units.pick(source, linear.index, dtype, inner)
        scale = self.sheet.stored(f"{out}/scale", linear.scale, dtype)
        return self.sheet.add("Mul", [data, scale], out)

    def _selected(
        self, out: str, picks: Picked, bias: Floats, dtype: str, old: Predecessors
    ) -> str:
        is_scaled, is_shifted = bool(np.any(picks.scale != 1)), bool(np.any(bias))
        first = out if not (is_scaled or is_shifted) else f"{out}/picked"
        first = first if first == out else self.sheet.tensors.fresh(first)
        total = self.units.pick(picks.source, picks.column, dtype, first)
        if is_scaled:
            like = old.of("Mul")
            name = old.constant(like, slice(None), f"{out}/scale")
            scale = self.sheet.stored(name, picks.scale, dtype)
            total = self.sheet.add("Mul", [total, scale], self._name(out, not is_shifted), like)
        return self.plus(out, total, bias, dtype, old) if is_shifted else total
