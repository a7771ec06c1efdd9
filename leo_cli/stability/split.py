"""Input splitting: cover the domain with boxes so small that linear bounds settle every question in
each.

For domains of few effective inputs (ACAS Xu, control). A question "z <= 0 on D" holds if it holds
in every box of a cover; it is refuted by one point. Boxes are bounded in batches, all layers up to
the deepest open one, only units that are unstable in the box; children inherit the bounds of their
parent. The input to split is the one that contributes most to the questions still open: directly,
|form| * radius (ReluVal's smear, arXiv 1804.10829, section 4.3, on backward forms), and through the
relaxations that they use, whose looseness is blamed on the inputs that move these units (without it
a box can shrink for ever in the wrong inputs). Trying to prove what is false never ends, so each
box also offers points: random ones and the minimisers of its own relaxations.

When the search ends early, all that is settled in every box at hand is proved all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.bounds.linear import Backward, Relaxed, backward, relaxed
from leo_cli.bounds.relaxation import Relaxation, relax
from leo_cli.parallel import map_blocks
from leo_cli.stability.boxes import Boxes, CutTree, cut, root_boxes
from leo_cli.stability.budget import Budget
from leo_cli.stability.knowledge import Bound, Findings, Knowledge
from leo_cli.stability.looseness import blame, input_to_cut, normalised
from leo_cli.stability.replay import replay
from leo_cli.stability.witness import climb

BATCH = 256  # boxes bounded together
ROWS = 2048  # questions bounded together, small enough for the processor's cache
RANDOM_POINTS = 4  # a box
CLIMB_STEPS = 10


@dataclass(frozen=True)
class InputSplitting:
    """Splits the domain along its inputs. most_boxes: where to give up."""

    seed: int = 0
    most_boxes: int = 1_000_000
    name: str = "split"

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterator[Findings]:
        search = _Splitting(knowledge, layers, np.random.default_rng(self.seed), budget)
        while search.stack and search.tree.nodes < self.most_boxes and not budget.expired():
            points = search.advance()
            if len(points):
                yield Findings(points=points)
        yield Findings(search.conclusions())


class _Splitting:
    """The boxes still to do, and the hull of the bounds of those that are done."""

    def __init__(
        self,
        knowledge: Knowledge,
        layers: tuple[int, ...],
        rng: np.random.Generator,
        budget: Budget,
    ) -> None:
        self.knowledge, self.layers, self.rng, self.budget = knowledge, layers, rng, budget
        domain = knowledge.domain
        self.whole = np.maximum(domain.upper - domain.lower, np.finfo(np.float64).tiny)
        self.tree, self.batches = CutTree(), 0
        self.problems: dict[int, Relaxed] = {}
        self.shares: dict[int, Floats] = {}
        self.stack: list[Boxes] = [root_boxes(knowledge)]
        # hull over finished boxes, for each layer
        self.done_lower = [np.full(layer.width, np.inf) for layer in knowledge.network.layers]
        self.done_upper = [np.full(layer.width, -np.inf) for layer in knowledge.network.layers]

    def advance(self) -> Floats:
        """Bound one batch of boxes, finish or split them; the points that answered a question."""
        self.batches += 1
        boxes = self._next_batch()
        deepest = max(k for k in self.layers if self.knowledge.open(k).any())
        points: list[Floats] = []
        smear = np.zeros_like(boxes.lower)
        self.shares = {}
        for k in range(deepest + 1):
            forms = self._bound(boxes, k, deepest)
            if forms is not None:
                smear += forms[0]
                points.append(forms[1])
        found = self._witnesses(boxes, points)
        open_rows = np.zeros(len(boxes), dtype=bool)
        for k in self.layers:
            open_rows |= self._unsettled(boxes, k).any(axis=1)
        self._finish(boxes.take(~open_rows))
        rest = boxes.take(open_rows)
        if len(rest) and any(self.knowledge.open(k).any() for k in self.layers):
            self._split(rest, smear[open_rows])
        elif len(rest):
            self._finish(rest)
        if not any(self.knowledge.open(k).any() for k in self.layers):
            while self.stack:
                self._finish(self.stack.pop())
        return found

    def _next_batch(self) -> Boxes:
        parts = [self.stack.pop()]
        while self.stack and sum(map(len, parts)) < BATCH:
            parts.append(self.stack.pop())
        boxes = Boxes.join(parts)
        if len(boxes) > BATCH:
            self.stack.append(boxes.take(np.arange(len(boxes)) >= BATCH))
            boxes = boxes.take(np.arange(len(boxes)) < BATCH)
        return boxes

    def _unsettled(self, boxes: Boxes, k: int) -> Bools:
        """(boxes, width) units with a question that is open on D and not settled in the box."""
        above = self.knowledge.open_above(k) & (boxes.z_upper[k] > 0)
        below = self.knowledge.open_below(k) & (boxes.z_lower[k] < 0)
        return above | below

    def _bound(self, boxes: Boxes, k: int, deepest: int) -> tuple[Floats, Floats] | None:
        """Tighten the boxes' bounds of layer k; the smear of its open rows and their minimisers."""
        layer = self.knowledge.network.layers[k]
        unstable = (boxes.z_lower[k] < 0) & (boxes.z_upper[k] > 0)
        above = below = unstable if layer.relu else np.ones_like(unstable)
        if k == deepest:
            above = unstable & self.knowledge.open_above(k)
            below = unstable & self.knowledge.open_below(k)
        box_below, unit_below = np.nonzero(below)
        box_above, unit_above = np.nonzero(above)
        box = np.concatenate([box_below, box_above])
        unit = np.concatenate([unit_below, unit_above])
        if len(box) == 0:
            return None
        sign = np.concatenate([np.ones(len(box_below)), -np.ones(len(box_above))])
        problem = self._problem(k)
        objective = np.zeros((len(box), layer.width))
        objective[np.arange(len(box)), unit] = sign
        ends = boxes.lower[box], boxes.upper[box]
        result = self._backward(problem, objective, boxes, box)
        bound, form = result.bound, result.form
        half = len(box_below)
        low, high = boxes.z_lower[k], boxes.z_upper[k]
        low[box_below, unit_below] = np.maximum(low[box_below, unit_below], bound[:half])
        high[box_above, unit_above] = np.minimum(high[box_above, unit_above], -bound[half:])
        is_open = np.where(
            sign > 0,
            self.knowledge.open_below(k)[unit] & (low[box, unit] < 0),
            self.knowledge.open_above(k)[unit] & (high[box, unit] > 0),
        )
        rows = np.flatnonzero(is_open)
        shares = normalised(np.abs(form) * (ends[1] - ends[0]))
        used = [a[rows] if len(a) else a for a in result.coefficients]
        blamed = blame(problem, boxes, box[rows], used, self.shares)
        smear = np.zeros_like(boxes.lower)
        np.add.at(smear, box[rows], shares[rows] + blamed)
        self.shares[k] = np.zeros((len(boxes), layer.width, boxes.lower.shape[1]))
        np.add.at(self.shares[k], (box, unit), shares)
        corners = np.where(form[rows] > 0, ends[0][rows], ends[1][rows])
        if self.batches & (self.batches - 1) == 0:
            climbed = self._climb(problem, unit[rows], -sign[rows], bound[rows], corners)
            corners = np.vstack([corners, climbed])
        return smear, corners

    def _climb(
        self, problem: Relaxed, units: Ints, signs: Floats, bounds: Floats, corners: Floats
    ) -> Floats:
        """What a short climb finds from the worst corner of each open question.

        Done at batches 1, 2, 4, 8, ...: it costs little, and a question that is false is not tried
        to prove for long."""
        order = np.lexsort((bounds, signs, units))
        first = np.unique(np.stack([units, signs])[:, order], axis=1, return_index=True)[1]
        worst = order[first]
        domain = self.knowledge.domain
        start = domain.project(corners[worst])
        return climb(
            problem.network, domain, units[worst], signs[worst], start, self.budget, CLIMB_STEPS
        )

    def _backward(self, problem: Relaxed, objective: Floats, boxes: Boxes, box: Ints) -> Backward:
        """Bounds of rows that belong to the boxes `box`, on all threads."""

        def work(rows: slice) -> Backward:
            part = box[rows]
            ends = boxes.lower[part], boxes.upper[part]
            chosen = _relaxations(problem, boxes, part)
            return backward(problem, objective[rows], chosen, box=ends)

        blocks = [slice(i, i + ROWS) for i in range(0, len(box), ROWS)]
        parts = map_blocks(work, blocks, self.budget.jobs)
        return Backward(
            np.concatenate([part.bound for part in parts]),
            np.concatenate([part.form for part in parts]),
            tuple(
                np.concatenate(a) for a in zip(*(part.coefficients for part in parts), strict=True)
            ),
        )

    def _problem(self, k: int) -> Relaxed:
        if k not in self.problems:
            known = self.knowledge
            self.problems[k] = relaxed(known.network, known.domain, known.lower, known.upper, k)
        return self.problems[k]

    def _witnesses(self, boxes: Boxes, corners: list[Floats]) -> Floats:
        """Replay random points of the boxes and the minimisers; the points that are news."""
        domain = self.knowledge.domain
        spread = self.rng.random((RANDOM_POINTS, *boxes.lower.shape))
        inside = boxes.lower + spread * (boxes.upper - boxes.lower)
        points = domain.project(np.vstack([inside.reshape(-1, domain.inputs), *corners]))
        if not domain.is_box:
            points = points[domain.contains(points)]
        before = len(self.knowledge.witnesses)
        self.knowledge = self.knowledge.learn(
            Findings(), replay(self.knowledge, points), InputSplitting.name
        )
        return self.knowledge.witnesses[before:]

    def _finish(self, boxes: Boxes) -> None:
        for k in range(len(self.done_lower)):
            if len(boxes):
                np.minimum(self.done_lower[k], boxes.z_lower[k].min(axis=0), out=self.done_lower[k])
                np.maximum(self.done_upper[k], boxes.z_upper[k].max(axis=0), out=self.done_upper[k])

    def _split(self, boxes: Boxes, smear: Floats) -> None:
        """Push both halves of each box. A box that cannot be cut further counts as finished,
        unsettled.
        """
        width = boxes.upper - boxes.lower
        axis = input_to_cut(width, width / self.whole, smear)
        rows = np.arange(len(boxes))
        where = boxes.lower[rows, axis] + 0.5 * width[rows, axis]
        possible = (where > boxes.lower[rows, axis]) & (where < boxes.upper[rows, axis])
        self._finish(boxes.take(~possible))
        boxes, axis, where = boxes.take(possible), axis[possible], where[possible]
        if len(boxes) == 0:
            return
        nodes = [
            self.tree.split(int(node), int(a), float(w))
            for node, a, w in zip(boxes.node, axis, where, strict=True)
        ]
        self.stack.append(cut(self.knowledge.domain, boxes, axis, where, np.array(nodes)))

    def conclusions(self) -> tuple[Bound, ...]:
        """The hull of all boxes: what holds in each holds on the domain."""
        for boxes in self.stack:
            self._finish(boxes)
        evidence = self.tree.evidence()
        found = []
        for k in range(len(self.done_lower)):
            low, high = self.done_lower[k], self.done_upper[k]
            better_low = np.flatnonzero(low > self.knowledge.lower[k])
            better_high = np.flatnonzero(high < self.knowledge.upper[k])
            found += [Bound(k, int(j), False, float(low[j]), evidence) for j in better_low]
            found += [Bound(k, int(j), True, float(high[j]), evidence) for j in better_high]
        return tuple(found)


def _relaxations(problem: Relaxed, boxes: Boxes, rows: Ints) -> list[Relaxation | None]:
    """The relaxation of each row's box, for each layer before the target."""
    out: list[Relaxation | None] = []
    for k, layer in enumerate(problem.network.layers[:-1]):
        if not layer.relu:
            out.append(None)
            continue
        live = problem.live[k]
        r = relax(boxes.z_lower[k][:, live], boxes.z_upper[k][:, live])
        out.append(Relaxation(r.alpha[rows], r.slope[rows], r.intercept[rows]))
    return out
