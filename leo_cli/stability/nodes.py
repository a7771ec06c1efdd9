"""Batches of nodes of branch and bound, and the questions they belong to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.bounds.dual import Dual, join
from leo_cli.bounds.linear import Relaxed
from leo_cli.stability.evidence import PhaseLeaves

Paths = NDArray[np.int32]  # (m, depth) units in order of branching (Units.flat), then -1


@dataclass(frozen=True)
class Units:
    """One number for each unit of the layers before a target. offsets: of the first of a layer."""

    live: tuple[Ints, ...]
    offsets: Ints

    @staticmethod
    def of(problem: Relaxed) -> Units:
        live = problem.live[: problem.target]
        return Units(live, np.cumsum([0, *(len(units) for units in live)]))

    def flat(self, where: Ints) -> Ints:
        """(m,) numbers of (m, 2) layers and units of the problem."""
        return np.asarray(self.offsets[where[:, 0]] + where[:, 1])

    def extended(self, paths: Paths, where: Ints) -> Paths:
        """The paths with one more unit each."""
        rows, depth = np.arange(len(paths)), (paths >= 0).sum(axis=1)
        if len(paths) and depth.max(initial=0) == paths.shape[1]:
            paths = np.pad(paths, ((0, 0), (0, 1)), constant_values=-1)
        else:
            paths = paths.copy()
        paths[rows, depth] = self.flat(where)
        return paths

    def leaves(self, paths: Paths, dual: Dual, rows: Ints) -> PhaseLeaves:
        """What proved some rows of a batch, in units of the full network. Slopes that are float32
        numbers are kept as such: there may be very many nodes."""
        path = paths[rows, : int((paths[rows] >= 0).sum(axis=1).max(initial=0))]
        none, at = path < 0, np.maximum(path, 0)
        layer = np.searchsorted(self.offsets, at, side="right") - 1
        numbers = np.concatenate([*self.live, np.zeros(1, dtype=np.int64)])
        multipliers: list[Floats] = [np.zeros((len(rows), 0))]
        phases: list[Bools] = [np.zeros((len(rows), 0), dtype=bool)]
        for phase, extra, units in zip(dual.phases, dual.multipliers, self.live, strict=True):
            zeros = np.zeros((len(rows), len(units)))
            phases.append(zeros > 0 if phase is None else phase[rows] > 0)
            multipliers.append(zeros if extra is None else np.abs(extra[rows]))
        return PhaseLeaves(
            np.where(none, -1, layer).astype(np.int32),
            np.where(none, -1, numbers[at]).astype(np.int32),
            np.take_along_axis(np.hstack(phases), at, axis=1) & ~none,
            np.where(none, 0.0, np.take_along_axis(np.hstack(multipliers), at, axis=1)),
            tuple(None if alpha is None else _compact(alpha[rows]) for alpha in dual.alphas),
            tuple(units.astype(np.int32) for units in self.live),
        )


def _compact(values: Floats) -> NDArray[np.floating]:
    singles = values.astype(np.float32)
    return singles if np.array_equal(singles, values) else values


@dataclass
class Question:
    """One unit and direction: what its finished leaves have shown so far."""

    unit: int
    above: bool
    open_nodes: int = 1
    bound: float = np.inf  # least bound of the finished leaves
    leaves: list[PhaseLeaves] = field(default_factory=list)
    kept: bool = True  # whether leaves are: there may be more than memory holds
    stuck: bool = (
        False  # given up: out of time, or a node that can be neither bounded nor branched (a tie)
    )
    seconds: float = 0.0


@dataclass(frozen=True)
class Nodes:
    """A batch of nodes: the question of each, and what its bound is made of."""

    question: Ints
    dual: Dual
    path: Paths
    bound: Floats

    def __len__(self) -> int:
        return len(self.question)

    def take(self, rows: Ints) -> Nodes:
        return Nodes(self.question[rows], self.dual.take(rows), self.path[rows], self.bound[rows])


def fresh(dual: Dual, count: int) -> Nodes:
    """The root nodes of `count` questions."""
    paths = np.full((count, 0), -1, dtype=np.int32)
    return Nodes(np.arange(count), dual, paths, np.full(count, -np.inf))


def join_nodes(parts: list[Nodes]) -> Nodes:
    if len(parts) == 1:
        return parts[0]
    depth = max(part.path.shape[1] for part in parts)
    paths = [
        np.pad(part.path, ((0, 0), (0, depth - part.path.shape[1])), constant_values=-1)
        for part in parts
    ]
    return Nodes(
        np.concatenate([part.question for part in parts]),
        join([part.dual for part in parts]),
        np.concatenate(paths),
        np.concatenate([part.bound for part in parts]),
    )
