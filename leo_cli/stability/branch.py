"""Branch and bound on ReLU phases: complete, for domains of many inputs.

A question "min of z (or -z) over D is >= 0" is split into z_i >= 0 and z_i <= 0 for an unstable
unit i of an earlier layer; each part is bounded by backward linear bounds with multipliers for its
phases and optimised slopes (beta-CROWN, arXiv 2103.06624; branching by the gap of the relaxation,
after BaBSR, arXiv 1909.06588). Many nodes of many questions are bounded in one batch; children
inherit slopes and multipliers. The minimiser of every node is offered as a witness: a false
question ends with one. A question is proved when all of its nodes are; every bound is rounded
outward, so that is a proof.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.bounds.dual import initial
from leo_cli.bounds.linear import Relaxed, Signed, products, relaxed
from leo_cli.bounds.slopes import Optimised
from leo_cli.stability.budget import Budget
from leo_cli.stability.evidence import PhaseLeaves, PhaseSplitEvidence, TightenedEvidence
from leo_cli.stability.knowledge import Bound, Findings, Knowledge
from leo_cli.stability.node_bounds import NodeBounds, dearest
from leo_cli.stability.node_queue import NodeQueue
from leo_cli.stability.nodes import Nodes, Question, Units, fresh
from leo_cli.stability.replay import replay
from leo_cli.stability.witness import climb

TIE = 1e-2  # of what counts as near a tie: gaps that are the inaccuracy of a linear program
CLIMB_STEPS = 8  # from the worst minimiser of a question
LEAVES = 2**29  # bytes of the evidence of a layer
KEPT = 2**29  # bytes of all searches that may go on later


@dataclass(frozen=True)
class Branching:
    """Decides every open question of a layer, given time. small_only: leave layers alone for which
    linear programs are too dear. unfinished: by layer, searches that the budget ended: they go on
    where they were, as long as the bounds that they rest on are the best ones known, and if not too
    large to be kept. most: after how much work (bounds/linear.py, products) a call ends. work: by
    layer, done so far."""

    small_only: bool = False
    most: float = np.inf
    name: str = "branch"
    unfinished: dict[int, _Search] = field(default_factory=dict, compare=False, repr=False)
    work: dict[int, float] = field(default_factory=dict, compare=False, repr=False)

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterator[Findings]:
        for k in layers:
            search = self._search(knowledge, k, budget)
            if self.small_only and not search.bounds.small:
                continue
            begun = search.work
            while search.queue and search.work - begun < self.most and not budget.expired():
                yield from search.advance()
            knowledge = search.knowledge
            self.work[k] = self.work.get(k, 0.0) + search.work - begun
            kept = sum(other.nbytes for other in self.unfinished.values())
            if search.queue and kept + search.nbytes <= KEPT:
                self.unfinished[k] = search

    def _search(self, knowledge: Knowledge, layer: int, budget: Budget) -> _Search:
        search = self.unfinished.pop(layer, None)
        if search is None or not search.rests_on(knowledge):
            return _Search(knowledge, layer, budget)
        search.knowledge, search.budget = knowledge, budget
        return search


class _Search:
    """The open nodes of all questions of one layer."""

    def __init__(self, knowledge: Knowledge, layer: int, budget: Budget) -> None:
        self.knowledge, self.layer, self.budget = knowledge, layer, budget
        self.problem: Relaxed = relaxed(
            knowledge.network, knowledge.domain, knowledge.lower, knowledge.upper, layer
        )
        self.questions = [
            Question(int(unit), above)
            for above, units in (
                (True, knowledge.open_above(layer)),
                (False, knowledge.open_below(layer)),
            )
            for unit in np.flatnonzero(units)
        ]
        count = len(self.questions)
        self.bounds, self.batches = NodeBounds(self.problem, budget.jobs), 0
        self.units = Units.of(self.problem)
        self.room = LEAVES
        roots = fresh(initial(self.problem, count, phased=True), count) if count else None
        self.queue = NodeQueue(roots, count)

    @property
    def work(self) -> float:
        """Products that its nodes took, a pass for each node."""
        return float(self.queue.taken.sum()) * products(self.problem)

    @property
    def nbytes(self) -> int:
        return self.queue.nbytes + sum(x.nbytes for q in self.questions for x in q.leaves)

    def rests_on(self, knowledge: Knowledge) -> bool:
        """Whether the bounds of all earlier layers are still the best ones known."""
        mine = self.knowledge
        return all(
            np.array_equal(mine.lower[k], knowledge.lower[k])
            and np.array_equal(mine.upper[k], knowledge.upper[k])
            for k in range(self.layer)
        )

    def advance(self) -> Iterator[Findings]:
        """Bound a batch, settle or branch its nodes; what questions and points this answered."""
        batch = self.queue.next_batch(self._asked())
        if batch is None:
            return
        started = time.perf_counter()
        self.batches += 1
        root = bool(np.isinf(batch.bound).any())
        result = self.bounds.of(self._signed(batch), batch.dual, root)
        bound = np.maximum(result.bound, batch.bound)
        points = self._witnesses(self._candidates(batch, result, bound))
        if len(points):
            yield Findings(points=points)
        proved = bound >= 0
        yield from self._settle(batch, result, np.flatnonzero(proved))
        rest = np.flatnonzero(~proved & self._asked()[batch.question])
        yield from self._branch(batch, result, bound, rest, root)
        self._charge(batch, time.perf_counter() - started)

    def _charge(self, batch: Nodes, seconds: float) -> None:
        """Book the time of a batch on its questions; give up those that have had theirs."""
        for index, nodes in zip(*np.unique(batch.question, return_counts=True), strict=True):
            question = self.questions[int(index)]
            question.seconds += seconds * nodes / len(batch)
            question.stuck |= question.seconds > self.budget.unit_seconds
            if question.stuck:
                self._forget(question)

    def _asked(self) -> Bools:
        """(questions,) those that are neither answered nor given up."""
        above = self.knowledge.open_above(self.layer)
        below = self.knowledge.open_below(self.layer)
        return np.array(
            [(above if q.above else below)[q.unit] and not q.stuck for q in self.questions],
            dtype=bool,
        )

    def _signed(self, batch: Nodes) -> Signed:
        """What to bound from below: z, or -z to show z <= 0."""
        asked = [self.questions[i] for i in batch.question.tolist()]
        sign = np.array([-1.0 if q.above else 1.0 for q in asked])
        return Signed(np.array([q.unit for q in asked], dtype=np.int64), sign)

    def _candidates(self, batch: Nodes, result: Optimised, bound: Floats) -> Floats:
        """Points that may answer a question: minimisers of nodes that are not proved, if they do in
        floats; at batches 1, 2, 4, 8, ... all of them, for other questions, and for each question
        what a short climb from the worst of them finds.
        """
        project, every = self.knowledge.domain.project, not self.batches & (self.batches - 1)
        failed = np.flatnonzero(bound < 0)
        if result.values is not None and not every:
            failed = failed[result.values[failed] < 0]
        points = result.minimisers[failed].astype(np.float64)
        if len(failed) == 0:
            return points
        points = project(points)
        asked = self._signed(batch.take(failed))
        if not every:
            z = self.problem.network.pre_activations(points)[-1]
            return points[asked.sign * z[np.arange(len(failed)), asked.unit] < 0]
        order = np.lexsort((bound[failed], batch.question[failed]))
        first = np.unique(batch.question[failed][order], return_index=True)[1]
        worst = order[first]
        climbed = climb(
            self.problem.network,
            self.knowledge.domain,
            asked.unit[worst],
            -asked.sign[worst],
            points[worst],
            self.budget,
            CLIMB_STEPS,
        )
        return np.vstack([points, climbed])

    def _witnesses(self, minimisers: Floats) -> Floats:
        """Replay the minimisers; keep and return the points that showed something new."""
        domain = self.knowledge.domain
        points = domain.project(minimisers)
        points = points[domain.contains(points)] if len(points) else points
        before = len(self.knowledge.witnesses)
        self.knowledge = self.knowledge.learn(
            Findings(), replay(self.knowledge, points), Branching.name
        )
        return self.knowledge.witnesses[before:]

    def _settle(self, batch: Nodes, result: Optimised, rows: Ints) -> Iterator[Findings]:
        """Nodes are proved; so are the questions of which they were the last."""
        for index in np.unique(batch.question[rows]).tolist():
            question = self.questions[index]
            own = rows[batch.question[rows] == index]
            question.open_nodes -= len(own)
            question.bound = min(question.bound, float(result.bound[own].min()))
            self._keep(question, self.units.leaves(batch.path, result.dual, own))
            if question.open_nodes == 0 and not question.stuck:
                value = -question.bound if question.above else question.bound
                leaves = tuple(question.leaves)
                evidence = PhaseSplitEvidence(leaves) if question.kept else TightenedEvidence()
                question.leaves.clear()
                bound = Bound(self.layer, question.unit, question.above, value, evidence)
                found = Findings((bound,))
                self.knowledge = self.knowledge.learn(found, None, Branching.name)
                yield found

    def _keep(self, question: Question, leaves: PhaseLeaves) -> None:
        """Keep leaves as evidence, as far as there is room: what is proved is proved without."""
        if question.kept and self.room >= leaves.nbytes:
            self.room -= leaves.nbytes
            question.leaves.append(leaves)
        elif question.kept:
            question.kept = False
            self._forget(question)

    def _forget(self, question: Question) -> None:
        self.room += sum(part.nbytes for part in question.leaves)
        question.leaves.clear()

    def _branch(
        self, batch: Nodes, result: Optimised, bound: Floats, rows: Ints, root: bool
    ) -> Iterator[Findings]:
        """Split each node at the unit whose relaxation costs most at the minimiser.

        Where these are the roots, the question whose bound is closest to 0 is the next to begin."""
        if len(rows) == 0:
            return
        units = self._signed(batch.take(rows)).unit
        least = TIE * self.bounds.near_ties(units, bound[rows])
        where, weight = dearest(result.take(rows), least)
        yield from self._finish_leaves(batch, result, rows[where[:, 0] < 0])
        can = where[:, 0] >= 0
        rows, where, weight = rows[can], where[can], weight[can]
        if len(rows) == 0:
            return
        order = np.argsort(bound[rows], kind="stable")[::-1]
        rows, where, weight = rows[order], where[order], weight[order]
        halves, path = [], self.units.extended(batch.path[rows], where)
        for sign in (1, -1):
            dual = result.dual.take(rows)
            dual.assume(np.arange(len(rows)), where, sign, weight)
            halves.append(Nodes(batch.question[rows], dual, path, bound[rows]))
        if root:
            self.queue.add_waiting(halves)
        else:
            self.queue.add(halves)
        for index, count in zip(*np.unique(batch.question[rows], return_counts=True), strict=True):
            self.questions[int(index)].open_nodes += int(count)

    def _finish_leaves(self, batch: Nodes, result: Optimised, rows: Ints) -> Iterator[Findings]:
        """Nodes that cannot be branched: find their multipliers or a witness.

        A question of which neither is good enough is given up (a tie)."""
        for row in rows.tolist():
            at = np.array([row])
            node = batch.take(at)
            final, points = self.bounds.leaf(self._signed(node), result.dual.take(at))
            points = self._witnesses(points)
            if len(points):
                yield Findings(points=points)
            if final.bound[0] >= 0:
                yield from self._settle(node, final, np.zeros(1, dtype=np.int64))
            elif not len(points):
                self.questions[int(node.question[0])].stuck = True
