"""Classification: deciders in order of cost, layer by layer, until every unit is settled or the
budget ends.

The samples come first and answer what they can of all layers. Then, layer by layer, interval and
linear bounds; where units are still open, the dearer deciders, each on what the one before left.
Bounds of a layer feed the next. Domains of few effective inputs are split for all layers at once
before anything dearer is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.network import Network
from leo_cli.stability.bounding import Intervals, LinearBounds
from leo_cli.stability.branch import Branching
from leo_cli.stability.budget import Budget
from leo_cli.stability.exact_ties import ExactTies
from leo_cli.stability.identities import Identities
from leo_cli.stability.knowledge import ClaimRefuted, Decider, Key, Knowledge
from leo_cli.stability.optimised import OptimisedSlopes
from leo_cli.stability.options import PUBLISHED, ClassifyOptions
from leo_cli.stability.search import Journal, Observer, Search
from leo_cli.stability.split import InputSplitting
from leo_cli.stability.tighten import ROUNDS, Tightening
from leo_cli.stability.verdict import StabilityMap
from leo_cli.stability.witness import PAYING, Ascent, Sampling, pool, rounds

FEW_INPUTS = 12  # effective inputs up to which splitting the domain is tried

# deciders that run on one layer after the bounds, by name
RUNGS: dict[str, Callable[[ClassifyOptions, Floats], Decider]] = {
    "ascent": lambda options, points: Ascent(points),
    "slopes": lambda options, points: OptimisedSlopes(),
    "identities": lambda options, points: Identities(options.seed),
    "branch": lambda options, points: Branching(),
    "milp": lambda options, points: _unit_milps(options),
}
SECOND = 2.0**29  # products of about a second of branching on the machine of benchmarks/README.md
# seconds after which splitting makes way for linear programs, once: what one of the two cannot do
# in the end is often nothing for the other
FIRST_TURN = 2.0
SPLIT_SHARE = 0.6  # of the time left that input splitting may take before dearer rungs have theirs
# work, not seconds (bounds/linear.py, products): what is found must not depend on the machine
TIGHTEN_SHARE, TIGHTEN_MORE = 1.0, 2.0 * SECOND  # of the work of branching, and more
FIRST_BRANCHING = 0.5 * SECOND  # after which earlier layers are tightened more
MUCH_BRANCHING, FEW_ROUNDS = 0.5 * SECOND, 8  # in one layer from which on tightening is thorough
DEAR = ("identities", "branch", "milp")  # take all the time that they may have


def classify(
    network: Network,
    domain: Domain,
    options: ClassifyOptions | None = None,
    budget: Budget | None = None,
    samples: Floats | None = None,
    observer: Observer | None = None,
    journal: Journal | None = None,
) -> StabilityMap:
    """A verdict with evidence for every unit.

    samples: (m, inputs) real inputs, tried as witnesses. Raises InputError for an unknown decider,
    Contradiction where two pieces of evidence exclude each other.
    """
    options, budget = options or ClassifyOptions(), budget or Budget()
    points = pool(domain, samples, options.seed)
    refuted: frozenset[Key] = frozenset()
    notes: tuple[str, ...] = ()
    while True:
        start = Knowledge.start(network, domain, refuted)
        ladder = _Ladder(Search(start, budget, observer, journal, notes), options, points)
        try:
            # huge weights overflow: what is not finite settles nothing, and is no news for the user
            with np.errstate(over="ignore", invalid="ignore"):
                return ladder.climb()
        except ClaimRefuted as refutation:
            # a hint is no contradiction: go on without it, and without all that was built on it
            refuted |= refutation.keys
            notes += (str(refutation),)


class _Ladder:
    """The deciders that may run, and the order in which they do."""

    def __init__(self, search: Search, options: ClassifyOptions, points: Floats) -> None:
        self.search, self.budget = search, search.budget
        self.options, self.points = options, points
        self.names = options.names()
        self.network, self.domain = search.knowledge.network, search.knowledge.domain
        self.rungs: dict[str, Decider] = {}
        self.loose: list[int] = []  # layers that were tightened a little only

    def climb(self) -> StabilityMap:
        search, budget = self.search, self.budget
        search.read_journal()
        if "samples" in self.names:
            self._sample()
        if "split" in self.names and len(self.domain.free) <= FEW_INPUTS:
            self._split_inputs()
        self._pass()
        while budget.remaining() < np.inf and not budget.expired():
            before = search.questions()
            if before:
                self._pass()
            if search.questions() == before:
                break
        if "milp" in self.names and self.options.formulation == "network":
            search.run(_network_milp(self.options), search.open(self.network.relu_layers))
            for k in self.network.relu_layers:
                self._trust(k)
        return search.conclude()

    def _sample(self) -> None:
        """The points at hand, then random ones as long as they answer many questions."""
        more = rounds(self.domain, self.options.seed)
        points: Floats | None = self.points
        while points is not None:
            before = self.search.questions()
            self.search.run(Sampling(points), self.network.relu_layers)
            paid = before - self.search.questions() >= PAYING * len(points)
            points = next(more, None) if paid else None

    def _split_inputs(self) -> None:
        """Split the domain along its inputs, for all layers at once, with what is cheap of other
        deciders before and in between."""
        for k, layer in enumerate(self.network.layers):
            self._bound(k)
            if "identities" in self.names and layer.relu:
                self.search.run(Identities(self.options.seed), self.search.open((k,)))
        self._split(FIRST_TURN)
        if "branch" in self.names:
            for k in self.search.open(self.network.relu_layers):
                turn = self.budget.at_most(FIRST_TURN)
                self.search.run(Branching(small_only=True), (k,), turn)
        self._split(SPLIT_SHARE * self.budget.remaining())

    def _split(self, seconds: float) -> None:
        layers = self.search.open(self.network.relu_layers)
        part = self.budget.at_most(seconds)
        self.search.run(InputSplitting(self.options.seed), layers, part)

    def _pass(self) -> None:
        """All rungs on all layers, first layers first; each gets its share of the time that is
        left, so that what is cheap in the last layers is not lost to what is hard in the first."""
        for k, layer in enumerate(self.network.layers):
            self._bound(k)
            if layer.relu:
                later = [i for i in self.search.open(self.network.relu_layers) if i > k]
                share = self.budget.remaining() / (1 + len(later))
                self._climb_rungs(k, self.budget.at_most(share))

    def _bound(self, k: int) -> None:
        """Interval bounds always (all else needs finite bounds), others if they may run."""
        self.search.run(Intervals(), (k,))
        if "linear" in self.names:
            self.search.run(LinearBounds(), (k,))
        if "exact" in self.names:
            self.search.run(ExactTies(), self.search.open((k,)))

    def _climb_rungs(self, k: int, share: Budget) -> None:
        """What is left of a layer after the bounds. share: for deciders that take all they get."""
        for name in self.names:
            wanted = self.search.open((k,)) or self.names == PUBLISHED
            later = name == "milp" and self.options.formulation == "network"
            if name in RUNGS and wanted and not later and not self.budget.expired():
                part = share if name in DEAR else self.budget
                if name not in self.rungs:  # one for all layers: some go on where they were
                    self.rungs[name] = RUNGS[name](self.options, self.points)
                rung = self.rungs[name]
                if isinstance(rung, Branching):
                    self._branch(rung, k, part)
                else:
                    self.search.run(rung, (k,), part)
        self._trust(k)

    def _branch(self, rung: Branching, k: int, part: Budget) -> None:
        """Branch, and tighten bounds for the layers after this one."""
        if self.loose:
            self.search.run(replace(rung, most=FIRST_BRANCHING), (k,), part)
            self._tighten_again(k)
        self.search.run(rung, (k,), part)
        if k < self.network.relu_layers[-1]:
            work = rung.work.get(k, 0.0)
            thorough = work >= MUCH_BRANCHING
            rounds = ROUNDS if thorough else FEW_ROUNDS
            self.search.run(Tightening(rounds, TIGHTEN_SHARE * work + TIGHTEN_MORE), (k,))
            if not thorough:
                self.loose.append(k)

    def _tighten_again(self, k: int) -> None:
        """Where layer k turns out to be hard: tighten the layers before it that were tightened a
        little only, and bound those after them again."""
        loose = [j for j in self.loose if j < k]
        if not loose or not self.search.open((k,)):
            return
        for j in range(loose[0], k + 1):
            if j > loose[0]:
                self._bound(j)
            if j in loose:
                self.loose.remove(j)
                self.search.run(Tightening(ROUNDS, TIGHTEN_MORE), (j,))

    def _trust(self, k: int) -> None:
        if self.options.trust_solver:
            self.search.trust(k)


def _unit_milps(options: ClassifyOptions) -> Decider:
    """One MILP a unit and direction; for all units, settled or not, for LEO as published."""
    from leo_cli.stability.milp import MilpOptions, UnitDecider

    every = options.deciders == PUBLISHED
    return UnitDecider(MilpOptions(options.solver, share=not every, every_unit=every))


def _network_milp(options: ClassifyOptions) -> Decider:
    from leo_cli.stability.milp import MilpOptions, NetworkDecider

    return NetworkDecider(MilpOptions(options.solver))
