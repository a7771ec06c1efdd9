"""A classification under way: what is known so far, what that took, and who is told of it.

Deciders are run here, and what they find is learned: points are replayed, bounds merged
(knowledge.py), and both recorded in the journal. Which decider runs when is up to the ladder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from leo_cli.stability.budget import Budget
from leo_cli.stability.conclude import conclude
from leo_cli.stability.knowledge import Decider, Findings, Knowledge
from leo_cli.stability.replay import replay
from leo_cli.stability.verdict import StabilityMap

CHEAP = ("samples", "interval", "linear")  # sooner done again than read from a journal


@dataclass(frozen=True)
class Progress:
    """What is going on: the layer at work, its open units, and the units settled so far of all."""

    layer: str
    decider: str
    open_in_layer: int
    settled: int
    units: int


Observer = Callable[[Progress], None]


class Journal(Protocol):
    """Where findings are kept, so that a killed run can go on."""

    def recorded(self) -> Iterable[tuple[str, Findings]]:
        """What an earlier run found, by decider."""
        ...

    def record(self, by: str, findings: Findings) -> None: ...


class Search:
    """The knowledge so far, and what it cost."""

    def __init__(
        self,
        knowledge: Knowledge,
        budget: Budget,
        observer: Observer | None,
        journal: Journal | None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.knowledge, self.budget = knowledge, budget
        self._observer, self._journal = observer, journal
        self._notes = list(notes)
        self._seconds: dict[tuple[int, int], float] = {}
        self._cost: dict[str, float] = {}
        self._milps = 0

    def open(self, layers: tuple[int, ...]) -> tuple[int, ...]:
        """Those of the layers that have open units."""
        return tuple(k for k in layers if self.knowledge.open(k).any())

    def questions(self) -> int:
        """How many questions are open, in all layers."""
        return sum(
            int(self.knowledge.open_above(k).sum() + self.knowledge.open_below(k).sum())
            for k in self.knowledge.network.relu_layers
        )

    def read_journal(self) -> None:
        """Learn what an earlier run found."""
        if self._journal is not None:
            for by, findings in self._journal.recorded():
                self._learn(findings, by)

    def run(self, decider: Decider, layers: tuple[int, ...], budget: Budget | None = None) -> None:
        """Run a decider on some layers and learn what it finds."""
        if not layers:
            return
        asked = [(k, int(j)) for k in layers for j in np.flatnonzero(self.knowledge.open(k))]
        self._report(decider.name, layers[0])
        start, told = time.perf_counter(), dict[tuple[int, int], float]()
        for findings in decider.decide(self.knowledge, layers, budget or self.budget):
            self._learn(findings, decider.name)
            self._record(findings, decider.name)
            self._report(decider.name, layers[0])
            for question, seconds in findings.seconds.items():
                told[question] = told.get(question, 0.0) + seconds
        elapsed = time.perf_counter() - start
        self._cost[decider.name] = self._cost.get(decider.name, 0.0) + elapsed
        # what a decider does not tell of units, it has spent on all others alike
        rest = max(elapsed - sum(told.values()), 0.0) / max(len(asked) - len(told), 1)
        for question in asked:
            self._seconds[question] = self._seconds.get(question, 0.0) + told.get(question, rest)

    def trust(self, layer: int) -> None:
        """Take the solver's claims on a layer for bounds."""
        self.knowledge = self.knowledge.trust(layer)

    def conclude(self) -> StabilityMap:
        return conclude(self.knowledge, self._seconds, self._cost, self._milps, tuple(self._notes))

    def _learn(self, findings: Findings, by: str) -> None:
        replayed = None
        if findings.points is not None and len(findings.points):
            inside = self.knowledge.domain.contains(findings.points)
            replayed = replay(self.knowledge, findings.points[inside])
        self.knowledge = self.knowledge.learn(findings, replayed, by)
        self._milps += findings.milps
        self._notes += findings.notes

    def _record(self, findings: Findings, by: str) -> None:
        if self._journal is not None and by not in CHEAP:
            # a bound may rest on claims that only this run trusts
            kept = replace(findings, bounds=()) if self.knowledge.trusted else findings
            self._journal.record(by, kept)

    def _report(self, decider: str, layer: int) -> None:
        if self._observer is None:
            return
        network = self.knowledge.network
        open_units = {k: int(self.knowledge.open(k).sum()) for k in network.relu_layers}
        self._observer(
            Progress(
                network.layers[layer].name,
                decider,
                open_units.get(layer, 0),
                network.units - sum(open_units.values()),
                network.units,
            )
        )
