"""The numbers of a float type: exact rationals rounded to them, down, up or to the nearest.

Rounding to float64 first and to the narrower type next may be off by one number; since both
roundings are monotone, comparing the result with the float64 value, and only where these are equal
with the rational itself, tells on which side it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from leo_cli.arrays import Floats

FLOAT_TYPES = ("float16", "float32", "float64")  # narrowest first


def on_grid(points: Floats, dtype: str) -> Floats:
    """Each value replaced by the nearest number of `dtype` (a copy; any shape)."""
    if dtype == "float64":
        return np.array(points, dtype=np.float64)
    with np.errstate(over="ignore", under="ignore"):
        return points.astype(dtype).astype(np.float64)


def _step(values: Floats, dtype: str, toward: float) -> Floats:
    with np.errstate(over="ignore", under="ignore"):
        stepped = np.nextafter(values.astype(dtype), np.array(toward, dtype=dtype))
    return np.asarray(stepped, dtype=np.float64)


def grid_down(points: Floats, dtype: str) -> Floats:
    """The largest numbers of `dtype` that are <= the float64 values."""
    near = on_grid(points, dtype)
    return np.where(near > points, _step(near, dtype, -np.inf), near)


def grid_up(points: Floats, dtype: str) -> Floats:
    """The smallest numbers of `dtype` that are >= the float64 values."""
    return -grid_down(-points, dtype)


def spacing(magnitude: Floats, dtype: str) -> Floats:
    """Distance of neighbours of `dtype` at values up to `magnitude` >= 0: rounding any such value
    in either direction moves it by less than this."""
    with np.errstate(over="ignore", under="ignore"):
        top = grid_up(magnitude, dtype).astype(dtype)
        gap = np.spacing(np.minimum(top, np.finfo(dtype).max))
    return np.asarray(gap, dtype=np.float64)


def _floats(values: Sequence[Fraction]) -> Floats:
    """Nearest float64 of each value; infinite beyond the range. Equal objects are converted
    once."""
    known: dict[int, float] = {}
    out = np.empty(len(values))
    for i, value in enumerate(values):
        key = id(value)
        if key not in known:
            try:
                known[key] = float(value)
            except OverflowError:
                known[key] = float("inf") if value > 0 else float("-inf")
        out[i] = known[key]
    return out


def round_down(values: Sequence[Fraction], dtype: str) -> Floats:
    """(len,) the largest number of `dtype` <= each value; may be infinite beyond the type's
    range."""
    double = _floats(values)
    near = on_grid(double, dtype)
    too_high = (near > double) | np.isposinf(near)  # every value is finite
    known: dict[int, bool] = {}
    for i in np.flatnonzero((near == double) & np.isfinite(near)).tolist():
        key = id(values[i])
        if key not in known:
            known[key] = Fraction(float(near[i])) > values[i]
        too_high[i] = known[key]
    return np.where(too_high, _step(near, dtype, -np.inf), near) + 0.0


def round_up(values: Sequence[Fraction], dtype: str) -> Floats:
    """(len,) the smallest number of `dtype` >= each value; may be infinite beyond the type's
    range."""
    negated: dict[int, Fraction] = {}
    flipped = [negated.setdefault(id(value), -value) for value in values]
    return -round_down(flipped, dtype) + 0.0


def round_nearest(values: Sequence[Fraction], dtype: str) -> Floats:
    """(len,) the number of `dtype` nearest to each value (halfway: the even one)."""
    below, above = round_down(values, dtype), round_up(values, dtype)
    near = on_grid(_floats(values), dtype)  # right at exact ties, where float64 holds the value
    for i in np.flatnonzero((below != above) & np.isfinite(below) & np.isfinite(above)).tolist():
        to_below = values[i] - Fraction(float(below[i]))
        to_above = Fraction(float(above[i])) - values[i]
        if to_below != to_above:
            near[i] = below[i] if to_below < to_above else above[i]
    return near + 0.0
