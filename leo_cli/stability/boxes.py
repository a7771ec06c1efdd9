"""Batches of boxes that cover the domain, with the bounds known in each."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.domain import Domain
from leo_cli.stability.evidence import InputSplitEvidence
from leo_cli.stability.knowledge import Knowledge


@dataclass(frozen=True)
class Boxes:
    """lower, upper: (m, inputs). node: (m,) their nodes in the tree of cuts. z_lower, z_upper: for
    each layer, (m, width) bounds of the pre-activations in the box (tightened in place while a
    batch is bounded).
    """

    lower: Floats
    upper: Floats
    node: Ints
    z_lower: tuple[Floats, ...]
    z_upper: tuple[Floats, ...]

    def __len__(self) -> int:
        return len(self.lower)

    def take(self, rows: Bools | Ints) -> Boxes:
        """A copy of some boxes."""
        return Boxes(
            self.lower[rows],
            self.upper[rows],
            self.node[rows],
            tuple(z[rows] for z in self.z_lower),
            tuple(z[rows] for z in self.z_upper),
        )

    def part(self, rows: slice) -> Boxes:
        """Some boxes, without a copy."""
        return Boxes(
            self.lower[rows],
            self.upper[rows],
            self.node[rows],
            tuple(z[rows] for z in self.z_lower),
            tuple(z[rows] for z in self.z_upper),
        )

    @staticmethod
    def join(parts: Sequence[Boxes]) -> Boxes:
        if len(parts) == 1:
            return parts[0]
        return Boxes(
            np.concatenate([p.lower for p in parts]),
            np.concatenate([p.upper for p in parts]),
            np.concatenate([p.node for p in parts]),
            tuple(np.concatenate(z) for z in zip(*(p.z_lower for p in parts), strict=True)),
            tuple(np.concatenate(z) for z in zip(*(p.z_upper for p in parts), strict=True)),
        )


def root_boxes(knowledge: Knowledge) -> Boxes:
    """The whole domain as one box."""
    return Boxes(
        knowledge.domain.lower[None].copy(),
        knowledge.domain.upper[None].copy(),
        np.zeros(1, dtype=np.int64),
        tuple(z[None].copy() for z in knowledge.lower),
        tuple(z[None].copy() for z in knowledge.upper),
    )


def cut(domain: Domain, boxes: Boxes, axis: Ints, where: Floats, nodes: Ints) -> Boxes:
    """Both halves of each box, cut at x[axis] = where. nodes: (m, 2) the tree nodes of the halves.

    An integer feature lies on one side of the gap between two integers, a member of a one-hot group
    is cold or hot: the halves shrink to the values that exist.
    """
    rows = np.arange(len(boxes))
    left, right = boxes.take(rows), boxes.take(rows)
    below, above = where.copy(), where.copy()
    whole = domain.integer[axis]
    below[whole], above[whole] = np.floor(where[whole]), np.floor(where[whole]) + 1.0
    for group in domain.one_hot:
        for member, cold, hot in zip(group.members, group.cold, group.hot, strict=True):
            chosen = axis == member
            below[chosen], above[chosen] = min(cold, hot), max(cold, hot)
    left.upper[rows, axis] = below
    right.lower[rows, axis] = above
    first = Boxes(left.lower, left.upper, nodes[:, 0], left.z_lower, left.z_upper)
    second = Boxes(right.lower, right.upper, nodes[:, 1], right.z_lower, right.z_upper)
    return Boxes.join([first, second])


class CutTree:
    """The record of all cuts, for the proof. Halves of a node follow each other."""

    def __init__(self) -> None:
        self.axis, self.where, self.first = array("i", [-1]), array("d", [0.0]), array("q", [-1])

    @property
    def nodes(self) -> int:
        return len(self.axis)

    def split(self, node: int, axis: int, where: float) -> tuple[int, int]:
        first = self.nodes
        self.axis[node], self.where[node], self.first[node] = axis, where, first
        self.axis.extend((-1, -1))
        self.where.extend((0.0, 0.0))
        self.first.extend((-1, -1))
        return first, first + 1

    def evidence(self) -> InputSplitEvidence:
        first = np.array(self.first, dtype=np.int64)
        child = np.stack([first, np.where(first < 0, -1, first + 1)], axis=1)
        return InputSplitEvidence(
            np.array(self.axis, dtype=np.int64), np.array(self.where, dtype=np.float64), child
        )
