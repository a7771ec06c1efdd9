"""Exact arithmetic with binary floating-point numbers: integers with one common power of two.

Finite floats are integers times a power of two (dyadic). Sums and products of dyadic numbers are
dyadic, so Python's integers hold them without any rounding: a matrix is M * 2**e with M integer,
and (M * 2**e) (H * 2**f) = (M H) * 2**(e + f). Slow (a Python operation for each number): for
tests, and for the few places where a sign or a bound is in doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from leo_cli.arrays import Bools, Floats, Ints

Integers: TypeAlias = NDArray[Any]  # dtype object, Python integers
_MANTISSA_BITS = 53


@dataclass(frozen=True)
class Dyadic:
    """An array of exact numbers: numerators * 2**exponent, with Python integers as numerators."""

    numerators: Integers
    exponent: int

    @staticmethod
    def of(values: Floats) -> Dyadic:
        """The exact numbers in a float64 array. Raises ValueError for NaN and infinity."""
        if not np.isfinite(values).all():
            raise ValueError("NaN and infinity have no exact value")
        fraction, powers = np.frexp(np.asarray(values, dtype=np.float64))
        mantissas = np.ldexp(fraction, _MANTISSA_BITS).astype(np.int64)
        used = powers[mantissas != 0]
        if used.size == 0:
            return Dyadic(mantissas.astype(object), 0)
        lowest = int(used.min())
        shift = np.where(mantissas != 0, powers - lowest, 0)
        numerators = mantissas.astype(object) * (1 << shift.astype(object))
        return Dyadic(np.asarray(numerators, dtype=object), lowest - _MANTISSA_BITS)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.numerators.shape

    def shifted(self, exponent: int) -> Integers:
        """Numerators of the same numbers for an exponent that is not larger."""
        return self.numerators * (1 << (self.exponent - exponent))

    def __add__(self, other: Dyadic) -> Dyadic:
        exponent = min(self.exponent, other.exponent)
        return Dyadic(self.shifted(exponent) + other.shifted(exponent), exponent)

    def __mul__(self, other: Dyadic) -> Dyadic:
        return Dyadic(self.numerators * other.numerators, self.exponent + other.exponent)

    def __matmul__(self, other: Dyadic) -> Dyadic:
        return Dyadic(
            np.asarray(self.numerators @ other.numerators, dtype=object),
            self.exponent + other.exponent,
        )

    def where(self, keep: Bools) -> Dyadic:
        """The same numbers, 0 where `keep` is false."""
        return Dyadic(np.where(keep, self.numerators, 0), self.exponent)

    def total(self) -> Fraction:
        """The sum of all numbers."""
        return int(np.sum(self.numerators)) * Fraction(2) ** self.exponent

    def __neg__(self) -> Dyadic:
        return Dyadic(-self.numerators, self.exponent)

    def __sub__(self, other: Dyadic) -> Dyadic:
        return self + (-other)

    def relu(self) -> Dyadic:
        return Dyadic(np.maximum(self.numerators, 0), self.exponent)

    def signs(self) -> Ints:
        """-1, 0 or 1 for each number."""
        positive = np.asarray(self.numerators > 0, dtype=bool).astype(np.int64)
        return positive - np.asarray(self.numerators < 0, dtype=bool).astype(np.int64)

    def fractions(self) -> Integers:
        """The numbers as an object array of `Fraction`."""
        scale = Fraction(2) ** self.exponent
        out = np.empty(self.shape, dtype=object)
        for index, numerator in np.ndenumerate(self.numerators):
            out[index] = int(numerator) * scale
        return out

    def nearest(self) -> Floats:
        """The nearest float64 numbers (infinite beyond their range)."""
        out = np.empty(self.shape, dtype=np.float64)
        for index, value in np.ndenumerate(self.fractions()):
            out[index] = _nearest(value)
        return out


def _nearest(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
