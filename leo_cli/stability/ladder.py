"""Classification: deciders in order of cost, layer by layer, until every unit is settled or the budget ends.

The samples come first and answer what they can of all layers. Then, layer by layer, interval and linear bounds; where
units are still open, the dearer deciders, each on what the one before left. Bounds of a layer feed the next. Domains
of few effective inputs are split for all layers at once before anything dearer is tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.errors import InputError
from leo_cli.network import Network
from leo_cli.stability.branch import Branching
from leo_cli.stability.bounding import Intervals, LinearBounds
from leo_cli.stability.budget import Budget
from leo_cli.stability.conclude import conclude
from leo_cli.stability.knowledge import Decider, Findings, Knowledge
from leo_cli.stability.optimised import OptimisedSlopes
from leo_cli.stability.replay import replay
from leo_cli.stability.split import InputSplitting
from leo_cli.stability.verdict import StabilityMap
from leo_cli.stability.witness import Ascent, Sampling, pool

DECIDERS = ("samples", "interval", "linear", "split", "slopes", "ascent", "branch", "milp")
FEW_INPUTS = 12  # effective inputs up to which splitting the domain is tried


@dataclass(frozen=True)
class ClassifyOptions:
    """deciders: names from DECIDERS, None for all. formulation: "unit" or "network" (one MILP for all)."""

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
    "branch": lambda options, points: Branching(),
}
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
    search = _Search(network, domain, options, budget, samples, observer, journal)
    return search.run()


class _Search:
    """One classification: the knowledge so far, and what it cost."""

    def __init__(
        self,
        network: Network,
        domain: Domain,
        options: ClassifyOptions,
        budget: Budget,
        samples: Floats | None,
        observer: Observer | None,
        journal: Journal | None,
    ) -> None:
        self.knowledge = Knowledge.start(network, domain)
        self.options, self.budget = options, budget
        self.observer, self.journal = observer, journal
        self.names = _checked(options.deciders)
        self.points = pool(domain, samples, options.seed)
        self.seconds: dict[tuple[int, int], float] = {}
        self.cost: dict[str, float] = {}
        self.notes: list[str] = []
        self.milps = 0

    def run(self) -> StabilityMap:
        network = self.knowledge.network
        everything = tuple(range(len(network.layers)))
        if self.journal is not None:
            for by, findings in self.journal.recorded():
                self._learn(findings, by, record=False)
        if "samples" in self.names:
            self._try(Sampling(self.points), network.relu_layers)
        if "split" in self.names and len(self.knowledge.domain.free) <= FEW_INPUTS:
            for k in everything:
                self._bound(k)
            self._try(InputSplitting(self.options.seed), self._open(network.relu_layers))
        for k in everything:
            self._bound(k)
            if network.layers[k].relu:
                self._climb_rungs(k)
        return conclude(self.knowledge, self.seconds, self.cost, self.milps, tuple(self.notes))

    def _bound(self, k: int) -> None:
        """Interval bounds always (all else needs finite bounds), linear ones if they may run."""
        self._try(Intervals(), (k,))
        if "linear" in self.names:
            self._try(LinearBounds(), (k,))

    def _climb_rungs(self, k: int) -> None:
        for name in self.names:
            if name in RUNGS and self._open((k,)) and not self.budget.expired():
                self._try(RUNGS[name](self.options, self.points), (k,))
        if self.options.trust_solver:
            self.knowledge = self.knowledge.trust(k)

    def _open(self, layers: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(k for k in layers if self.knowledge.open(k).any())

    def _try(self, decider: Decider, layers: tuple[int, ...]) -> None:
        """Run a decider and learn what it finds."""
        if not layers:
            return
        asked = [(k, int(j)) for k in layers for j in np.flatnonzero(self.knowledge.open(k))]
        self._report(decider.name, layers[0])
        start = time.perf_counter()
        for findings in decider.decide(self.knowledge, layers, self.budget):
            self._learn(findings, decider.name)
            self._report(decider.name, layers[0])
        elapsed = time.perf_counter() - start
        self.cost[decider.name] = self.cost.get(decider.name, 0.0) + elapsed
        for question in asked:
            self.seconds[question] = self.seconds.get(question, 0.0) + elapsed / len(asked)

    def _learn(self, findings: Findings, by: str, record: bool = True) -> None:
        replayed = None
        if findings.points is not None and len(findings.points):
            replayed = replay(self.knowledge, findings.points)
        self.knowledge = self.knowledge.learn(findings, replayed, by)
        self.milps += findings.milps
        self.notes += findings.notes
        if record and self.journal is not None and by not in CHEAP:
            self.journal.record(by, findings)

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


def _checked(names: tuple[str, ...] | None) -> tuple[str, ...]:
    if names is None:
        return DECIDERS
    unknown = [name for name in names if name not in DECIDERS]
    if unknown:
        raise InputError(f"unknown decider {unknown[0]!r}; choose from {', '.join(DECIDERS)}")
    return names
