"""A search that covers the domain with boxes in each of which given questions are settled.

A question "z <= 0 on D" holds if it holds in every box of a cover. Boxes are taken from a stack in
batches; children inherit the bounds of their parent. The hull of the bounds of all boxes holds on
the domain, whenever the search ends: what is settled in each box at hand is proved.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leo_cli.arrays import Bools, Floats
from leo_cli.bounds.linear import Relaxed, relaxed
from leo_cli.parallel import map_blocks
from leo_cli.stability.box_bounds import FEW, Asked, Bounded, bound_boxes
from leo_cli.stability.boxes import Boxes, CutTree, cut, root_boxes
from leo_cli.stability.knowledge import Bound, Knowledge
from leo_cli.stability.looseness import input_to_cut

BATCH = 256  # boxes taken together
BATCH_UNITS = 2**18  # units of these boxes: memory for wide networks
CHUNK = 128  # boxes bounded together, by one thread


class Cover:
    """The boxes still to do, and the hull of the bounds of those that are done."""

    def __init__(self, knowledge: Knowledge, asked: Asked, few: int = FEW) -> None:
        self.domain, self.asked, self.few, self.batches = knowledge.domain, asked, few, 0
        self.whole = np.maximum(self.domain.upper - self.domain.lower, np.finfo(np.float64).tiny)
        self.problems: dict[int, Relaxed] = {
            k: relaxed(knowledge.network, knowledge.domain, knowledge.lower, knowledge.upper, k)
            for k in range(asked.deepest + 1)
        }
        widths = sum(layer.width for layer in knowledge.network.layers)
        self.batch = max(1, min(BATCH, BATCH_UNITS // max(1, widths)))
        self.tree = CutTree()
        self.stack: list[Boxes] = self._narrowed(root_boxes(knowledge))
        # hull over finished boxes, for each layer
        self.done_lower = [np.full(layer.width, np.inf) for layer in knowledge.network.layers]
        self.done_upper = [np.full(layer.width, -np.inf) for layer in knowledge.network.layers]

    @property
    def finished(self) -> bool:
        return not self.stack

    def still_asked(self, knowledge: Knowledge) -> Asked:
        """The questions that are open by now."""
        layers = range(len(self.asked.above))
        return Asked(
            tuple(self.asked.above[k] & knowledge.open_above(k) for k in layers),
            tuple(self.asked.below[k] & knowledge.open_below(k) for k in layers),
        )

    def bound(self, knowledge: Knowledge, asked: Asked, jobs: int) -> Sequence[Bounded]:
        """Bound one batch of boxes, on all threads; a fixed number of boxes for each."""
        self.batches += 1
        boxes = self._next_batch()
        for k in range(asked.deepest):  # what other trees have shown since holds here as well
            np.maximum(boxes.z_lower[k], knowledge.lower[k], out=boxes.z_lower[k])
            np.minimum(boxes.z_upper[k], knowledge.upper[k], out=boxes.z_upper[k])
        chunks = [slice(i, i + CHUNK) for i in range(0, len(boxes), CHUNK)]
        return map_blocks(
            lambda chunk: bound_boxes(self.problems, boxes.part(chunk), asked, self.few),
            chunks,
            jobs,
        )

    def split(self, bounded: Sequence[Bounded], asked: Asked) -> None:
        """Finish or split the boxes that were bounded, for the questions that are open by now."""
        if not asked:
            for part in bounded:
                self._finish(part.boxes)
            while self.stack:
                self._finish(self.stack.pop())
            return
        halves = []
        for part in bounded:
            open_rows = part.open.copy()
            if open_rows.any():
                left = [
                    asked.unsettled(part.boxes, k).any(axis=1) for k in range(asked.deepest + 1)
                ]
                open_rows &= np.any(left, axis=0)
            if not open_rows.all():
                self._finish(part.boxes.take(~open_rows))
            if open_rows.any():
                halves += self._halves(part.boxes.take(open_rows), part.score[open_rows])
        self.stack += halves

    def _next_batch(self) -> Boxes:
        parts = [self.stack.pop()]
        while self.stack and sum(map(len, parts)) < self.batch:
            parts.append(self.stack.pop())
        boxes = Boxes.join(parts)
        if len(boxes) > self.batch:
            self.stack.append(boxes.take(np.arange(len(boxes)) >= self.batch))
            boxes = boxes.take(np.arange(len(boxes)) < self.batch)
        return boxes

    def _finish(self, boxes: Boxes) -> None:
        for k in range(len(self.done_lower)):
            if len(boxes):
                np.minimum(self.done_lower[k], boxes.z_lower[k].min(axis=0), out=self.done_lower[k])
                np.maximum(self.done_upper[k], boxes.z_upper[k].max(axis=0), out=self.done_upper[k])

    def _halves(self, boxes: Boxes, score: Floats) -> list[Boxes]:
        """Both halves of each box. A box that cannot be cut further is finished, unsettled."""
        width = boxes.upper - boxes.lower
        axis = input_to_cut(width, width / self.whole, score)
        rows = np.arange(len(boxes))
        where = boxes.lower[rows, axis] + 0.5 * width[rows, axis]
        possible: Bools = (where > boxes.lower[rows, axis]) & (where < boxes.upper[rows, axis])
        if not possible.all():
            self._finish(boxes.take(~possible))
            boxes, axis, where = boxes.take(possible), axis[possible], where[possible]
        if len(boxes) == 0:
            return []
        nodes = [
            self.tree.split(node, a, w)
            for node, a, w in zip(boxes.node.tolist(), axis.tolist(), where.tolist(), strict=True)
        ]
        return self._narrowed(cut(self.domain, boxes, axis, where, np.array(nodes)))

    def _narrowed(self, boxes: Boxes) -> list[Boxes]:
        """The boxes without what linear constraints exclude: where no point is left, all holds.

        That the domain itself has a point was shown before the search (Domain.sample)."""
        if not self.domain.constraints:
            return [boxes]
        lower, upper, empty = self.domain.narrow(boxes.lower, boxes.upper)
        narrower = Boxes(lower, upper, boxes.node, boxes.z_lower, boxes.z_upper)
        return [] if empty.all() else [narrower.take(~empty)]

    def conclusions(self, knowledge: Knowledge) -> tuple[Bound, ...]:
        """The hull of all boxes: what holds in each holds on the domain. Bounds better than those
        known."""
        for boxes in self.stack:
            self._finish(boxes)
        evidence = self.tree.evidence()
        found = []
        for k in range(len(self.done_lower)):
            low, high = self.done_lower[k], self.done_upper[k]
            better_low = np.flatnonzero(low > knowledge.lower[k])
            better_high = np.flatnonzero(high < knowledge.upper[k])
            found += [Bound(k, int(j), False, float(low[j]), evidence) for j in better_low]
            found += [Bound(k, int(j), True, float(high[j]), evidence) for j in better_high]
        return tuple(found)
