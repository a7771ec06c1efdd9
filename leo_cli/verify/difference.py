"""How far two arrays of native outputs are apart, entry by entry.

NaN and infinity are never equal to anything but the same bits: any other pair with one of them is
infinitely far apart. -0 and +0 are 0 apart and yet not bit-identical. Integers, booleans and
strings are equal (0) or not (infinite).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leo_cli.arrays import Bools, Floats
from leo_cli.verify.formats import ulps


@dataclass(frozen=True)
class Difference:
    """identical: (n, components) same bits. absolute: (n, components) distance, as above.
    max_ulp: the largest finite distance in units in the last place (0 for discrete outputs), which
    is large between small numbers; scaled_ulp: the same in units in the last place of the largest
    number in the component."""

    identical: Bools
    absolute: Floats
    max_ulp: int = 0
    scaled_ulp: float = 0.0

    @property
    def rows(self) -> Bools:
        """(n,) rows in which every component has the same bits."""
        same: Bools = np.all(self.identical, axis=1)
        return same

    @property
    def largest(self) -> float:
        return float(self.absolute.max(initial=0.0))


def is_discrete(values: NDArray[Any]) -> bool:
    """Labels: integers, booleans and strings."""
    return values.dtype.kind != "f"


def difference(a: NDArray[Any], b: NDArray[Any]) -> Difference:
    """a, b: (n, components) of the same type. Shapes or types that differ are infinitely far
    apart."""
    shape = a.shape if a.size >= b.size else b.shape
    if a.shape != b.shape or is_discrete(a) != is_discrete(b):
        return Difference(np.zeros(shape, dtype=bool), np.full(shape, np.inf))
    if is_discrete(a):
        same = np.asarray(a == b, dtype=bool)
        return Difference(same, np.where(same, 0.0, np.inf))
    if a.dtype != b.dtype:
        return Difference(np.zeros(shape, dtype=bool), _distance(a, b, np.zeros(shape, bool)))
    bits = f"uint{a.dtype.itemsize * 8}"
    same = np.ascontiguousarray(a).view(bits) == np.ascontiguousarray(b).view(bits)
    finite = np.isfinite(a) & np.isfinite(b) & ~same
    apart = int(ulps(a[finite], b[finite]).max(initial=0))
    distance = _distance(a, b, same)
    size = np.max(np.abs(a), axis=0, initial=0, where=np.isfinite(a))
    unit = np.spacing(size).astype(np.float64)
    scaled = np.max(distance / unit, initial=0.0, where=finite)
    return Difference(same, distance, apart, float(scaled))


def _distance(a: NDArray[Any], b: NDArray[Any], same: Bools) -> Floats:
    finite = np.isfinite(a) & np.isfinite(b)
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return np.where(same, 0.0, np.where(finite, distance, np.inf))
