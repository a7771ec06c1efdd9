"""Batches of nodes of branch and bound, and the questions they belong to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.bounds.dual import Dual, join
from leo_cli.stability.evidence import PhaseLeaf


@dataclass
class Question:
    """One unit and direction: what its finished leaves have shown so far."""

    unit: int
    above: bool
    open_nodes: int = 1
    bound: float = np.inf  # least bound of the finished leaves
    leaves: list[PhaseLeaf] = field(default_factory=list)
    stuck: bool = (
        False  # given up: out of time, or a node that can be neither bounded nor branched (a tie)
    )
    seconds: float = 0.0


@dataclass(frozen=True)
class Nodes:
    """A batch of nodes: the question of each, and what its bound is made of."""

    question: Ints
    dual: Dual
    path: list[tuple[tuple[int, int], ...]]  # (layer, unit) in order of branching
    bound: Floats

    def __len__(self) -> int:
        return len(self.question)

    def take(self, rows: Ints) -> Nodes:
        return Nodes(
            self.question[rows],
            self.dual.take(rows),
            [self.path[i] for i in rows.tolist()],
            self.bound[rows],
        )


def fresh(dual: Dual, count: int) -> Nodes:
    """The root nodes of `count` questions."""
    return Nodes(np.arange(count), dual, [()] * count, np.full(count, -np.inf))


def join_nodes(parts: list[Nodes]) -> Nodes:
    if len(parts) == 1:
        return parts[0]
    return Nodes(
        np.concatenate([part.question for part in parts]),
        join([part.dual for part in parts]),
        [path for part in parts for path in part.path],
        np.concatenate([part.bound for part in parts]),
    )
