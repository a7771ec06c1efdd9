"""Linear constraints as they were written, in float64, with all that rounding can do allowed for.

A constraint is kept for everything that rounding can make of an input that the file allows: with x^
the rounded x and |x^_i - x_i| <= e_i, and c^ the float64 coefficients, sum c_i x_i <= r implies

    sum c^_i x^_i  <=  r + sum |c^_i| e_i + |c^_i - c_i| |x_i|.

e_i is 0 for a number of the type, which is what a model's features are when they meet an
inequality. It is the type's spacing for features that are normalised first, and for those in an
equality, which numbers of a float type hardly ever satisfy exactly: such an equality becomes two
inequalities.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain.domain import Domain
from leo_cli.domain.exact import ExactDomain, ExactLinear, Ranges, show
from leo_cli.domain.grid import round_nearest, round_up, spacing
from leo_cli.domain.parts import LinearConstraint

_MOST_ENTRIES = 50_000_000  # of all constraints together: 400 MB


@dataclass(frozen=True)
class _Rounding:
    """What became of the features. box: the domain without constraints. ranges: the exact ranges
    in the model's space."""

    written: ExactDomain
    box: Domain
    ranges: Ranges

    @cached_property
    def gaps(self) -> Floats:
        return spacing(self.box.magnitude, self.box.dtype)

    @cached_property
    def members(self) -> set[int]:
        return self.written.members

    def size(self, i: int) -> Fraction:
        """The largest |x_i|."""
        return max(abs(self.ranges[0][i]), abs(self.ranges[1][i]))

    def moved(self, i: int, op: str) -> Fraction:
        """e_i: how far rounding may move feature i."""
        if i in self.members:
            levels = self.written.levels(i)
            stored = round_nearest(levels, self.box.dtype).tolist()
            return max(abs(Fraction(a) - b) for a, b in zip(stored, levels, strict=True))
        if i in self.written.fixed:
            return abs(Fraction(float(self.box.lower[i])) - self.ranges[0][i])
        if self.box.integer[i]:
            return Fraction(0 if self.gaps[i] <= 1 else float(self.gaps[i]))
        if op == "==" or i in self.written.scale:
            return Fraction(float(self.gaps[i]))
        return Fraction(0)


def round_constraints(
    written: ExactDomain, box: Domain, ranges: Ranges
) -> tuple[LinearConstraint, ...]:
    """box: the domain without constraints. ranges: the exact ranges of the features in the model's
    space. Raises DomainError."""
    if len(written.linear) * 2 * written.size > _MOST_ENTRIES:
        raise written.place.error(
            f"{len(written.linear)} linear constraints over {written.size} features are too many"
        )
    rounding = _Rounding(written, box, ranges)
    return tuple(c for linear in written.linear for c in _rounded(linear, rounding))


def _rounded(linear: ExactLinear, rounding: _Rounding) -> list[LinearConstraint]:
    """One constraint (none if it always holds, two for an equality with an allowance)."""
    sign = -1 if linear.op == ">=" else 1
    rhs = sign * linear.rhs
    allowance = Fraction(0)
    row = np.zeros(rounding.written.size)
    for i, raw_coefficient in linear.coefficients.items():
        mean, std = rounding.written.scale_of(i)
        coefficient = sign * raw_coefficient * std
        rhs -= sign * raw_coefficient * mean
        try:
            row[i] = float(coefficient)
        except OverflowError:
            raise linear.place.error(
                f"coefficient {show(coefficient)} is out of range; divide by a constant"
            ) from None
        stored = Fraction(float(row[i]))
        allowance += abs(stored - coefficient) * rounding.size(i)
        allowance += abs(stored) * rounding.moved(i, linear.op)
    top = float(round_up([rhs + allowance], "float64")[0])
    bottom = float(round_up([allowance - rhs], "float64")[0])
    if not (np.isfinite(top) and np.isfinite(bottom)):
        raise linear.place.error(f"rhs {show(rhs)} is out of range; divide by a constant")
    if not row.any():
        if top < 0 or (linear.op == "==" and bottom < 0):
            raise linear.place.error("the domain is empty: this constraint can never hold")
        return []
    if linear.op != "==":
        return [LinearConstraint(row, "<=", top)]
    if allowance == 0 and Fraction(top) == rhs:
        return [LinearConstraint(row, "==", top)]
    return [LinearConstraint(row, "<=", top), LinearConstraint(-row, "<=", bottom)]
