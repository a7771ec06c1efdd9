"""Turn what classification found into records that the checker accepts, and keep only verdicts for
which that works.

The checker is run here with all error terms taken four times (bounding.py, `strict`), on the very
records that go into the file, in their order. Evidence that does not go through in this order (the
bounds of earlier layers differ from those that were known when it was found) is looked for again
with the checker's bounds; where that takes too long the unit is given back as undecided, so that a
unit is removed only if the proof shows why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from leo_cli.arrays import Bools
from leo_cli.bounds.interval import propagate
from leo_cli.domain import Domain
from leo_cli.network import Network
from leo_cli.proof.bounding import Arithmetic
from leo_cli.proof.boxes import BoxRecords
from leo_cli.proof.checker import Checker, Fails, Record
from leo_cli.proof.graph import Net
from leo_cli.proof.points import verdict_record
from leo_cli.proof.stream import Spool
from leo_cli.proof.translate import box_of_domain, relu_nodes
from leo_cli.proof.trees import Question, Writer
from leo_cli.stability.branch import Branching
from leo_cli.stability.budget import Budget
from leo_cli.stability.evidence import (
    InputSplitEvidence,
    LinearEvidence,
    PhaseSplitEvidence,
    SolverClaim,
)
from leo_cli.stability.knowledge import Knowledge
from leo_cli.stability.optimised import OptimisedSlopes
from leo_cli.stability.verdict import LayerStability, StabilityMap, State, Verdict

STRICT = 4.0
NUMBERS = 1 << 22  # slopes, in one record
REPAIR_SECONDS = 20.0  # for the questions of one layer


@dataclass(frozen=True)
class Proved:
    """records: of the verdicts. stability: without what is not in them. given_up: verdicts given
    back."""

    checker: Checker
    records: Spool
    stability: StabilityMap
    node_of: dict[int, int]
    given_up: int


def prove_verdicts(
    net: Net, network: Network, domain: Domain, stability: StabilityMap, budget: Budget
) -> Proved:
    """Records for every verdict that can be shown; the others become undecided."""
    prover = _Prover(net, network, domain, stability, budget)
    prover.boxes()
    for layer, node in sorted(prover.node_of.items(), key=lambda pair: pair[1]):
        prover.layer(layer, node)
    return prover.result()


class _Prover:
    def __init__(
        self,
        net: Net,
        network: Network,
        domain: Domain,
        stability: StabilityMap,
        budget: Budget,
    ) -> None:
        self.network, self.stability, self.budget = network, stability, budget
        # the checker takes the domain without them, so what is looked for must not use them
        self.domain = replace(domain, constraints=())
        math = Arithmetic(strict=STRICT)
        self.checker = Checker(net, None, box_of_domain(domain), math, budget.jobs)
        self.node_of = relu_nodes(net, network)
        self.writer = Writer(self.checker, self.node_of)
        self.records = Spool()
        self.answered: Bools = np.zeros(0, dtype=bool)

    def _questions(self, layer: int) -> Iterator[Question]:
        """What the checker's bounds leave open of the verdicts of a layer."""
        node = self.node_of[layer]
        lower, upper = self.checker.lower[node], self.checker.upper[node]
        for unit, verdict in enumerate(self.stability.layers[layer].verdicts):
            if verdict.trusted or isinstance(verdict.evidence, SolverClaim):
                continue
            if verdict.state is State.INACTIVE and upper[unit] > 0:
                yield Question(layer, unit, True, verdict.evidence)
            if verdict.state is State.ACTIVE and lower[unit] < 0:
                yield Question(layer, unit, False, verdict.evidence)

    # The tree of boxes

    def boxes(self) -> None:
        """Records of each tree of boxes that settled something, shallow questions first."""
        verdicts = [v for layer in self.stability.layers for v in layer.verdicts]
        found = [v.evidence for v in verdicts if isinstance(v.evidence, InputSplitEvidence)]
        for tree in {id(evidence): evidence for evidence in found}.values():
            self._boxes(tree)

    def _boxes(self, tree: InputSplitEvidence) -> None:
        """Records for all that one tree settled."""
        self.checker.advance(self.checker.end)
        asked = [q for layer in self.node_of for q in self._questions(layer)]
        asked = [q for q in asked if q.evidence is tree]
        if not asked:
            self.checker.last = 1
            return
        start = self._bounded(len(self.network.layers))
        boxes = BoxRecords(self.checker, start, self.node_of, asked, self.budget)
        for record in boxes.records(tree):
            self.checker.apply(record)
            self.records.add(record)

    # Slopes and phases, layer by layer

    def layer(self, layer: int, node: int) -> None:
        """Records for a layer, until its verdicts are settled or given up."""
        self.checker.advance(node + 1)
        self.checker.last = node
        self._slopes(node, list(self._questions(layer)))
        for question in list(self._questions(layer)):
            self._phases(node, question)
        left = list(self._questions(layer))
        if left:
            found = list(self._found_again(layer, left))
            self._slopes(node, found)
            for question in found:
                self._phases(node, question)

    def _slopes(self, node: int, asked: Sequence[Question]) -> None:
        """Trees of one leaf, with slopes for each question: as bytes where that is fine enough."""
        rows = [q for q in asked if isinstance(q.evidence, LinearEvidence) and q.evidence.slopes]
        size = max(1, NUMBERS // sum(map(int, self.checker.widths[1:node]), 1))
        for kind in (np.uint8, np.float64):
            for at in range(0, len(rows), size):
                part = [q for q in rows[at : at + size] if not self._settled(node, q)]
                if not part:
                    continue
                tables = [q.evidence.slopes for q in part]  # type: ignore[union-attr]
                slopes = self.writer.slopes(tables, node, kind)
                while len(part) and not self._kept(node, part, [self.writer.whole(part, slopes)]):
                    good = self.answered
                    part = [q for q, settled in zip(part, good, strict=True) if settled]
                    slopes = {name: array[good] for name, array in slopes.items()}

    def _phases(self, node: int, question: Question) -> None:
        """A tree over phases."""
        evidence = question.evidence
        if not isinstance(evidence, PhaseSplitEvidence) or self._settled(node, question):
            return
        leaves = evidence.leaves([layer.width for layer in self.network.layers])
        for kind in (np.uint8, np.float64):
            records = list(self.writer.phases(question, leaves, kind))
            if records and self._kept(node, [question], records):
                return

    def _settled(self, node: int, question: Question) -> bool:
        if question.above:
            return bool(self.checker.upper[node][question.unit] <= 0)
        return bool(self.checker.lower[node][question.unit] >= 0)

    def _kept(self, node: int, asked: Sequence[Question], records: Sequence[Record]) -> bool:
        """Whether records settle all questions; if not, they leave no trace but `answered`."""
        known = self.checker.lower[node], self.checker.upper[node]
        try:
            for record in records:
                self.checker.apply(record)
            self.answered = np.array([self._settled(node, q) for q in asked])
        except Fails:
            self.answered = np.zeros(len(asked), dtype=bool)
        if not self.answered.all():
            self.checker.open = []
            self.checker.lower[node], self.checker.upper[node] = known
            return False
        for record in records:
            self.records.add(record)
        return True

    def _found_again(self, layer: int, left: Sequence[Question]) -> Iterator[Question]:
        """New evidence for questions of a layer, found with the checker's bounds."""
        budget = self.budget.at_most(REPAIR_SECONDS)
        knowledge = self._knowledge(layer, left)
        wanted = {(q.unit, q.above) for q in left}
        for decider in (OptimisedSlopes(), Branching()):
            for findings in decider.decide(knowledge, (layer,), budget):
                for bound in findings.bounds:
                    settles = bound.value <= 0 if bound.above else bound.value >= 0
                    if settles and (bound.unit, bound.above) in wanted:
                        wanted.discard((bound.unit, bound.above))
                        yield Question(layer, bound.unit, bound.above, bound.evidence)
                bounds_only = replace(findings, points=None)
                knowledge = knowledge.learn(bounds_only, None, decider.name)
            if not wanted:
                return

    def _knowledge(self, layer: int, left: Sequence[Question]) -> Knowledge:
        """The checker's bounds, and no open question but those that are left."""
        start = self._bounded(layer + 1)
        lower, upper = start.lower, start.upper
        above, below = (
            np.isin(np.arange(len(lower[layer])), [q.unit for q in left if q.above is side])
            for side in (True, False)
        )
        negative, positive = list(start.negative), list(start.positive)
        # a question that nobody asks counts as refuted
        positive[layer] = np.where(~above & (upper[layer] > 0), 0, -1)
        negative[layer] = np.where(~below & (lower[layer] < 0), 0, -1)
        return replace(
            start,
            negative=tuple(negative),
            positive=tuple(positive),
            witnesses=np.zeros((1, self.network.inputs)),
        )

    def _bounded(self, count: int) -> Knowledge:
        """The checker's bounds of the first layers."""
        start = Knowledge.start(self.network, self.domain)
        lower, upper = list(start.lower), list(start.upper)
        for k in range(count):
            low, high = propagate(
                self.network.layers[k], self.domain, lower, upper, self.network.layers[:k]
            )
            if k in self.node_of:
                low = np.maximum(low, self.checker.lower[self.node_of[k]])
                high = np.minimum(high, self.checker.upper[self.node_of[k]])
            lower[k], upper[k] = low, high
        return replace(start, lower=tuple(lower), upper=tuple(upper))

    # The result

    def result(self) -> Proved:
        """The verdicts that the checker's bounds support, and a record that claims them."""
        layers, given_up = [], 0
        self.checker.advance(len(self.checker.old.nodes))
        for i, known in enumerate(self.stability.layers):
            node = self.node_of.get(i)
            verdicts = []
            low = np.full(len(known.lower), -np.inf)
            high = np.full(len(known.upper), np.inf)
            if node is not None:
                low, high = self.checker.lower[node], self.checker.upper[node]
            for unit, verdict in enumerate(known.verdicts):
                good = verdict.state in (State.UNSTABLE, State.UNDECIDED) or (
                    not verdict.trusted
                    and (high[unit] <= 0 if verdict.state is State.INACTIVE else low[unit] >= 0)
                )
                given_up += not good
                verdicts.append(verdict if good else _undecided(verdict, low[unit], high[unit]))
            # bounds of layers without a ReLU are leo's own: what a rewrite makes of them is
            # checked in the end
            if not known.verdicts:
                low, high = known.lower, known.upper
            layers.append(LayerStability(low, high, tuple(verdicts)))
        stability = replace(self.stability, layers=tuple(layers))
        record = verdict_record(self.checker, stability, self.node_of)
        self.checker.apply(record)
        self.records.add(record)
        return Proved(self.checker, self.records, stability, self.node_of, given_up)


def _undecided(verdict: Verdict, low: float, high: float) -> Verdict:
    return replace(
        verdict,
        state=State.UNDECIDED,
        by="",
        lower=float(low),
        upper=float(high),
        trusted=False,
        evidence=None,
    )
