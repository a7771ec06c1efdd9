"""Add, Sub, Mul, Div, Neg, Sum: by constants or of two tensors, with numpy broadcasting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from leo_cli.network import Scaled, Term
from leo_cli.onnx_io.affine import is_power_of_two, representable, scaled, summed
from leo_cli.onnx_io.forms import Division, is_selection
from leo_cli.onnx_io.step import Step
from leo_cli.onnx_io.values import (
    Affine,
    Constant,
    Unsupported,
    Value,
    broadcast_dims,
    expanded,
    single,
)
from leo_cli.rounding import UNIT_ROUNDOFF

if TYPE_CHECKING:
    from leo_cli.onnx_io.scope import Scope


def _split(step: Step, scope: Scope) -> tuple[int, int | None]:
    """(position of a tensor, position of the constant or None where both are tensors)."""
    first, second = scope.value(step, 0), scope.value(step, 1)
    if isinstance(first, Affine):
        return 0, 1 if isinstance(second, Constant) else None
    if isinstance(second, Affine) and isinstance(first, Constant):
        return 1, 0
    raise Unsupported("computes on something that is not known")


def add(
    step: Step,
    scope: Scope,
    left: tuple[Affine, str | None],
    right: tuple[Affine, str | None],
    sign: float = 1.0,
) -> Affine:
    """left + sign * right, each given with the name of its tensor, if it has one. Where the sum of
    the forms would round, the right one, then the left one becomes a node."""
    values, names = [left[0], right[0]], [left[1], right[1]]
    dims = broadcast_dims(values[0].dims, values[1].dims)
    for attempt in (None, 1, 0):
        if attempt is not None and not is_selection(values[attempt].form):
            values[attempt] = scope.settle(values[attempt], names[attempt], step)
        a, b = expanded(values[0], dims), expanded(values[1], dims)
        form = summed(a.form, (b if sign > 0 else negated(b)).form)
        if form is not None:
            return a.with_form(form.through(step.position))
    b = scope.virtual(b, b.form, step.outputs[0])  # two selections of the same units
    form = summed(a.form, (b if sign > 0 else negated(b)).form)
    if form is None:
        raise Unsupported("adds two tensors that cannot be told apart")
    return a.with_form(form.through(step.position))


def negated(value: Affine) -> Affine:
    """-value."""
    form = scaled(value.form, np.full(value.form.size, -1.0), value.dtype)
    if form is None:
        raise Unsupported("negates a tensor that is not read exactly")
    return value.with_form(form)


def _operand(step: Step, scope: Scope, position: int) -> Affine:
    """An input as a form that arithmetic may go on with."""
    value = scope.affine(step, position)
    if value.form.sealed or value.form.realisation is not None:
        return scope.materialise(step.inputs[position])
    return value


def _pair(step: Step, scope: Scope, sign: float) -> Sequence[Value]:
    left, right = _operand(step, scope, 0), _operand(step, scope, 1)
    return [add(step, scope, (left, step.inputs[0]), (right, step.inputs[1]), sign)]


def sum_(step: Step, scope: Scope) -> Sequence[Value]:
    total: Affine | None = None
    for position in range(len(step.inputs)):
        value = scope.value(step, position)
        if isinstance(value, Constant):
            raise Unsupported("sums tensors and constants")
        part = _operand(step, scope, position)
        name = step.inputs[position]
        total = part if total is None else add(step, scope, (total, None), (part, name))
    if total is None:
        raise Unsupported("has no inputs")
    return [total]


def addition(step: Step, scope: Scope) -> Sequence[Value]:
    tensor, known = _split(step, scope)
    if known is None:
        return _pair(step, scope, 1.0)
    value = scope.affine(step, tensor)
    bias = scope.numbers(step, known, value.dtype)
    return [scope.plus(step, value, bias, step.inputs[tensor])]


def subtraction(step: Step, scope: Scope) -> Sequence[Value]:
    tensor, known = _split(step, scope)
    if known is None:
        return _pair(step, scope, -1.0)
    value = _operand(step, scope, tensor) if tensor == 1 else scope.affine(step, tensor)
    numbers = scope.numbers(step, known, value.dtype)
    if tensor == 0:
        return [scope.plus(step, value, -numbers, step.inputs[0])]
    if np.any(value.form.bias != 0):
        value = scope.materialise(step.inputs[1])
    return [scope.plus(step, negated(value), numbers)]


def multiplication(step: Step, scope: Scope) -> Sequence[Value]:
    tensor, known = _split(step, scope)
    if known is None:
        raise Unsupported("multiplies two tensors that both depend on the input")
    value = _operand(step, scope, tensor)
    numbers = scope.numbers(step, known, value.dtype)
    dims = broadcast_dims(value.dims, numbers.shape)
    factor = np.broadcast_to(numbers, single(dims)).reshape(-1)
    wide = expanded(value, dims)
    form = scaled(wide.form, factor, value.dtype)
    if form is None:
        wide = expanded(scope.materialise(step.inputs[tensor]), dims)
        form = scaled(wide.form, factor, value.dtype)
    if form is None:
        raise Unsupported("scales by numbers that its own type cannot hold")
    return [wide.with_form(form.through(step.position))]


def division(step: Step, scope: Scope) -> Sequence[Value]:
    tensor, known = _split(step, scope)
    if known is None or tensor == 1:
        raise Unsupported("divides by something that depends on the input")
    value = _operand(step, scope, 0)
    numbers = scope.numbers(step, known, value.dtype)
    if np.any(numbers == 0):
        raise Unsupported("divides by 0")
    dims = broadcast_dims(value.dims, numbers.shape)
    divisor = np.broadcast_to(numbers, single(dims)).reshape(-1)
    factor = 1.0 / divisor
    if not np.all(np.isfinite(factor) & (np.abs(factor) > 1e-300)):
        raise Unsupported("divides by numbers that are too large or too small")
    wide = expanded(value, dims)
    if np.all(is_power_of_two(divisor)) and representable(factor, value.dtype):
        form = scaled(wide.form, factor, value.dtype)
        if form is not None:
            return [wide.with_form(form.through(step.position))]
    wide = expanded(scope.plain(step, 0), dims)
    terms = []
    for term in wide.form.terms:
        if not isinstance(term.map, Scaled):
            raise Unsupported("divides a tensor that is not read exactly")
        terms.append(Term(term.source, replace(term.map, scale=term.map.scale * factor)))
    return [
        wide.with_form(
            replace(
                wide.form,
                terms=tuple(terms),
                weight_error=2 * UNIT_ROUNDOFF,
                realisation=Division(divisor),
            ).through(step.position)
        )
    ]


def negation(step: Step, scope: Scope) -> Sequence[Value]:
    value = negated(_operand(step, scope, 0))
    return [value.with_form(value.form.through(step.position))]


READERS: Mapping[tuple[str, str], Callable[[Step, Scope], Sequence[Value]]] = {
    ("", "Add"): addition,
    ("", "Sub"): subtraction,
    ("", "Mul"): multiplication,
    ("", "Div"): division,
    ("", "Neg"): negation,
    ("", "Sum"): sum_,
}
