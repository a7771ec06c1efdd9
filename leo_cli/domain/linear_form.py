"""The minimum of linear forms over a box with one-hot groups, in closed form and rounded outward.

Over a box the minimum of a.x is attained at x*_i = lower_i where a_i > 0 and upper_i where a_i <
0. In a one-hot group exactly one member j is hot, so it is  sum_i a_i cold_i + min_j a_j (hot_j -
cold_j), j over the members that the bounds allow to be hot. Groups are disjoint, so the minima add
up. Integer features need nothing more once their bounds are integers.

Rounding: the computed sum is within gamma * sum |a_i x*_i| of the real one (rounding.py), and
products underflow by at most eta each. Both terms count non-zero products only: where all of them
are zero the minimum is exactly 0, so that ties at 0 can be proved.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.domain.parts import OneHot
from leo_cli.rounding import SMALLEST, down, gamma

_BLOCK = 1 << 16  # entries of a row block: two of these fit into a core's own cache
_TINY = 2.0**-900  # above it gamma * size exceeds any underflow term by far

Groups = Sequence[tuple[OneHot, Ints]]  # each with the positions that may be hot


def minimum(A: Floats, lower: Floats, upper: Floats, groups: Groups = ()) -> Floats:
    """(m, n), (n,), (n,) -> (m,) lower bounds of min a.x; -inf where the arithmetic overflows."""
    if not groups:
        value, size = _box_sums(A, lower, upper)
        return _outward(A, lower, upper, value, size, len(lower))
    low, high = lower.copy(), upper.copy()
    for group, _ in groups:
        low[group.members] = high[group.members] = group.cold
    value, size = _box_sums(A, low, high)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for group, choices in groups:
            hottest = _hottest(A, group, choices)
            value += hottest
            size += np.abs(hottest)
    return _outward(A, low, high, value, size, len(lower) + len(groups))


def minimiser(A: Floats, lower: Floats, upper: Floats, groups: Groups = ()) -> Floats:
    """(m, n), (n,), (n,) -> (m, n) points where a.x is smallest (to rounding, for one-hot
    groups)."""
    points = _ends(A, lower, upper)
    rows = np.arange(len(A))
    for group, choices in groups:
        members = group.members[choices]
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            gain = A[:, members] * group.hot[choices] - A[:, members] * group.cold[choices]
        best = choices[np.argmin(gain, axis=1)]
        points[:, group.members] = group.cold
        points[rows, group.members[best]] = group.hot[best]
    return points


def _ends(A: Floats, lower: Floats, upper: Floats) -> Floats:
    """(m, n) lower where A > 0, else upper. Bits are selected by masks of all ones or all zeros,
    several times faster than `np.where` where signs come as they like."""
    low, high = lower.view(np.int64), upper.view(np.int64)
    change = low ^ high
    bits = np.empty(A.shape, dtype=np.int64)
    rows = max(1, _BLOCK // max(1, A.shape[1]))
    for start in range(0, len(A), rows):
        part = bits[start : start + rows]
        np.negative(A[start : start + rows] > 0, out=part, dtype=np.int64)
        part &= change
        part ^= high
    return bits.view(np.float64)


def _box_sums(A: Floats, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
    """(m,), (m,) plain float64 sums of a_i x*_i and of |a_i x*_i|, in one pass over A."""
    value, size = np.zeros(len(A)), np.zeros(len(A))
    rows = max(1, _BLOCK // max(1, A.shape[1]))
    buffer = np.empty((min(rows, len(A)), A.shape[1]))
    sides = [
        (ends, np.abs(ends), take)
        for ends, take in ((lower, np.maximum), (upper, np.minimum))
        if ends.any()
    ]
    signs = [0 if (ends < 0).any() and (ends > 0).any() else 1 for ends, _, _ in sides]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for start in range(0, len(A), rows):
            block = A[start : start + rows]
            part = buffer[: len(block)]
            for (ends, magnitudes, take), one_sign in zip(sides, signs, strict=True):
                take(block, 0.0, out=part)
                products = part @ ends
                value[start : start + rows] += products
                size[start : start + rows] += np.abs(products if one_sign else part @ magnitudes)
    return value, size


def _hottest(A: Floats, group: OneHot, choices: Ints) -> Floats:
    """(m,) lower bounds of min_j a_j (hot_j - cold_j); exact where the products are zero."""
    a = A[:, group.members[choices]]
    at_hot, at_cold = a * group.hot[choices], a * group.cold[choices]
    error = gamma(2) * (np.abs(at_hot) + np.abs(at_cold)) + 4 * SMALLEST
    difference = np.where(a == 0, 0.0, down(at_hot - at_cold - error))
    return np.asarray(difference.min(axis=1, initial=np.inf))


def _outward(
    A: Floats, lower: Floats, upper: Floats, value: Floats, size: Floats, terms: int
) -> Floats:
    """Take off everything that rounding may have added to `value`."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        error = gamma(terms) * size + 2 * (terms + 1) * SMALLEST
        bound = down(value - error)
    small = np.flatnonzero(size < _TINY)
    rows = max(1, _BLOCK // max(1, A.shape[1]))
    for start in range(0, len(small), rows):
        at = small[start : start + rows]
        a = A[at]
        products = ((a > 0) & (lower != 0)) | ((a < 0) & (upper != 0))
        exact = (size[at] == 0) & ~products.any(axis=1) & ~np.isnan(a).any(axis=1)
        bound[at[exact]] = 0.0
    return np.where(np.isnan(bound), -np.inf, bound)
