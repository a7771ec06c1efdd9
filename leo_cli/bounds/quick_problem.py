"""A problem in float32, for the search in bounds/quick.py: without rounding errors, over [-1, 1].

Over a box with centre m and radius r, x = m + r s with s in [-1, 1], and the minimum of a form a s
is -sum |a|, at s = -sign(a). So the layers that read the input read s, with m and r worked into
their weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Bools, Floats, Singles
from leo_cli.bounds.linear import Relaxed
from leo_cli.network import Layer

NOISE = 2.0e-6  # of the sum of magnitudes in z: what float32 makes of a bound
LARGEST = 2**24  # numbers in the matrices of a problem that is copied
ZERO, ONE = np.float32(0.0), np.float32(1.0)


@dataclass(frozen=True)
class QuickLayer:
    """terms: (source, matrix), over s instead of x for the input. free: units whose slope can be
    chosen, None without a ReLU. slope, intercept: of the upper lines."""

    terms: list[tuple[int, Singles]]
    bias: Singles
    free: Bools | None
    slope: Singles
    intercept: Singles

    def pre_activation(self, values: list[Singles], rows: int) -> Singles:
        """(rows, width) z from the values of all nodes; that of the input is -s."""
        z: Singles | None = None
        for source, matrix in self.terms:
            moved = values[source] @ matrix.T
            if source == 0:
                np.negative(moved, out=moved)
            z = add(z, moved)
        if z is None:
            return np.repeat(self.bias[None], rows, axis=0)
        z += self.bias
        return z


class QuickProblem:
    """The layers up to the target. noise: (width of the target,) how far float32 may be off."""

    @staticmethod
    def suits(problem: Relaxed) -> bool:
        """Whether this problem has a form in float32: over a box, not too large, no huge values."""
        sizes = sum(
            t.map.in_features * t.map.out_features
            for layer in problem.network.layers
            for t in layer.terms
        )
        largest = max(float(m.sums.max(initial=0.0)) for m in problem.magnitudes)
        return not problem.domain.one_hot and sizes <= LARGEST and largest < 1e30

    def __init__(self, problem: Relaxed) -> None:
        """Raises nothing: ask `suits` first."""
        self.target, domain = problem.target, problem.domain
        centre = 0.5 * domain.lower + 0.5 * domain.upper
        radius = 0.5 * domain.upper - 0.5 * domain.lower
        self.centre, self.radius = single(centre), single(radius)
        self.noise = NOISE * problem.magnitudes[-1].sums
        self.layers = [
            _layer(problem, k, layer, centre, radius)
            for k, layer in enumerate(problem.network.layers)
        ]


def _layer(problem: Relaxed, k: int, layer: Layer, centre: Floats, radius: Floats) -> QuickLayer:
    terms, bias = [], layer.bias
    for t in layer.terms:
        matrix = t.map.rows(slice(None))
        if t.source == 0:
            bias, matrix = bias + matrix @ centre, matrix * radius
        terms.append((t.source, single(matrix)))
    relaxation = problem.relaxations[k]
    if relaxation is None:
        none = np.zeros(0, dtype=np.float32)
        return QuickLayer(terms, single(bias), None, none, none)
    free = (problem.lower[k] < 0) & (problem.upper[k] > 0)
    slope, intercept = single(relaxation.slope), single(relaxation.intercept)
    return QuickLayer(terms, single(bias), free, slope, intercept)


def add(known: Singles | None, more: Singles) -> Singles:
    return more if known is None else known + more


def single(values: Floats) -> Singles:
    return np.ascontiguousarray(values, dtype=np.float32)
