"""Optimised slopes of backward bounds, for open questions only (alpha-CROWN)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.bounds.dual import Dual, initial
from leo_cli.bounds.linear import Relaxed, relaxed
from leo_cli.bounds.slopes import optimise_blocks
from leo_cli.stability.bounding import blocks, objective
from leo_cli.stability.budget import Budget
from leo_cli.stability.evidence import LinearEvidence
from leo_cli.stability.knowledge import Bound, Findings, Knowledge


@dataclass(frozen=True)
class OptimisedSlopes:
    """Optimises the slopes of each open question by itself; also offers the minimisers as
    witnesses.
    """

    steps: int = 20
    name: str = "slopes"

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterator[Findings]:
        for k in layers:
            problem = relaxed(
                knowledge.network, knowledge.domain, knowledge.lower, knowledge.upper, k
            )
            for above in (True, False):
                open_units = knowledge.open_above(k) if above else knowledge.open_below(k)
                for units in blocks(problem, np.flatnonzero(open_units)):
                    if budget.expired():
                        return
                    yield self._improve(knowledge, problem, k, units, above, budget.jobs)

    def _improve(
        self,
        knowledge: Knowledge,
        problem: Relaxed,
        k: int,
        units: Ints,
        above: bool,
        jobs: int,
    ) -> Findings:
        # max z <= 0 is min -z >= 0: the question "above" bounds -z from below
        rows = objective(problem, units, -1.0 if above else 1.0)
        result = optimise_blocks(problem, rows, initial(problem, len(rows)), self.steps, jobs)
        bounds = tuple(
            Bound(
                k,
                int(unit),
                above,
                float(-result.bound[i] if above else result.bound[i]),
                LinearEvidence(full_slopes(knowledge, problem, result.dual, i)),
            )
            for i, unit in enumerate(units)
        )
        points = knowledge.domain.project(result.minimisers)
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
