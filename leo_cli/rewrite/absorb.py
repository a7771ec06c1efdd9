"""Move constants into biases: the part of many rewrites where a stored number is rounded.

A layer that is to read  V v  (V: (width, n) coefficients, v: (n,) constants) instead of units gets
the bias b' = fl(b + V v), the nearest stored number. The residual b' - b - V v is known up to
float64 rounding (rewrite/arithmetic.py), and 0 where the sum is representable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.rewrite.arithmetic import product, stored


@dataclass(frozen=True)
class Absorbed:
    """bias: (width,) stored numbers. residual, radius: (width,), bias - (old bias + V v) = residual
    +- radius."""

    bias: Floats
    residual: Floats
    radius: Floats


def absorb(bias: Floats, coefficients: Floats, values: Floats, dtype: str) -> Absorbed:
    """The bias after adding `coefficients` (width, n) times `values` (n,)."""
    moved = coefficients @ values
    # an exact zero times anything adds nothing: such biases stay as they are, bit by bit
    untouched = ~np.any((coefficients != 0) & (values != 0), axis=1)
    new = np.where(untouched, bias, stored(bias + moved, dtype))
    residual, radius = residual_of(new, bias, coefficients, values)
    return Absorbed(new, np.where(untouched, 0.0, residual), np.where(untouched, 0.0, radius))


def residual_of(
    new: Floats, bias: Floats, coefficients: Floats, values: Floats
) -> tuple[Floats, Floats]:
    """new - (bias + coefficients values), and a bound on the error of that number."""
    count = len(bias)
    left = np.stack([new, -bias], axis=1)
    left = np.concatenate([left, -coefficients], axis=1)
    right = np.concatenate([np.ones(2), values])[:, None]
    if count == 0:
        return np.zeros(0), np.zeros(0)
    residual, radius = product(left, right, np.ones(1))
    return residual[:, 0], radius
