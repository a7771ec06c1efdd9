"""Optimised slopes of backward bounds, for open questions only (alpha-CROWN)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.bounds.dual import Dual, initial, relaxations_of
from leo_cli.bounds.linear import Relaxed, Signed, backward, relaxed
from leo_cli.stability.bounding import blocks
from leo_cli.stability.budget import Budget
from leo_cli.stability.evidence import LinearEvidence
from leo_cli.stability.knowledge import Bound, Findings, Knowledge
from leo_cli.stability.node_bounds import NodeBounds


@dataclass(frozen=True)
class OptimisedSlopes:
    """Optimises the slopes of each open question by itself, in float32 where that is possible, and
    bounds it with them; also offers the minimisers as witnesses.
    """

    name: str = "slopes"

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterator[Findings]:
        for k in layers:
            problem = relaxed(
                knowledge.network, knowledge.domain, knowledge.lower, knowledge.upper, k
            )
            above = np.flatnonzero(knowledge.open_above(k))
            below = np.flatnonzero(knowledge.open_below(k))
            # max z <= 0 is min -z >= 0: the question "above" bounds -z from below
            units, sign = np.concatenate([above, below]), np.ones(len(above) + len(below))
            sign[: len(above)] = -1.0
            for rows in blocks(problem, np.arange(len(units))):
                if budget.expired():
                    return
                asked = Signed(units[rows], sign[rows])
                yield self._improve(knowledge, problem, k, asked, budget.jobs)

    def _improve(
        self, knowledge: Knowledge, problem: Relaxed, k: int, asked: Signed, jobs: int
    ) -> Findings:
        start = initial(problem, len(asked))
        found = NodeBounds(problem, jobs).suggested(asked, start, root=True)
        proved = backward(problem, asked, relaxations_of(problem, found.dual)).bound
        bounds = tuple(
            Bound(
                k,
                unit,
                sign < 0,
                sign * bound,
                LinearEvidence(full_slopes(knowledge, problem, found.dual, i)),
            )
            for i, (unit, sign, bound) in enumerate(
                zip(asked.unit.tolist(), asked.sign.tolist(), proved.tolist(), strict=True)
            )
        )
        points = knowledge.domain.project(np.asarray(found.minimisers, dtype=np.float64))
        return Findings(bounds, points=points[knowledge.domain.contains(points)])


def full_slopes(
    knowledge: Knowledge, problem: Relaxed, dual: Dual, row: int
) -> tuple[Floats | None, ...]:
    """The slopes of one row, for all units of the full layers (0 where a unit was left out as
    inactive).
    """
    out: list[Floats | None] = []
    for k, alpha in enumerate(dual.alphas):
        if alpha is None:
            out.append(None)
            continue
        full = np.zeros(knowledge.network.layers[k].width)
        full[problem.live[k]] = alpha[row]
        out.append(full)
    return tuple(out)
