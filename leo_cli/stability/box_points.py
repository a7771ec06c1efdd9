"""Points that boxes propose as witnesses: random ones, the corners at which the bounds of open
questions are attained, and what ascents from the worst of these corners find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.bounds.linear import Relaxed
from leo_cli.domain import Domain
from leo_cli.stability.box_bounds import Bounded, OpenRows
from leo_cli.stability.budget import Budget
from leo_cli.stability.walk import walk
from leo_cli.stability.witness import climb

RANDOM_POINTS = 4  # a box
CLIMB_STEPS = 10
WALKS = 16  # from corners of one question


def points_of(domain: Domain, bounded: Sequence[Bounded], rng: np.random.Generator) -> Floats:
    """(m, inputs) random points of the boxes, and the corners of open questions."""
    lower = np.concatenate([part.boxes.lower for part in bounded])
    upper = np.concatenate([part.boxes.upper for part in bounded])
    spread = rng.random((RANDOM_POINTS, *lower.shape))
    inside = (lower + spread * (upper - lower)).reshape(-1, domain.inputs)
    corners = [rows.corner for part in bounded for rows in part.rows]
    return domain.project(np.vstack([inside, *corners]))


def climbed(
    problems: Mapping[int, Relaxed], domain: Domain, bounded: Sequence[Bounded], budget: Budget
) -> Floats:
    """What a short climb finds from the worst corner of each open question, of all layers at
    once."""
    worst = list(_worst(bounded, 1))
    if not worst:
        return np.zeros((0, domain.inputs))
    problem = problems[max(layer for layer, *_ in worst)]
    units = [np.searchsorted(problem.live[layer], unit) for layer, unit, _, _ in worst]
    layers = [np.full(len(unit), layer) for layer, unit, _, _ in worst]
    sign = np.concatenate([sign for _, _, sign, _ in worst])
    start = domain.project(np.vstack([corner for *_, corner in worst]))
    return climb(
        problem.network,
        domain,
        np.concatenate(units),
        -sign,
        start,
        budget,
        CLIMB_STEPS,
        np.concatenate(layers),
    )


def walked(
    problems: Mapping[int, Relaxed],
    domain: Domain,
    bounded: Sequence[Bounded],
    rng: np.random.Generator,
    budget: Budget,
) -> Floats:
    """What walks find from the worst corners of open questions."""
    found = [np.zeros((0, domain.inputs))]
    for layer, unit, sign, corner in _worst(bounded, WALKS):
        start = domain.project(corner)
        found.append(walk(problems[layer].network, domain, unit, -sign, start, rng, budget))
    return np.vstack(found)


def _worst(bounded: Sequence[Bounded], count: int) -> Iterator[tuple[int, Ints, Floats, Floats]]:
    """For each layer: units, signs and corners of the `count` worst bounds of each question."""
    by_layer: dict[int, list[OpenRows]] = {}
    for part in bounded:
        for rows in part.rows:
            by_layer.setdefault(rows.layer, []).append(rows)
    for layer, parts in by_layer.items():
        unit = np.concatenate([rows.unit for rows in parts])
        sign = np.concatenate([rows.sign for rows in parts])
        bound = np.concatenate([rows.bound for rows in parts])
        corner = np.concatenate([rows.corner for rows in parts])
        order = np.lexsort((bound, sign, unit))
        question = np.stack([unit, sign])[:, order]
        new = np.append(True, (question[:, 1:] != question[:, :-1]).any(axis=0))
        rank = np.arange(len(order)) - np.flatnonzero(new)[np.cumsum(new) - 1]
        worst = order[rank < count]
        yield layer, unit[worst], sign[worst], corner[worst]
