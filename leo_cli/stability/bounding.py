"""The deciders that bound every unit of a layer once: interval arithmetic and backward linear
bounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.bounds.interval import propagate
from leo_cli.bounds.linear import Relaxed, Signed, backward, relaxed
from leo_cli.stability.budget import Budget
from leo_cli.stability.evidence import Evidence, IntervalEvidence, LinearEvidence
from leo_cli.stability.knowledge import Bound, Findings, Knowledge

CHUNK_BYTES = 64 * 2**20  # memory of one block of rows


def bounds_of(
    layer: int, units: Ints, lower: Floats | None, upper: Floats | None, evidence: Evidence
) -> tuple[Bound, ...]:
    """`Bound` values from arrays that run parallel to `units`; None: no bound on that side."""
    found = []
    for i, unit in enumerate(units.tolist()):
        if lower is not None:
            found.append(Bound(layer, unit, False, float(lower[i]), evidence))
        if upper is not None:
            found.append(Bound(layer, unit, True, float(upper[i]), evidence))
    return tuple(found)


@dataclass(frozen=True)
class Intervals:
    """Interval bounds of all units of each layer."""

    name: str = "interval"

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterator[Findings]:
        del budget  # linear in the number of weights
        lower, upper = list(knowledge.lower), list(knowledge.upper)
        found: list[Bound] = []
        for k in layers:
            low, high = propagate(
                knowledge.network.layers[k],
                knowledge.domain,
                lower,
                upper,
                knowledge.network.layers[:k],
            )
            lower[k], upper[k] = np.maximum(lower[k], low), np.minimum(upper[k], high)
            found += bounds_of(k, np.arange(len(low)), low, high, IntervalEvidence())
        yield Findings(tuple(found))


@dataclass(frozen=True)
class LinearBounds:
    """Backward linear bounds, with default slopes, of all units that intervals leave unstable.

    The minimisers of the bounds that leave a question open are offered as witnesses."""

    name: str = "linear"

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterator[Findings]:
        lower, upper = [b.copy() for b in knowledge.lower], [b.copy() for b in knowledge.upper]
        found: list[Bound] = []
        points: list[Floats] = []
        for k in layers:
            units = np.flatnonzero((lower[k] < 0) & (upper[k] > 0))
            if not knowledge.network.layers[k].relu:
                units = np.arange(knowledge.network.layers[k].width)
            if len(units) == 0 or budget.expired():
                continue
            problem = relaxed(knowledge.network, knowledge.domain, lower, upper, k)
            low, below = lower_bounds(problem, units, 1.0, knowledge.negative[k] < 0)
            high, above = lower_bounds(problem, units, -1.0, knowledge.positive[k] < 0)
            high = -high
            lower[k][units] = np.maximum(lower[k][units], low)
            upper[k][units] = np.minimum(upper[k][units], high)
            found += bounds_of(k, units, low, high, LinearEvidence())
            points += [below, above]
        corners = knowledge.domain.project(np.vstack(points)) if points else None
        if corners is not None:
            corners = corners[knowledge.domain.contains(corners)]
        yield Findings(tuple(found), points=corners)


def lower_bounds(
    problem: Relaxed, units: Ints, sign: float, sought: Bools
) -> tuple[Floats, Floats]:
    """(m,) proved lower bounds of sign * z of `units`, and the (n, inputs) points where the
    relaxations of those attain them that are negative and `sought`: (width,).

    In blocks that fit in memory.
    """
    bounds, minimisers = [], []
    for part in blocks(problem, units):
        result = backward(problem, Signed(part, np.full(len(part), sign)))
        bounds.append(result.bound)
        open_rows = (result.bound < 0) & sought[part]
        minimisers.append(problem.domain.minimiser(result.form[open_rows]))
    return np.concatenate(bounds), np.vstack(minimisers)


def blocks(problem: Relaxed, units: Ints) -> list[Ints]:
    """`units` in parts whose bounds fit in memory together."""
    width = max([problem.network.inputs, *(layer.width for layer in problem.network.layers)])
    size = max(1, CHUNK_BYTES // (8 * width))
    return [units[i : i + size] for i in range(0, len(units), size)]
