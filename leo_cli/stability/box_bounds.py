"""Bounds of all layers in a batch of boxes, and where their looseness comes from.

Layer by layer, each unit that is unstable in a box is bounded from both sides by backward linear
bounds that use the bounds of the layers before it in that box; in the deepest layer of which the
box leaves a question open, only the open sides are. A box is left as soon as nothing is open in it.
Bounds of layers that are not bounded again are those of the parent box, which hold as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.bounds.linear import Backward, Relaxed, Signed, backward
from leo_cli.bounds.relaxation import Relaxation, relax
from leo_cli.stability.box_slopes import improved
from leo_cli.stability.boxes import Boxes
from leo_cli.stability.knowledge import Key
from leo_cli.stability.looseness import Loose, blame, normalised

FEW = 8  # open questions of a layer in a box for which slopes are optimised
ROWS = 4096  # questions bounded together, small enough for the processor's cache


@dataclass(frozen=True)
class Asked:
    """The questions of a search. above, below: for each layer, (width,) units of which "z <= 0" or
    "z >= 0" is asked."""

    above: tuple[Bools, ...]
    below: tuple[Bools, ...]

    @property
    def deepest(self) -> int:
        """The last layer with a question, -1 if there is none."""
        pairs = zip(self.above, self.below, strict=True)
        return max((k for k, (a, b) in enumerate(pairs) if a.any() or b.any()), default=-1)

    def questions(self) -> tuple[Key, ...]:
        """The questions, the layers in order."""
        return tuple(
            (k, int(unit), side)
            for k in range(len(self.above))
            for side, units in ((True, self.above[k]), (False, self.below[k]))
            for unit in np.flatnonzero(units)
        )

    def __bool__(self) -> bool:
        return self.deepest >= 0

    def only(self, chosen: Iterable[Key]) -> Asked:
        """Some of the questions."""
        above = tuple(np.zeros_like(units) for units in self.above)
        below = tuple(np.zeros_like(units) for units in self.below)
        for layer, unit, side in chosen:
            (above if side else below)[layer][unit] = True
        return Asked(above, below)

    def unsettled(self, boxes: Boxes, k: int) -> Bools:
        """(boxes, width) units with a question that is not settled in the box."""
        above = self.above[k] & (boxes.z_upper[k] > 0)
        return above | (self.below[k] & (boxes.z_lower[k] < 0))


@dataclass(frozen=True)
class OpenRows:
    """Questions of a layer that a batch of boxes leaves open: (m,) units, (m,) signs (bounded is
    sign * z from below), (m,) bounds, (m, inputs) corners where the bounds are attained."""

    layer: int
    unit: Ints
    sign: Floats
    bound: Floats
    corner: Floats


@dataclass(frozen=True)
class Bounded:
    """boxes: with tightened bounds. open: (boxes,) whether a question is left. score: (boxes,
    inputs) share of each input in the looseness of what is left. rows: what is left."""

    boxes: Boxes
    open: Bools
    score: Floats
    rows: tuple[OpenRows, ...]


def bound_boxes(
    problems: Mapping[int, Relaxed], boxes: Boxes, asked: Asked, few: int = FEW
) -> Bounded:
    """Bound the boxes (in place). problems: of all layers up to the deepest that is asked of. few:
    slopes are optimised where a box leaves no more questions of a layer open."""
    return _Batch(problems, boxes, asked, few).run()


class _Batch:
    def __init__(
        self, problems: Mapping[int, Relaxed], boxes: Boxes, asked: Asked, few: int
    ) -> None:
        self.problems, self.boxes, self.asked, self.few = problems, boxes, asked, few
        self.relaxations: list[Floats | None] = []  # (3, boxes, units): the arrays of Relaxation
        self.loose: list[Loose | None] = []
        self.score = np.zeros_like(boxes.lower)
        self.width = boxes.upper - boxes.lower
        layers = range(asked.deepest + 1)
        self.unsettled: Bools = np.zeros((len(layers), len(boxes)), dtype=bool)
        for k in layers:
            self.unsettled[k] = asked.unsettled(boxes, k).any(axis=1)

    def run(self) -> Bounded:
        rows = []
        for k in range(len(self.unsettled)):
            deeper: Bools = np.asarray(self.unsettled[k + 1 :].any(axis=0))
            if not (deeper.any() or self.unsettled[k].any()):
                break
            found = self._layer(k, deeper)
            if found is not None:
                rows.append(found)
            self.unsettled[k] = self.asked.unsettled(self.boxes, k).any(axis=1)
        still_open: Bools = np.asarray(self.unsettled.any(axis=0))
        return Bounded(self.boxes, still_open, self.score, tuple(rows))

    def _layer(self, k: int, deeper: Bools) -> OpenRows | None:
        """Bound a layer. deeper: (boxes,) where a question of a later layer is open."""
        problem, boxes = self.problems[k], self.boxes
        relu = problem.network.layers[k].relu
        low, high = boxes.z_lower[k], boxes.z_upper[k]
        unstable = (low < 0) & (high > 0)
        above, below = unstable & self.asked.above[k], unstable & self.asked.below[k]
        everything = unstable if relu else np.ones_like(unstable)
        above, below = (np.where(deeper[:, None], everything, side) for side in (above, below))
        box_below, unit_below = np.nonzero(below)
        box_above, unit_above = np.nonzero(above)
        box = np.concatenate([box_below, box_above])
        unit = np.concatenate([unit_below, unit_above])
        half = len(box_below)
        sign = np.ones(len(box))
        sign[half:] = -1.0
        known = np.concatenate([low[box_below, unit_below], -high[box_above, unit_above]])
        wanted = np.where(sign > 0, self.asked.below[k][unit], self.asked.above[k][unit])
        parts = [
            self._block(problem, box[at], unit[at], sign[at], known[at], wanted[at])
            for at in (slice(i, i + ROWS) for i in range(0, len(box), ROWS))
        ]
        found = None
        shares = np.zeros((len(boxes), low.shape[1], self.width.shape[1]))
        if parts:
            bound = np.concatenate([p.bound for p in parts])
            share = np.concatenate([p.share for p in parts])
            low[box_below, unit_below] = bound[:half]
            high[box_above, unit_above] = -bound[half:]
            shares[box_below, unit_below] = share[:half]
            shares[box_above, unit_above] += share[half:]
            found = self._open(problem, parts, box, unit, sign)
        self._relax(problem, k, relu, shares)
        return found

    def _block(
        self, problem: Relaxed, box: Ints, unit: Ints, sign: Floats, known: Floats, wanted: Bools
    ) -> _Block:
        chosen = [None if r is None else _rows_of(r, box) for r in self.relaxations]
        ends = self.boxes.lower[box], self.boxes.upper[box]
        result = backward(problem, Signed(unit, sign), chosen, box=ends)
        bound = np.maximum(result.bound, known)
        rows = np.flatnonzero(wanted & (bound < 0))
        few = rows[np.bincount(box[rows], minlength=len(self.boxes))[box[rows]] <= self.few]
        if len(few) and problem.target > 0:
            again = [None if r is None else _rows_of(r, box[few]) for r in self.relaxations]
            ends_few = ends[0][few], ends[1][few]
            start = _taken(result, few)
            better = improved(problem, Signed(unit[few], sign[few]), again, ends_few, start)
            bound[few] = np.maximum(bound[few], better.bound)
            rows = rows[bound[rows] < 0]
        share = normalised(np.abs(result.form) * self.width[box])
        return _Block(bound, share, rows, _taken(result, rows), ends[0][rows], ends[1][rows])

    def _open(
        self, problem: Relaxed, parts: Sequence[_Block], box: Ints, unit: Ints, sign: Floats
    ) -> OpenRows | None:
        """The rows of a layer that stay open; their looseness goes into the score."""
        rows = np.concatenate([i * ROWS + part.rows for i, part in enumerate(parts)])
        if len(rows) == 0:
            return None
        share = np.concatenate([part.share[part.rows] for part in parts])
        coefficients = [
            np.concatenate(a) for a in zip(*(part.kept.coefficients for part in parts), strict=True)
        ]
        np.add.at(self.score, box[rows], share)
        self.score += blame(self.loose, box[rows], coefficients, len(self.boxes))
        form = np.concatenate([part.kept.form for part in parts])
        lower = np.concatenate([part.lower for part in parts])
        upper = np.concatenate([part.upper for part in parts])
        bound = np.concatenate([part.bound[part.rows] for part in parts])
        corner = np.where(form > 0, lower, upper)
        return OpenRows(problem.target, unit[rows], sign[rows], bound, corner)

    def _relax(self, problem: Relaxed, k: int, relu: bool, shares: Floats) -> None:
        """The layer's relaxations in each box, for the layers after it."""
        later = self.problems.get(k + 1)
        if later is None or not relu:
            self.relaxations.append(None)
            self.loose.append(None)
            return
        live = later.live[k]
        low, high = self.boxes.z_lower[k][:, live], self.boxes.z_upper[k][:, live]
        relaxation = relax(low, high)
        self.relaxations.append(
            np.stack([relaxation.alpha, relaxation.slope, relaxation.intercept])
        )
        self.loose.append(Loose.of(relaxation, low, high, shares[:, live]))


@dataclass(frozen=True)
class _Block:
    """bound, share: of all rows. rows: those that stay open; kept, lower, upper: of these."""

    bound: Floats
    share: Floats
    rows: Ints
    kept: Backward
    lower: Floats
    upper: Floats


def _rows_of(arrays: Floats, box: Ints) -> Relaxation:
    """(m, units) each, for the box of each row."""
    return Relaxation(*np.take(arrays, box, axis=1))


def _taken(result: Backward, rows: Ints) -> Backward:
    coefficients = tuple(a[rows] for a in result.coefficients)
    return Backward(result.bound[rows], result.form[rows], coefficients)
