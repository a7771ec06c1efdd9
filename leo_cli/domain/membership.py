"""Whether points lie in a domain, decided exactly.

Boxes, integers and one-hot values are comparisons of float64 numbers. For a linear constraint, a.x
in float64 decides wherever it is further from rhs than its rounding error bound; the rest is
decided by the exact sum of exact products: a_i x_i = p_i + e_i (Dekker's two-product), and
`math.fsum` of all of them has the right sign. Where products may over- or underflow, rational
arithmetic decides.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from leo_cli.arrays import Bools, Floats
from leo_cli.domain.parts import LinearConstraint, OneHot
from leo_cli.rounding import SMALLEST, gamma

if TYPE_CHECKING:
    from leo_cli.domain.domain import Domain

_SPLITTER = 2.0**27 + 1  # Dekker: splits a float64 into two halves of 26 bits
_SAFE = (2.0**-900, 2.0**900)  # products in this range have exact two-products


def contains(domain: Domain, points: Floats) -> Bools:
    """(m, inputs) -> (m,). NaN is outside."""
    inside = np.asarray(((points >= domain.lower) & (points <= domain.upper)).all(axis=1))
    whole = np.flatnonzero(domain.integer)
    if len(whole):
        inside &= (points[:, whole] == np.rint(points[:, whole])).all(axis=1)
    for group in domain.one_hot:
        inside &= _one_hot(group, points)
    for constraint in domain.constraints:
        at = np.flatnonzero(inside)
        inside[at] = satisfies(constraint, points[at])
    return inside


def _one_hot(group: OneHot, points: Floats) -> Bools:
    values = points[:, group.members]
    hot, cold = values == group.hot, values == group.cold
    return np.asarray((hot | cold).all(axis=1) & (hot.sum(axis=1) == 1))


def satisfies(constraint: LinearConstraint, points: Floats) -> Bools:
    """(m, inputs) finite points -> (m,)."""
    used = np.flatnonzero(constraint.coefficients)
    a, x = constraint.coefficients[used], points[:, used]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        difference = x @ a - constraint.rhs
        size = np.abs(x) @ np.abs(a) + abs(constraint.rhs)
        error = gamma(len(used) + 1) * size + 2 * (len(used) + 1) * SMALLEST
    result = difference < 0 if constraint.op == "<=" else np.zeros(len(points), dtype=bool)
    for i in np.flatnonzero(~(np.abs(difference) > error) | ~np.isfinite(error)):
        sign = _sign(a, x[i], constraint.rhs)
        result[i] = sign <= 0 if constraint.op == "<=" else sign == 0
    return result


def _sign(a: Floats, x: Floats, rhs: float) -> float:
    """A number with the sign of a.x - rhs in real arithmetic."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        p = a * x
    nonzero = (a != 0) & (x != 0)
    sizes = np.abs(np.concatenate([p[nonzero], a[nonzero], x[nonzero], [rhs] if rhs else []]))
    if not ((sizes >= _SAFE[0]) & (sizes <= _SAFE[1])).all():
        pairs = zip(a.tolist(), x.tolist(), strict=True)
        exact = sum((Fraction(u) * Fraction(v) for u, v in pairs), -Fraction(rhs))
        return float((exact > 0) - (exact < 0))
    (a_high, a_low), (x_high, x_low) = _halves(a), _halves(x)
    e = ((a_high * x_high - p) + a_high * x_low + a_low * x_high) + a_low * x_low
    return math.fsum([*p.tolist(), *e.tolist(), -rhs])


def _halves(v: Floats) -> tuple[Floats, Floats]:
    shifted = _SPLITTER * v
    high = shifted - (shifted - v)
    return high, v - high
