"""Numbers as they are stored, and products with a proved error.

A float64 product A B of matrices is exact where no rounding can happen: all entries of A are
multiples of a power of two a, those of B of b, so all partial sums are multiples of a b, and none
exceeds 2**53 a b. Otherwise the error of entry (i, j) is at most gamma_n (|A| |B|)_ij
(rounding.gamma) plus what underflow adds. Exactness matters: small integers and dyadic fractions,
duplicates and planted structure give rewrites with deviation 0, which `--tolerance 0` allows.
"""

from __future__ import annotations

import numpy as np

from leo_cli.arrays import Bools, Floats
from leo_cli.rounding import SMALLEST, gamma

_BITS = 53
_MAXIMUM = {"float16": 65504.0, "float32": float(np.finfo(np.float32).max)}


def stored(values: Floats, dtype: str) -> Floats:
    """The nearest numbers of the type that weights are stored in; infinite beyond its range."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.asarray(values).astype(dtype).astype(np.float64))


def is_stored(values: Floats, dtype: str) -> Bools:
    """Which numbers the type holds exactly."""
    return np.asarray(stored(values, dtype) == values)


def ulp(values: Floats, dtype: str) -> Floats:
    """Distance from |values|, rounded towards 0 to a number of the type, to the next number."""
    typed = np.abs(values).astype(dtype)
    typed = np.where(typed > np.abs(values), np.nextafter(typed, np.zeros_like(typed)), typed)
    return np.asarray(np.spacing(typed).astype(np.float64))


def grid(values: Floats) -> float:
    """The largest power of two that divides all the numbers; infinity if all are 0."""
    used = values[values != 0]
    if used.size == 0:
        return float("inf")
    fraction, exponent = np.frexp(used)
    mantissa = np.abs(np.ldexp(fraction, _BITS)).astype(np.int64)
    lowest = np.log2((mantissa & -mantissa).astype(np.float64)).astype(np.int64)
    power = int((exponent.astype(np.int64) + lowest).min()) - _BITS
    return float(np.ldexp(1.0, power)) if power > -1022 else 0.0


def is_exact_product(a: Floats, b: Floats) -> bool:
    """Whether the float64 product a @ b is free of rounding, in any order of summation."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    if not a.any() or not b.any():
        return True
    # two rows rule it out for most: the whole has no coarser grid, and no smaller sums
    few = grid(a[:2]) * grid(b[:2])
    return _fits(a[:2], b, few) and _fits(a, b, grid(a) * grid(b))


def _fits(a: Floats, b: Floats, unit: float) -> bool:
    """Whether no partial sum of a @ b is more than 2**52 units."""
    if unit < 2.0**-1000:
        return False
    # the sum of magnitudes bounds every partial sum; half of 2**53 leaves room for its own rounding
    largest = (np.abs(a) @ np.abs(b)).max(initial=0.0)
    return bool(largest <= 2.0 ** (_BITS - 1) * unit)


def product(a: Floats, b: Floats, magnitude: Floats) -> tuple[Floats, Floats]:
    """a @ b: (m, n), and (m,) a bound on |(computed - real product) h| for every |h| <= magnitude:
    (n,)."""
    value = a @ b
    if is_exact_product(a, b):
        return value, np.zeros(len(a))
    inner = a.shape[1]
    size = np.abs(a) @ (np.abs(b) @ magnitude + 2.0 * b.shape[1] * SMALLEST)
    underflow = 2.0 * inner * SMALLEST * float(magnitude.sum() + 1.0)
    error = gamma(inner + b.shape[1] + 2) * size + underflow
    return value, np.where(np.any(a != 0, axis=1), error, 0.0)
