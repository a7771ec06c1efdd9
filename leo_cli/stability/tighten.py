"""The decider that makes bounds of unstable units tighter, for the layers after them.

Where branch and bound had much to do in a layer, it will have more in the next one, whose
relaxations are as good as these bounds. So the bounds of the units that stay unstable (or
undecided) are improved a little by branching as well: in each round the worst leaf of every bound
is split at the unit whose relaxation costs most, all units in one batch. What is proved of a unit
is the least bound of its leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.bounds.dual import Dual, initial, join, relaxations_of
from leo_cli.bounds.linear import Relaxed, Signed, backward, products, relaxed
from leo_cli.bounds.slopes import BLOCK, Optimised
from leo_cli.parallel import map_blocks
from leo_cli.stability.budget import Budget
from leo_cli.stability.evidence import TightenedEvidence
from leo_cli.stability.knowledge import Bound, Findings, Knowledge
from leo_cli.stability.node_bounds import NodeBounds, dearest

ROUNDS = 192
MOST_NUMBERS = 2**24  # of the slopes of all leaves: some hundred megabytes


@dataclass(frozen=True)
class Tightening:
    """Improves the bounds of a layer's units that are unstable or undecided. work: that it may take
    (bounds/linear.py, products; a pass for each leaf)."""

    rounds: int = ROUNDS
    work: float = np.inf
    name: str = "tighten"

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterator[Findings]:
        for k in layers:
            problem = relaxed(
                knowledge.network, knowledge.domain, knowledge.lower, knowledge.upper, k
            )
            units = np.flatnonzero((knowledge.lower[k] < 0) & (knowledge.upper[k] > 0))
            width = sum(len(live) for live in problem.live[:-1])
            rounds = min(self.rounds, MOST_NUMBERS // max(1, 2 * len(units) * width) - 1)
            each = 4 * len(units) * products(problem)  # two halves for two bounds of each unit
            rounds = int(min(rounds, self.work // max(1, each)))
            if len(units) and width and rounds > 0 and not budget.expired():
                asked = Signed(np.tile(units, 2), np.repeat([1.0, -1.0], len(units)))
                yield _found(k, asked, _Leaves(problem, asked, budget, rounds).improve())


def _found(k: int, asked: Signed, least: Floats) -> Findings:
    evidence = TightenedEvidence()
    return Findings(
        tuple(
            Bound(k, unit, sign < 0, float(sign * bound), evidence)
            for unit, sign, bound in zip(asked.unit.tolist(), asked.sign, least, strict=True)
        )
    )


class _Leaves:
    """The leaves of all bounds: row q of each array belongs to bound q."""

    def __init__(self, problem: Relaxed, asked: Signed, budget: Budget, rounds: int) -> None:
        self.problem, self.asked, self.budget, self.rounds = problem, asked, budget, rounds
        self.bounds = NodeBounds(problem, budget.jobs)
        count = len(asked)
        root = self.bounds.suggested(asked, initial(problem, count, phased=True), root=True)
        self.parts = [root.dual]  # the leaf (q, i) is row q of the i-th part
        shape = (count, rounds + 1)
        self.used = np.zeros(shape, dtype=bool)  # the leaves that together cover the domain
        self.value = np.full(shape, np.inf)  # what a search found, to choose by
        self.split = np.full((*shape, 2), -1)  # (layer, unit) to split at, -1: it cannot be
        self.weight = np.zeros(shape)  # the coefficient of that unit
        self._store(np.arange(count), np.zeros(count, dtype=np.int64), root, root.bound)

    def _store(self, rows: Ints, leaf: Ints, found: Optimised, bound: Floats) -> None:
        self.used[rows, leaf] = True
        # NaN comes from overflow: such a leaf is as bad as can be
        self.value[rows, leaf] = np.where(np.isnan(bound), -np.inf, bound)
        where, weight = dearest(found, np.zeros(len(rows)))
        self.split[rows, leaf], self.weight[rows, leaf] = where, weight

    def improve(self) -> Floats:
        """(m,) proved lower bounds."""
        every = np.arange(len(self.asked))
        for _ in range(self.rounds):
            if self.budget.expired():
                break
            leaf = self.value.argmin(axis=1)
            if not (self.split[every, leaf, 0] >= 0).any():
                break
            self._round(every, leaf)
        return self._proved()

    def _round(self, every: Ints, leaf: Ints) -> None:
        """Split the worst leaf of each bound: one half takes its place, one is new. Where it cannot
        be split, the new one is a copy that counts for nothing."""
        can = self.split[every, leaf, 0] >= 0
        first = join([self.parts[i].take(every[q : q + 1]) for q, i in enumerate(leaf.tolist())])
        second = first.take(every)
        rows = np.flatnonzero(can)
        where, weight = self.split[rows, leaf[rows]], self.weight[rows, leaf[rows]]
        first.assume(rows, where, 1, weight)
        second.assume(rows, where, -1, weight)
        parent, new = self.value[every, leaf], np.full(len(every), len(self.parts))
        self.parts.append(second.take(every))
        for half, place in ((first, leaf), (second, new)):
            asked = Signed(self.asked.unit[rows], self.asked.sign[rows])
            found = self.bounds.suggested(asked, half.take(rows), root=False)
            self._store(rows, place[rows], found, np.maximum(found.bound, parent[rows]))
            for i in np.unique(place[rows]).tolist():
                at = place[rows] == i
                self.parts[i].overwrite(rows[at], found.dual.take(at))

    def _proved(self) -> Floats:
        """The least bound of the leaves of each, in float64 and rounded outward."""
        least = np.full(len(self.asked), np.inf)
        for i, part in enumerate(self.parts):
            rows = np.flatnonzero(self.used[:, i])
            blocks = [rows[j : j + BLOCK] for j in range(0, len(rows), BLOCK)]
            bounds = map_blocks(partial(self._bound, part), blocks, self.budget.jobs)
            for block, bound in zip(blocks, bounds, strict=True):
                least[block] = np.minimum(least[block], bound)
        return least

    def _bound(self, part: Dual, rows: Ints) -> Floats:
        dual, asked = part.take(rows), Signed(self.asked.unit[rows], self.asked.sign[rows])
        chosen = relaxations_of(self.problem, dual)
        return backward(self.problem, asked, chosen, dual.multipliers).bound
