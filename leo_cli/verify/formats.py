"""The binary floating-point formats that models are evaluated in (IEEE 754), and distances in
them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leo_cli.arrays import Bools, Ints
from leo_cli.errors import InputError


@dataclass(frozen=True)
class Format:
    """roundoff: u, half the distance from 1 to the next number. smallest: the least positive
    number. largest: the greatest finite one. integers: every integer up to this size is a number of
    the format."""

    name: str
    roundoff: float
    smallest: float
    largest: float
    integers: float


_FORMATS = {
    "float16": Format("float16", 2.0**-11, 2.0**-24, 65504.0, 2.0**11),
    "float32": Format("float32", 2.0**-24, 2.0**-149, float(np.finfo(np.float32).max), 2.0**24),
    "float64": Format("float64", 2.0**-53, 2.0**-1074, float(np.finfo(np.float64).max), 2.0**53),
}


def format_of(dtype: str) -> Format:
    """The format of a NumPy type name. Raises InputError for a type that is none of the three."""
    if dtype not in _FORMATS:
        raise InputError(
            f"no rounding bound is known for {dtype}: only for {', '.join(_FORMATS)}; "
            "give a tolerance instead"
        )
    return _FORMATS[dtype]


def ulps(a: NDArray[Any], b: NDArray[Any]) -> Ints:
    """Distance in units in the last place: how many numbers of the type lie from a to b, element by
    element.

    a, b: of the same floating type and shape. -0 and +0 are 0 apart; where either is NaN the answer
    is -1; distances beyond int64 are given as its largest number."""
    (size_a, negative_a), (size_b, negative_b) = _position(a), _position(b)
    apart = np.where(
        negative_a == negative_b,
        np.maximum(size_a, size_b) - np.minimum(size_a, size_b),
        size_a + size_b,  # at most 2**64 - 2**53: no overflow
    )
    distance = np.minimum(apart, np.uint64(2**63 - 1)).astype(np.int64)
    return np.where(np.isnan(a) | np.isnan(b), np.int64(-1), distance)


def _position(values: NDArray[Any]) -> tuple[NDArray[np.uint64], Bools]:
    """How many numbers of the type lie between 0 and each value, and on which side it is."""
    bits = values.dtype.itemsize * 8
    raw = np.ascontiguousarray(values).view(f"uint{bits}").astype(np.uint64)
    sign = np.uint64(1 << (bits - 1))
    return raw & (sign - np.uint64(1)), (raw & sign) != 0
