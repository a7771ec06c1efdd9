"""Linear relaxations of ReLUs.

For z in [l, u] with l < 0 < u:   alpha z <= relu(z) <= s z + t   for every alpha and s in [0, 1],
with t = max(-s l, (1 - s) u): relu(z) - s z is convex, so its maximum is at an end (CROWN, arXiv
1811.00866, section 3, where s = u / (u - l) makes both ends equal). Any floats in range are valid;
t is rounded upward. A unit with u <= 0 has the relaxation 0, one with l >= 0 the relaxation z.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.rounding import SMALLEST, UNIT_ROUNDOFF


@dataclass(frozen=True)
class Relaxation:
    """alpha, slope, intercept: (width,) or (m, width), one row for each bound; alpha is the lower
    slope.
    """

    alpha: Floats
    slope: Floats
    intercept: Floats


def relax(lower: Floats, upper: Floats) -> Relaxation:
    """The relaxation with the rule of DeepPoly for alpha: 1 where u > -l, else 0 (least area).

    lower, upper: bounds of z, of any (equal) shape.
    """
    low, high = np.minimum(lower, 0.0), np.maximum(upper, 0.0)
    width = high - low
    slope = np.divide(high, width, out=np.zeros_like(high), where=width > 0)
    slope = np.where(lower >= 0.0, 1.0, np.where(upper <= 0.0, 0.0, np.clip(slope, 0.0, 1.0)))
    alpha = np.where(lower >= 0.0, 1.0, (high > -low).astype(np.float64))
    alpha = np.where(upper <= 0.0, 0.0, alpha)
    return Relaxation(alpha, slope, intercept(lower, upper, slope))


def intercept(lower: Floats, upper: Floats, slope: Floats) -> Floats:
    """t for a given s, rounded upward; 0 where the phase is fixed."""
    unstable = (lower < 0.0) & (upper > 0.0)
    exact = np.maximum(-slope * lower, (1.0 - slope) * upper)
    return np.where(unstable, exact * (1.0 + 8.0 * UNIT_ROUNDOFF) + 2.0 * SMALLEST, 0.0)
