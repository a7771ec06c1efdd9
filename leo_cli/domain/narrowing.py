"""Boxes narrowed to what linear constraints leave of them, rounded outward.

With s = sum_i min(g_i l_i, g_i u_i), the least that g x can be in a box, a constraint g x <= h
allows g_i x_i <= h - s + min(g_i l_i, g_i u_i), which bounds x_i from above where g_i > 0 and from
below where g_i < 0 (Davis, Artificial Intelligence 32, 1987: bounds propagation). Where s > h the
box is empty. Boxes only get smaller than they are, and never lose a point of the domain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from leo_cli.arrays import Bools, Floats
from leo_cli.rounding import SMALLEST, gamma

if TYPE_CHECKING:
    from leo_cli.domain.domain import Domain

ROUNDS = 2  # over all constraints


def narrow(domain: Domain, lower: Floats, upper: Floats) -> tuple[Floats, Floats, Bools]:
    """(m, inputs) ends of boxes -> their new ends, and (m,) which of them hold no point of the
    domain."""
    lower, upper = lower.copy(), upper.copy()
    empty = np.zeros(len(lower), dtype=bool)
    free = np.ones(domain.inputs, dtype=bool)
    for group in domain.one_hot:
        free[group.members] = False  # what one hot member does to the others is left to cuts
    with np.errstate(all="ignore"):  # what is not finite narrows nothing
        for _ in range(ROUNDS):
            for g, h in zip(domain.half_spaces.G, domain.half_spaces.h.tolist(), strict=True):
                terms = np.minimum(g * lower, g * upper)
                size = np.abs(terms).sum(axis=1) + abs(h)
                count = domain.inputs + 4
                error = (4.0 * gamma(count) * size + 4.0 * count * SMALLEST)[:, None]
                room = h - terms.sum(axis=1, keepdims=True)
                empty |= (room + error < 0)[:, 0]
                ends = (room + terms + error) / g
                high = np.where((g > 0) & free & np.isfinite(ends), _up(ends), np.inf)
                low = np.where((g < 0) & free & np.isfinite(ends), -_up(-ends), -np.inf)
                lower, upper = np.maximum(lower, low), np.minimum(upper, high)
                whole = domain.integer
                lower[:, whole], upper[:, whole] = (
                    np.ceil(lower[:, whole]),
                    np.floor(upper[:, whole]),
                )
                empty |= (lower > upper).any(axis=1)
                lower = np.minimum(lower, upper)
    return lower, upper, empty


def _up(x: Floats) -> Floats:
    """A number above x that a division rounded to nearest may have missed."""
    return np.nextafter(np.nextafter(x, np.inf), np.inf)
