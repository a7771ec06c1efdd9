"""Write the test whether a sample lies in a domain as ONNX operators that never say yes wrongly.

All features are taken to float64, which holds every number of the inputs' types (integers beyond
2^53 keep their order, and lie outside all bounds). There, for a sample x:

    box        prev(lower) < x < next(upper), neighbouring float64 numbers: exact, no for NaN
    integers   x - int64(x) is neither < 0 nor > 0: exact for x inside the box
    one-hot    each member hot or cold (two such comparisons), the count of hot ones 1: exact
    a.x <= r   fl(a.x) < next(r - e), where e bounds the rounding error of fl(a.x) for all x in
               the box: gamma_n |a|.|x| + n eta in any order of summation (Higham, section 3.1);
               e = 0 where all products lie on a common grid 2^-k below 2^53 steps
    a.x == r   only where e = 0; otherwise no float comparison decides, and it is refused

The answer is their conjunction: what relies on x being in the box may say anything outside.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.domain import Domain, LinearConstraint, OneHot
from leo_cli.errors import InputError
from leo_cli.onnx_io.constants import ELEMENT_TYPES
from leo_cli.onnx_io.model import Model
from leo_cli.onnx_io.naming import Sheet
from leo_cli.onnx_io.units import Units
from leo_cli.rounding import SMALLEST, gamma

AXES_AS_INPUT = 18  # the operator set from which ReduceMin takes its axes as an input
EXACT_INTEGERS = 2.0**53
SMALLEST_GRID = 500  # bits after the point that count as a common grid


class _Conditions:
    """Conditions written so far: tensors of type bool and shape (samples, any number)."""

    def __init__(self, sheet: Sheet, x: str) -> None:
        self.sheet = sheet
        self.x = x
        self.made: list[str] = []

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        name = self.sheet.tensors.fresh(f"in_domain/{op_type}")
        return self.sheet.add(op_type, list(inputs), name, **attributes)

    def row(self, values: Floats) -> str:
        return self.sheet.constant("in_domain/limits", np.asarray(values, dtype=np.float64))

    def between(self, x: str, lower: Floats, upper: Floats) -> str:
        """lower <= x <= upper, not for NaN."""
        above = self.op("Greater", x, self.row(np.nextafter(lower, -np.inf)))
        below = self.op("Less", x, self.row(np.nextafter(upper, np.inf)))
        return self.op("And", above, below)

    def columns(self, index: Ints) -> str:
        name = self.sheet.constant("in_domain/index", index.astype(np.int64))
        return self.op("Gather", self.x, name, axis=1)


def write_membership(sheet: Sheet, model: Model, domain: Domain, output: str) -> None:
    """Write `output`: bool, (samples,), true only for samples in the domain.

    Raises InputError for a linear equation that float64 cannot decide.
    """
    x = Units(model, model.network, {}, sheet).read(0, "float64")
    conditions = _Conditions(sheet, x)
    conditions.made.append(conditions.between(x, domain.lower, domain.upper))
    whole = np.flatnonzero(domain.integer)
    if len(whole):
        conditions.made.append(_integers(conditions, whole))
    for group in domain.one_hot:
        conditions.made.extend(_one_hot(conditions, group))
    for position, constraint in enumerate(domain.constraints):
        if not np.any(constraint.coefficients):
            continue  # says nothing about x; a domain that it empties is refused elsewhere
        name = f"{model.name}: --guard flag: linear constraint {position + 1}"
        conditions.made.append(_linear(conditions, domain, constraint, name))
    numbers = [conditions.op("Cast", name, to=ELEMENT_TYPES["float32"]) for name in conditions.made]
    joined = conditions.op("Concat", *numbers, axis=1) if len(numbers) > 1 else numbers[0]
    if sheet.opset < AXES_AS_INPUT:
        name = sheet.tensors.fresh("in_domain/all")
        least = sheet.add("ReduceMin", [joined], name, axes=[1], keepdims=0)
    else:
        axes = sheet.constant("in_domain/axes", np.array([1], dtype=np.int64))
        least = conditions.op("ReduceMin", joined, axes, keepdims=0)
    sheet.add("Cast", [least], output, to=ELEMENT_TYPES["bool"])


def _integers(conditions: _Conditions, whole: Ints) -> str:
    x = conditions.columns(whole)
    truncated = conditions.op("Cast", x, to=ELEMENT_TYPES["int64"])
    again = conditions.op("Cast", truncated, to=ELEMENT_TYPES["float64"])
    rest = conditions.op("Sub", x, again)
    zero = conditions.row(np.zeros(1))
    apart = conditions.op(
        "Or", conditions.op("Less", rest, zero), conditions.op("Greater", rest, zero)
    )
    return conditions.op("Not", apart)


def _one_hot(conditions: _Conditions, group: OneHot) -> list[str]:
    x = conditions.columns(group.members)
    hot = conditions.between(x, group.hot, group.hot)
    cold = conditions.between(x, group.cold, group.cold)
    ones = conditions.op("Cast", hot, to=ELEMENT_TYPES["float64"])
    weights = conditions.row(np.ones((len(group.members), 1)))
    count = conditions.op("MatMul", ones, weights)
    exactly_one = conditions.between(count, np.ones(1), np.ones(1))
    return [conditions.op("Or", hot, cold), exactly_one]


def _linear(
    conditions: _Conditions, domain: Domain, constraint: LinearConstraint, name: str
) -> str:
    used = np.flatnonzero(constraint.coefficients)
    a = constraint.coefficients[used]
    error = 0.0 if _on_a_grid(domain, constraint) else _error(a, domain.magnitude[used])
    total = conditions.op("MatMul", conditions.columns(used), conditions.row(a[:, None]))
    limit = np.array([constraint.rhs])
    if constraint.op == "==":
        if error > 0:
            raise InputError(
                f"{name} is an equation over real features, which no float comparison decides; "
                "leave the guard out"
            )
        return conditions.between(total, limit, limit)
    if error > 0:
        limit = np.nextafter(limit - error, -np.inf)
    return conditions.op("Less", total, conditions.row(np.nextafter(limit, np.inf)))


def _error(a: Floats, magnitude: Floats) -> float:
    """Bound on |fl(a.x) - a.x| for all |x| <= magnitude."""
    size = float(np.abs(a) @ magnitude)  # gamma() leaves room for the rounding of this sum
    return float(np.nextafter(gamma(len(a)) * size + 2 * len(a) * SMALLEST, np.inf))


def _on_a_grid(domain: Domain, constraint: LinearConstraint) -> bool:
    """Is a.x computed without rounding for every x that satisfies the other conditions?

    So it is where each a_j x_j is a multiple of one power of two and the sum of their sizes is
    below 2^53 of it. Features that are real numbers have no such grid.
    """
    values: dict[int, list[Fraction]] = {}
    for group in domain.one_hot:
        for member, cold, hot in zip(group.members, group.cold, group.hot, strict=True):
            values[int(member)] = [Fraction(float(cold)), Fraction(float(hot))]
    bits = 0
    total = Fraction(0)
    for j in np.flatnonzero(constraint.coefficients):
        a = Fraction(float(constraint.coefficients[j]))
        if int(j) in values:
            products = [a * v for v in values[int(j)]]
        elif domain.integer[j]:
            products = [a, a * Fraction(float(domain.magnitude[j]))]
        elif domain.lower[j] == domain.upper[j]:
            products = [a * Fraction(float(domain.lower[j]))]
        else:
            return False
        bits = max([bits, *(p.denominator.bit_length() - 1 for p in products)])
        total += max(abs(p) for p in products)
    return bits <= SMALLEST_GRID and total * 2**bits < EXACT_INTEGERS
