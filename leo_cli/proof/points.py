"""The record of all verdicts: two points for every unstable unit, of as few points as a greedy
choice finds."""

from __future__ import annotations

import numpy as np

from leo_cli.arrays import Bools, Floats
from leo_cli.proof.checker import Checker, Record
from leo_cli.proof.graph import Array
from leo_cli.stability.verdict import StabilityMap, State


def verdict_record(checker: Checker, stability: StabilityMap, node_of: dict[int, int]) -> Record:
    """What is claimed of every unit. node_of: layer -> node."""
    nodes = enumerate(checker.old.nodes)
    states = {k: np.full(len(node.bias), 3, np.uint8) for k, node in nodes if node.relu}
    for i, node in node_of.items():
        states[node][stability.layers[i].inactive] = 0
        states[node][stability.layers[i].active] = 1
    points = stability.witnesses
    points = points[[checker.box.contains(point[None]) for point in points]]
    unstable = [
        (node, unit)
        for i, node in sorted(node_of.items(), key=lambda pair: pair[1])
        for unit in stability.layers[i].units(State.UNSTABLE).tolist()
    ]
    points, good = _shown(checker, points, unstable)
    for k, unit in (pair for pair, shown in zip(unstable, good, strict=True) if shown):
        states[k][unit] = 2
    small = points.astype(np.float32)
    arrays: dict[str, Array] = {
        "points": small if np.array_equal(small, points) else points,
        **{f"states{k}": table for k, table in states.items()},
    }
    return Record("verdicts", {}, arrays)


def _shown(
    checker: Checker, points: Floats, unstable: list[tuple[int, int]]
) -> tuple[Floats, Bools]:
    """Points that together show both signs of units (node, unit), and of which units."""
    if not unstable or not len(points):
        return points[:0], np.zeros(len(unstable), dtype=bool)
    found = checker.view.at(points, len(checker.old.nodes))
    signs = {k: np.where(np.abs(z) > error, np.sign(z), 0) for k, (z, error) in found.items()}
    shown = np.stack([signs[k][:, unit] for k, unit in unstable], axis=1)
    answers = np.concatenate([shown < 0, shown > 0], axis=1)
    left, chosen = answers.any(axis=0), list[int]()
    while left.any():
        best = int(answers[:, left].sum(axis=1).argmax())
        chosen.append(best)
        left = left & ~answers[best]
    below, above = np.split(answers[chosen].any(axis=0), 2)
    return points[chosen], below & above
