"""Lower bounds of linear forms that use the linear constraints of a domain, by their multipliers.

For x with G x <= h and any y >= 0:   a x >= (a + y G) x - y h >= min over B of (a + y G) x - y h,
B the box with its one-hot groups. Whatever y is, the bound is valid; what rounding adds is taken
off. The multipliers come from coordinate ascent: over a box the right side is concave in one y_k,
piecewise linear, and its slope sum_i g_i x*_i - h_k falls by |g_i| (u_i - l_i) where a_i + y_k g_i
changes its sign; so the best y_k is at the break where the slope crosses 0 (Neumaier & Shcherbina,
Math. Programming 99, 2004, for bounds from approximate multipliers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain import linear_form
from leo_cli.rounding import SMALLEST, down, gamma

if TYPE_CHECKING:
    from leo_cli.domain.domain import Domain

SWEEPS = 3  # over all constraints
MOST_WORK = 2**31  # breaks sorted in one call: beyond it the constraints are not used
BLOCK = 2**20  # entries of forms at a time


def improve(domain: Domain, A: Floats, known: Floats) -> Floats:
    """(m, inputs), (m,) lower bounds of min A x over the domain -> (m,) bounds that are as good, or
    better."""
    G, h = domain.half_spaces.G, domain.half_spaces.h
    if A.size * len(G) * SWEEPS > MOST_WORK:
        return known
    found, rows = known.copy(), max(1, BLOCK // max(1, A.shape[1]))
    with np.errstate(all="ignore"):  # what is not finite proves nothing
        for start in range(0, len(A), rows):
            at = slice(start, start + rows)
            y = multipliers(A[at], domain.lower, domain.upper, G, h)
            found[at] = np.maximum(known[at], _evaluated(domain, A[at], y, G, h))
    return found


def multipliers(A: Floats, lower: Floats, upper: Floats, G: Floats, h: Floats) -> Floats:
    """(m, k) y >= 0 that make the bound of each row large: a suggestion."""
    y = np.zeros((len(A), len(G)))
    form = A.copy()
    for sweep in range(SWEEPS):
        before = y.copy()
        for k, (row, limit) in enumerate(zip(G, h, strict=True)):
            without = form - y[:, k : k + 1] * row
            best = _best(without, lower, upper, row, float(limit))
            form, y[:, k] = without + best[:, None] * row, best
        if len(G) == 1 or (sweep and np.array_equal(before, y)):
            break
    return np.where(np.isfinite(y), y, 0.0)


def _best(A: Floats, lower: Floats, upper: Floats, g: Floats, limit: float) -> Floats:
    """(m,) y >= 0 where min over the box of (a + y g) x - y limit is largest."""
    used = np.flatnonzero(g)
    if len(used) == 0:
        return np.zeros(len(A))
    A, g, low, high = A[:, used], g[used], lower[used], upper[used]
    # as y grows from 0: x* is the end that a + y g chooses just after 0
    ahead = np.where(A == 0, g, A)
    slope = (g * np.where(ahead > 0, low, high)).sum(axis=1) - limit
    breaks = np.where((A != 0) & (np.sign(A) != np.sign(g)), np.abs(A / g), np.inf)
    order = np.argsort(breaks, axis=1)
    falls = np.take_along_axis(
        np.where(np.isfinite(breaks), np.abs(g) * (high - low), 0.0), order, 1
    )
    crossed = slope[:, None] - np.cumsum(falls, axis=1) <= 0
    first = np.where(crossed.any(axis=1), crossed.argmax(axis=1), -1)
    ends = np.take_along_axis(np.where(np.isfinite(breaks), breaks, 0.0), order, 1)
    # without a crossing the constraint excludes the box, and the last break is good enough
    at = np.where(first < 0, ends.max(axis=1), ends[np.arange(len(A)), first])
    return np.where(slope > 0, at, 0.0)


def _evaluated(domain: Domain, A: Floats, y: Floats, G: Floats, h: Floats) -> Floats:
    """(m,) the bound that the multipliers give, rounded outward."""
    least = linear_form.minimum(A + y @ G, domain.lower, domain.upper, domain.groups)
    paid = y @ h
    terms = len(G) + 2
    size = (np.abs(A) + y @ np.abs(G)) @ domain.magnitude + y @ np.abs(h)
    tiny = 4.0 * terms * SMALLEST * (1.0 + domain.magnitude.sum())
    # doubled: the float sums of the error itself, see rounding.gamma
    error = 2.0 * gamma(terms + 2) * (size + np.abs(least) + np.abs(paid)) + 2.0 * tiny
    bound = down(least - paid - error)
    return np.where(np.isfinite(bound), bound, -np.inf)
