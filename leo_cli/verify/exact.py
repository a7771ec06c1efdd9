"""Exact evaluation of a network: integers with one common power of two.

Weights, biases and points are binary floating-point numbers, thus integers times a power of two
(dyadic). Sums and products of dyadic numbers are dyadic, and a ReLU keeps or clears one, so the
value of every node at a point is dyadic and Python's integers hold it without any rounding: a
matrix is M * 2**e with M integer, and (M * 2**e) (H * 2**f) = (M H) * 2**(e + f).

Claim: what these functions return is the real-arithmetic value of the Network as stored. It is slow
(a Python operation for each weight): for tests, and for the few points where a sign or a bound is
in doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from leo_cli.arrays import Floats, Ints
from leo_cli.network import LinearMap, Network

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


def exact_pre_activations(network: Network, points: Floats) -> list[Dyadic]:
    """z of every layer at the points (n, inputs), exactly; a list of (n, width).

    Raises ValueError where a point or a weight is not finite."""
    values = [Dyadic.of(points)]
    out: list[Dyadic] = []
    for layer in network.layers:
        z = Dyadic.of(np.broadcast_to(layer.bias, (len(points), layer.width)))
        for term in layer.terms:
            z = z + _apply(term.map, values[term.source])
        out.append(z)
        values.append(z.relu() if layer.relu else z)
    return out


def exact_outputs(network: Network, points: Floats) -> Dyadic:
    """The concatenated network outputs at the points (n, inputs), exactly: (n, components)."""
    z = exact_pre_activations(network, points)
    parts = []
    for node in network.outputs:
        if node == 0:
            parts.append(Dyadic.of(points))
        else:
            value = z[node - 1]
            parts.append(value.relu() if network.layers[node - 1].relu else value)
    if not parts:
        return Dyadic(np.zeros((len(points), 0), dtype=object), 0)
    exponent = min(part.exponent for part in parts)
    return Dyadic(np.concatenate([part.shifted(exponent) for part in parts], axis=1), exponent)


def _apply(linear: LinearMap, x: Dyadic) -> Dyadic:
    """(n, in) -> (n, out); columns of zeros in W or x are skipped, which changes nothing."""
    rows = linear.rows(slice(None))
    live = np.flatnonzero(np.any(rows != 0, axis=0) & np.any(x.numerators != 0, axis=0))
    weights = Dyadic.of(rows[:, live])
    if len(live) == 0:
        return Dyadic(np.zeros((x.shape[0], len(rows)), dtype=object), 0)
    product = x.numerators[:, live] @ weights.numerators.T
    return Dyadic(product, x.exponent + weights.exponent)
