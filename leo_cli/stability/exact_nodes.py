"""Nodes of branch and bound that are ties: bounds within rounding of 0, evaluated exactly.

The best bound of a node is often attained with slopes 0 and 1 and without multipliers, where the
units' terms cancel (a minimum of equal functions, relu(u) - relu(v) where u >= v). Floats stop a
little below 0; exact arithmetic does not (bounds/exact.py). Any slopes give a valid bound, so the
ones that a search found are rounded to 0 and 1 and tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.bounds.dual import Dual, relaxations_of
from leo_cli.bounds.exact import LARGEST, down, exact_lower_bound, is_exact
from leo_cli.bounds.linear import Relaxed

NEAR = 1e-6  # of the sum of magnitudes in z: how far a search may be from the best bound
MOST_NUMBERS = 200_000  # weights read by one evaluation: some tens of milliseconds


class ExactNodes:
    """Evaluates nodes of one problem again."""

    def __init__(self, problem: Relaxed) -> None:
        self.problem = problem
        self.possible = is_exact(problem) and problem.network.connections <= MOST_NUMBERS
        self.near = NEAR * problem.magnitudes[-1].sums

    def near_ties(self, units: Ints, bounds: Floats) -> Bools:
        # a bound of -inf comes from overflow, and so may slopes that are no numbers
        least = np.maximum(-self.near[units], -LARGEST)
        return np.asarray(self.possible & (least <= bounds) & (bounds < 0.0))

    def settle(self, unit: int, sign: float, node: Dual) -> tuple[float, Dual] | None:
        """A bound >= 0 of sign * z of a node (one row), and what gave it; None if none was
        found."""
        for dual in self._rounded(node):
            chosen = [
                None if r is None else replace(r, **{k: np.ravel(v) for k, v in vars(r).items()})
                for r in relaxations_of(self.problem, dual)
            ]
            extra = [None if m is None else m[0] for m in dual.multipliers]
            least = exact_lower_bound(self.problem, unit, sign, chosen, extra)
            if least >= 0:
                return down(least), dual
        return None

    def _rounded(self, node: Dual) -> Iterator[Dual]:
        """Slopes worth a try, the likeliest first; no multipliers."""
        none = tuple(None if m is None else np.zeros_like(m) for m in node.multipliers)

        def slopes(rule: float | None) -> tuple[Floats | None, ...]:
            found: list[Floats | None] = []
            for k, a in enumerate(node.alphas):
                if a is None or rule is None:
                    found.append(None if a is None else np.rint(a))
                else:
                    unstable = (self.problem.lower[k] < 0) & (self.problem.upper[k] > 0)
                    found.append(np.where(unstable, rule, np.rint(a)))
            return tuple(found)

        for rule in (None, 0.0, 1.0):
            yield Dual(node.phases, slopes(rule), none)
