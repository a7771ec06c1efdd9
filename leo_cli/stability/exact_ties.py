"""The decider for ties: units whose bound is 0 but for rounding.

Float64 bounds are rounded outward, so a unit with max z = 0 or min z = 0 (terms that cancel,
weights made by hand, layers that compute a minimum of equal functions) ends a little on the wrong
side. Where a bound is that close to 0, it is evaluated again in exact arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from leo_cli.bounds.exact import down, exact_lower_bound, is_exact
from leo_cli.bounds.linear import Relaxed, relaxed
from leo_cli.stability.budget import Budget
from leo_cli.stability.evidence import LinearEvidence
from leo_cli.stability.knowledge import Bound, Findings, Knowledge

NEAR = 1e-10  # of the sum of magnitudes in z: far above rounding, far below what a unit does
MOST_NUMBERS = 20_000_000  # weights read by one layer's questions: some seconds


@dataclass(frozen=True)
class ExactTies:
    """Evaluates the bounds of open questions that are within rounding of 0 exactly."""

    name: str = "exact"

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterator[Findings]:
        for k in layers:
            problem = relaxed(
                knowledge.network, knowledge.domain, knowledge.lower, knowledge.upper, k
            )
            if not is_exact(problem):
                continue
            near = NEAR * problem.magnitudes[-1].sums
            above = np.flatnonzero(knowledge.open_above(k) & (knowledge.upper[k] <= near))
            below = np.flatnonzero(knowledge.open_below(k) & (knowledge.lower[k] >= -near))
            room = MOST_NUMBERS // max(1, problem.network.connections)
            questions = [(int(j), True) for j in above] + [(int(j), False) for j in below]
            for unit, is_above in questions[:room]:
                if budget.expired():
                    return
                yield _settle(problem, k, unit, is_above)


def _settle(problem: Relaxed, layer: int, unit: int, above: bool) -> Findings:
    """The bound of one question, if it is on the right side of 0."""
    least = exact_lower_bound(problem, unit, -1.0 if above else 1.0)
    if least < 0:
        return Findings()
    value = -down(least) if above else down(least)
    return Findings((Bound(layer, unit, above, value, LinearEvidence()),))
