"""Witness search: inputs of the domain at which a unit is on, or off.

A witness ends a question for good, and one input answers many questions, so this comes first.
`Sampling` offers the user's samples, random points and corners: few at first, and more only as long
as they answer many questions, since the points where linear bounds are attained (bounding.py) come
next, cost little more and answer better. `Ascent` climbs from the best of all points along the sign
of the gradient of +z or -z (Madry et al., arXiv 1706.06083, section 2.1), each step projected to
the domain, for open questions only. Both only propose points: whoever merges the findings replays
them (stability/replay.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import default_rng

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.bounds.linear import relaxed
from leo_cli.domain import Domain
from leo_cli.network import Network
from leo_cli.stability.budget import Budget
from leo_cli.stability.knowledge import Findings, Knowledge

FIRST_POINTS, MOST_POINTS = 32, 1024  # random points, and as many corners: at first, in all
POOL_NUMBERS = 2**23  # numbers in all random points: memory for inputs by the thousand
PAYING = 1.0  # questions that a point must answer on average for more to be drawn
MOST_SAMPLES = 20_000  # of the user's samples, spread evenly over the file
STEPS, SHORT_CLIMB = 30, 10
PROMISING = 0.1  # of the questions that a short climb answers, for longer ones after the others
FIRST_STEP, LAST_STEP = 0.5, 0.01  # of the domain's width in each feature


def pool(domain: Domain, samples: Floats | None, seed: int) -> Floats:
    """(m, inputs) points of the domain: samples, a few random points and corners; the same for a
    seed."""
    parts = [_random_points(domain, FIRST_POINTS, default_rng(seed))]
    if samples is not None and len(samples):
        stride = -(-len(samples) // MOST_SAMPLES)
        chosen = samples[::stride]
        parts.insert(0, chosen[domain.contains(chosen)])
    return np.vstack(parts)


def rounds(domain: Domain, seed: int) -> Iterator[Floats]:
    """More random points and corners, each time as many as before in all; the same for a seed."""
    rng = default_rng([seed, 1])
    most = int(np.clip(POOL_NUMBERS // max(domain.inputs, 1), FIRST_POINTS, MOST_POINTS))
    drawn = FIRST_POINTS
    while 2 * drawn <= most:
        yield _random_points(domain, drawn, rng)
        drawn *= 2


def _random_points(domain: Domain, count: int, rng: np.random.Generator) -> Floats:
    return np.vstack([domain.sample(count, rng), domain.corners(count, rng)])


@dataclass(frozen=True)
class Sampling:
    """Offers points. points: (m, inputs)."""

    points: Floats
    name: str = "samples"

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterator[Findings]:
        del knowledge, layers, budget  # every point may answer any question
        yield Findings(points=self.points)


@dataclass(frozen=True)
class Ascent:
    """Projected sign-gradient ascent from the best of some points and of all witnesses: short, and
    longer for what is left where that answered questions. points: (m, inputs)."""

    points: Floats
    name: str = "ascent"

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterator[Findings]:
        for layer in layers:
            known = knowledge
            part = relaxed(known.network, known.domain, known.lower, known.upper, layer).network
            above = np.flatnonzero(known.open_above(layer))
            below = np.flatnonzero(known.open_below(layer))
            units, signs = np.concatenate([above, below]), np.ones(len(above) + len(below))
            signs[len(above) :] = -1.0
            if len(units) == 0 or budget.expired():
                continue
            starts = np.vstack([self.points, known.witnesses])
            values = part.pre_activations(starts)[layer]
            x = starts[(signs * values[:, units]).argmax(axis=0)]
            points = climb(part, known.domain, units, signs, x, budget, SHORT_CLIMB)
            yield Findings(points=points)
            shown = signs * part.pre_activations(points)[layer][:, units] > 0
            left = np.flatnonzero(~shown.any(axis=0))
            if 0 < len(left) <= (1.0 - PROMISING) * len(units):
                again = climb(part, known.domain, units[left], signs[left], x[left], budget)
                yield Findings(points=again)


def climb(
    network: Network,
    domain: Domain,
    units: Ints,
    signs: Floats,
    x: Floats,
    budget: Budget,
    steps: int = STEPS,
    layers: Ints | None = None,
) -> Floats:
    """Points where sign * z of `units` is positive in float arithmetic.

    x: (len(units), inputs) where each climb starts; signs: (len(units),); layers: of each unit, all
    the last one if None. Units that fail give no point."""
    goal = np.full(len(units), len(network.layers) - 1) if layers is None else layers
    todo, found = np.arange(len(units)), []
    width = domain.upper - domain.lower
    z = network.pre_activations(x)
    for step in np.geomspace(FIRST_STEP, LAST_STEP, steps):
        uphill = input_gradient(network, goal[todo], units[todo], signs[todo], z)
        x = domain.project(x + step * width * np.sign(uphill))
        z = network.pre_activations(x)
        reached = _at(z, goal[todo], units[todo]) * signs[todo] > 0
        if reached.any():
            found.append(x[reached])
            todo, x, z = todo[~reached], x[~reached], [values[~reached] for values in z]
        if len(todo) == 0 or budget.expired():
            break
    points = np.vstack([x[:0], *found])
    return points[_inside(domain, points)]


def _at(z: Sequence[Floats], layers: Ints, units: Ints) -> Floats:
    """(m,) z[layers[i]][i, units[i]]."""
    out = np.empty(len(units))
    for k in np.unique(layers).tolist():
        rows = np.flatnonzero(layers == k)
        out[rows] = z[k][rows, units[rows]]
    return out


def _inside(domain: Domain, points: Floats) -> Bools:
    return domain.contains(points) if len(points) else np.zeros(0, dtype=bool)


def input_gradient(
    network: Network, layers: Ints, units: Ints, signs: Floats, z: Sequence[Floats]
) -> Floats:
    """(m, inputs) gradient of signs[i] * z of unit units[i] of layer layers[i] where the layers
    have the pre-activations z[k][i]; at a kink, that of the inactive side."""
    last = int(layers.max(initial=0))
    pending: list[Floats | None] = [None] * (last + 2)
    for k in range(last, -1, -1):
        current, a = network.layers[k], pending[k + 1]
        rows = np.flatnonzero(layers == k)
        if a is None and len(rows) == 0:
            continue
        if a is None:
            p = np.zeros((len(units), current.width))
        else:
            p = a * (z[k] > 0) if current.relu else a.copy()
        p[rows, units[rows]] += signs[rows]
        for term in current.terms:
            moved = term.map.apply_transposed(p)
            known = pending[term.source]
            pending[term.source] = moved if known is None else known + moved
    gradient = pending[0]
    return np.zeros((len(units), network.inputs)) if gradient is None else gradient
