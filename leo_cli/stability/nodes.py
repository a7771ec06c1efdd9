"""Batches of nodes of branch and bound, and the questions they belong to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints, Singles
from leo_cli.bounds.dual import Dual, join


@dataclass(frozen=True)
class ProvedNode:
    """What proved a node, in units of the problem: the phases (True: z >= 0) of the units of
    `path`, their multipliers >= 0, and the slopes of each layer."""

    path: tuple[tuple[int, int], ...]
    phases: Bools
    multipliers: Floats
    alphas: tuple[Floats | Singles | None, ...]

    @staticmethod
    def of(path: tuple[tuple[int, int], ...], dual: Dual, row: int) -> ProvedNode:
        """Row `row` of a batch. Slopes that are float32 numbers are kept as such: there may be
        very many nodes."""
        phases, multipliers = [], []
        for k, unit in path:
            phase, extra = dual.phases[k], dual.multipliers[k]
            phases.append(phase is not None and bool(phase[row, unit] > 0))
            multipliers.append(0.0 if extra is None else abs(float(extra[row, unit])))
        return ProvedNode(
            path,
            np.array(phases, dtype=bool),
            np.array(multipliers),
            tuple(None if alpha is None else _compact(alpha[row]) for alpha in dual.alphas),
        )


def _compact(values: Floats) -> Floats | Singles:
    singles = values.astype(np.float32)
    return singles if np.array_equal(singles, values) else values.copy()


@dataclass
class Question:
    """One unit and direction: what its finished leaves have shown so far."""

    unit: int
    above: bool
    open_nodes: int = 1
    bound: float = np.inf  # least bound of the finished leaves
    leaves: list[ProvedNode] = field(default_factory=list)
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
