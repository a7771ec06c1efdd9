"""Classification: deciders in order of cost, layer by layer, until every unit is settled or the
budget ends.

The samples come first and answer what they can of all layers. Then, layer by layer, interval and
linear bounds; where units are still open, the dearer deciders, each on what the one before left.
Bounds of a layer feed the next. Domains of few effective inputs are split for all layers at once
before anything dearer is tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.errors import InputError
from leo_cli.network import Network
from leo_cli.stability.bounding import Intervals, LinearBounds
from leo_cli.stability.branch import Branching
from leo_cli.stability.budget import Budget
from leo_cli.stability.conclude import conclude
from leo_cli.stability.exact_ties import ExactTies
from leo_cli.stability.identities import Identities
from leo_cli.stability.knowledge import ClaimRefuted, Decider, Findings, Key, Knowledge
from leo_cli.stability.optimised import OptimisedSlopes
from leo_cli.stability.replay import replay
from leo_cli.stability.split import InputSplitting
from leo_cli.stability.tighten import ROUNDS, Tightening
from leo_cli.stability.verdict import StabilityMap
from leo_cli.stability.witness import PAYING, Ascent, Sampling, pool, rounds

DECIDERS = (
    "samples",
    "interval",
    "linear",
    "exact",
    "split",
    "ascent",
    "slopes",
    "identities",
    "branch",
    "milp",
)
PUBLISHED = ("milp",)  # LEO as published: MILPs alone
FEW_INPUTS = 12  # effective inputs up to which splitting the domain is tried


@dataclass(frozen=True)
class ClassifyOptions:
    """deciders: names from DECIDERS, None for all. formulation: "unit" or "network" (one MILP for
    all).
    """

    deciders: tuple[str, ...] | None = None
    solver: str = "cbc"
    formulation: str = "unit"
    trust_solver: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Progress:
    """What is going on: the layer at work, its open units, and the units settled so far of all."""

    layer: str
    decider: str
    open_in_layer: int
    settled: int
    units: int


Observer = Callable[[Progress], None]

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
CHEAP = ("samples", "interval", "linear")  # sooner done again than read from a journal


class Journal(Protocol):
    """Where findings are kept, so that a killed run can go on."""

    def recorded(self) -> Iterable[tuple[str, Findings]]:
        """What an earlier run found, by decider."""
        ...

    def record(self, by: str, findings: Findings) -> None: ...


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
        search = _Search(start, options, budget, points, observer, journal)
        search.notes += notes
        try:
            # huge weights overflow: what is not finite settles nothing, and is no news for the user
            with np.errstate(over="ignore", invalid="ignore"):
                return search.run()
        except ClaimRefuted as refutation:
            # a hint is no contradiction: go on without it, and without all that was built on it
            refuted |= refutation.keys
            notes += (str(refutation),)


class _Search:
    """One classification: the knowledge so far, and what it cost."""

    def __init__(
        self,
        knowledge: Knowledge,
        options: ClassifyOptions,
        budget: Budget,
        points: Floats,
        observer: Observer | None,
        journal: Journal | None,
    ) -> None:
        self.knowledge, self.points = knowledge, points
        self.options, self.budget = options, budget
        self.observer, self.journal = observer, journal
        self.names = _checked(options.deciders)
        self.seconds: dict[tuple[int, int], float] = {}
        self.cost: dict[str, float] = {}
        self.notes: list[str] = []
        self.milps = 0
        self.rungs: dict[str, Decider] = {}
        self.loose: list[int] = []  # layers that were tightened a little only

    def run(self) -> StabilityMap:
        network = self.knowledge.network
        everything = tuple(range(len(network.layers)))
        if self.journal is not None:
            for by, findings in self.journal.recorded():
                self._learn(findings, by, record=False)
        if "samples" in self.names:
            self._sample()
        if "split" in self.names and len(self.knowledge.domain.free) <= FEW_INPUTS:
            for k in everything:
                self._bound(k)
                if "identities" in self.names:
                    wanted = self._open((k,)) if network.layers[k].relu else ()
                    self._try(Identities(self.options.seed), wanted)
            self._split(FIRST_TURN)
            if "branch" in self.names:
                for k in self._open(network.relu_layers):
                    self._try(Branching(small_only=True), (k,), self.budget.at_most(FIRST_TURN))
            self._split(SPLIT_SHARE * self.budget.remaining())
        self._pass(everything)
        while self.budget.remaining() < np.inf and not self.budget.expired():
            before = self._questions()
            if before:
                self._pass(everything)
            if self._questions() == before:
                break
        if "milp" in self.names and self.options.formulation == "network":
            self._try(_network_milp(self.options), self._open(network.relu_layers))
            for k in network.relu_layers:
                self._trust(k)
        return conclude(self.knowledge, self.seconds, self.cost, self.milps, tuple(self.notes))

    def _sample(self) -> None:
        """The points at hand, then random ones as long as they answer many questions."""
        more = rounds(self.knowledge.domain, self.options.seed)
        points: Floats | None = self.points
        while points is not None:
            before = self._questions()
            self._try(Sampling(points), self.knowledge.network.relu_layers)
            paid = before - self._questions() >= PAYING * len(points)
            points = next(more, None) if paid else None

    def _pass(self, layers: tuple[int, ...]) -> None:
        """All rungs on all layers, first layers first; each gets its share of the time that is
        left, so that what is cheap in the last layers is not lost to what is hard in the first."""
        relu = [k for k in layers if self.knowledge.network.layers[k].relu]
        for k in layers:
            self._bound(k)
            if k in relu:
                later = [i for i in relu if i >= k and (self.knowledge.open(i).any() or i == k)]
                self._climb_rungs(k, self.budget.at_most(self.budget.remaining() / len(later)))

    def _split(self, seconds: float) -> None:
        open_layers = self._open(self.knowledge.network.relu_layers)
        self._try(InputSplitting(self.options.seed), open_layers, self.budget.at_most(seconds))

    def _questions(self) -> int:
        return sum(
            int(self.knowledge.open_above(k).sum() + self.knowledge.open_below(k).sum())
            for k in self.knowledge.network.relu_layers
        )

    def _bound(self, k: int) -> None:
        """Interval bounds always (all else needs finite bounds), others if they may run."""
        self._try(Intervals(), (k,))
        if "linear" in self.names:
            self._try(LinearBounds(), (k,))
        if "exact" in self.names:
            self._try(ExactTies(), self._open((k,)))

    def _climb_rungs(self, k: int, share: Budget) -> None:
        for name in self.names:
            wanted = self._open((k,)) or self.names == PUBLISHED
            later = name == "milp" and self.options.formulation == "network"
            if name in RUNGS and wanted and not later and not self.budget.expired():
                part = share if name in DEAR else self.budget
                if name not in self.rungs:  # one for all layers: some go on where they were
                    self.rungs[name] = RUNGS[name](self.options, self.points)
                rung = self.rungs[name]
                if isinstance(rung, Branching) and self.loose:
                    self._try(replace(rung, most=FIRST_BRANCHING), (k,), part)
                    self._tighten_again(k)
                self._try(rung, (k,), part)
                if isinstance(rung, Branching) and k < self.knowledge.network.relu_layers[-1]:
                    work = rung.work.get(k, 0.0)
                    thorough = work >= MUCH_BRANCHING
                    rounds = ROUNDS if thorough else FEW_ROUNDS
                    self._try(Tightening(rounds, TIGHTEN_SHARE * work + TIGHTEN_MORE), (k,))
                    if not thorough:
                        self.loose.append(k)
        self._trust(k)

    def _tighten_again(self, k: int) -> None:
        """Where layer k turns out to be hard: tighten the layers before it that were tightened a
        little only, and bound those after them again."""
        loose = [j for j in self.loose if j < k]
        if not loose or not self._open((k,)):
            return
        for j in range(loose[0], k + 1):
            if j > loose[0]:
                self._bound(j)
            if j in loose:
                self.loose.remove(j)
                self._try(Tightening(ROUNDS, TIGHTEN_MORE), (j,))

    def _trust(self, k: int) -> None:
        if self.options.trust_solver:
            self.knowledge = self.knowledge.trust(k)

    def _open(self, layers: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(k for k in layers if self.knowledge.open(k).any())

    def _try(self, decider: Decider, layers: tuple[int, ...], budget: Budget | None = None) -> None:
        """Run a decider and learn what it finds."""
        if not layers:
            return
        asked = [(k, int(j)) for k in layers for j in np.flatnonzero(self.knowledge.open(k))]
        self._report(decider.name, layers[0])
        start = time.perf_counter()
        for findings in decider.decide(self.knowledge, layers, budget or self.budget):
            self._learn(findings, decider.name)
            self._report(decider.name, layers[0])
        elapsed = time.perf_counter() - start
        self.cost[decider.name] = self.cost.get(decider.name, 0.0) + elapsed
        for question in asked:
            self.seconds[question] = self.seconds.get(question, 0.0) + elapsed / len(asked)

    def _learn(self, findings: Findings, by: str, record: bool = True) -> None:
        replayed = None
        if findings.points is not None and len(findings.points):
            inside = self.knowledge.domain.contains(findings.points)
            replayed = replay(self.knowledge, findings.points[inside])
        self.knowledge = self.knowledge.learn(findings, replayed, by)
        self.milps += findings.milps
        self.notes += findings.notes
        if record and self.journal is not None and by not in CHEAP:
            # a bound may rest on claims that only this run trusts
            kept = replace(findings, bounds=()) if self.knowledge.trusted else findings
            self.journal.record(by, kept)

    def _report(self, decider: str, layer: int) -> None:
        if self.observer is None:
            return
        network = self.knowledge.network
        open_units = {k: int(self.knowledge.open(k).sum()) for k in network.relu_layers}
        self.observer(
            Progress(
                network.layers[layer].name,
                decider,
                open_units.get(layer, 0),
                network.units - sum(open_units.values()),
                network.units,
            )
        )


def _unit_milps(options: ClassifyOptions) -> Decider:
    """One MILP a unit and direction; for all units, settled or not, for LEO as published."""
    from leo_cli.stability.milp import MilpOptions, UnitDecider

    every = options.deciders == PUBLISHED
    return UnitDecider(MilpOptions(options.solver, share=not every, every_unit=every))


def _network_milp(options: ClassifyOptions) -> Decider:
    from leo_cli.stability.milp import MilpOptions, NetworkDecider

    return NetworkDecider(MilpOptions(options.solver))


def _checked(names: tuple[str, ...] | None) -> tuple[str, ...]:
    if names is None:
        return DECIDERS
    unknown = [name for name in names if name not in DECIDERS]
    if unknown:
        raise InputError(f"unknown decider {unknown[0]!r}; choose from {', '.join(DECIDERS)}")
    return names
