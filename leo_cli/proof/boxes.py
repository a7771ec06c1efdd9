"""Records of a tree of boxes that settled questions.

The tree is the search's, walked again with the checker's bounds. In each box every unit that is
unstable there is bounded, layer by layer, up to the deepest layer of which a question is open; what
bounds with the checker's own slopes leave open gets better slopes, where that is little. Boxes are
halved further where that is needed, and become leaves as soon as nothing is open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.bounds.linear import Relaxed, Signed, relaxed
from leo_cli.bounds.relaxation import Relaxation, relax
from leo_cli.proof.checker import Checker, Part, Record
from leo_cli.proof.graph import Array
from leo_cli.proof.trees import PARTS, Cut, Question, Rows, coded, tree_record, with_cuts
from leo_cli.stability.box_slopes import improved
from leo_cli.stability.budget import Budget
from leo_cli.stability.evidence import InputSplitEvidence
from leo_cli.stability.knowledge import Knowledge

DEEPER = 12  # how many times a leaf of the search's tree may be halved again
FEW = 8  # open questions of a layer in a box that get slopes of their own


@dataclass
class _Todo:
    """A part that is to be bounded: its node in the tree of cuts, and how often a leaf was halved
    again on the way to it."""

    part: Part
    node: int
    extra: int


class _Cuts:
    """The search's tree, and how it goes on."""

    def __init__(self, tree: InputSplitEvidence) -> None:
        self.axis, self.cut, self.child = tree.axis.tolist(), tree.cut.tolist(), tree.child.tolist()

    def halve(self, node: int, axis: int, cut: float) -> None:
        """Cut a leaf."""
        self.axis[node], self.cut[node] = axis, cut
        self.child[node] = [len(self.axis), len(self.axis) + 1]
        self.axis += [-1, -1]
        self.cut += [0.0, 0.0]
        self.child += [[-1, -1], [-1, -1]]


class BoxRecords:
    """knowledge: the checker's bounds. node_of: layer -> node. asked: what the tree settled."""

    def __init__(
        self,
        checker: Checker,
        knowledge: Knowledge,
        node_of: dict[int, int],
        asked: list[Question],
        budget: Budget,
    ) -> None:
        self.checker, self.knowledge, self.node_of, self.budget = (
            checker,
            knowledge,
            node_of,
            budget,
        )
        node = np.array([node_of[q.layer] for q in asked])
        unit, above = np.array([q.unit for q in asked]), np.array([q.above for q in asked])
        self.asked = Rows(np.zeros(len(asked), np.int64), node, unit, above)
        self.layer_of = {k: layer for layer, k in node_of.items()}
        self.hopeless: Bools = np.zeros(len(asked), dtype=bool)
        self.problems: dict[int, Relaxed] = {}

    def records(self, tree: InputSplitEvidence) -> Iterator[Record]:
        """The records, each to be applied before the next is asked for."""
        cuts, todo = _Cuts(tree), [_Todo({}, 0, 0)]
        first: int | None = self.checker.end
        while todo:
            batch = [todo.pop() for _ in range(min(len(todo), PARTS))]
            record = self._bounded([one.part for one in batch], first)
            rows: list[Cut] = []
            for one in batch:
                left = self._open(one.part)
                if left.any() and cuts.axis[one.node] < 0:
                    self._deeper(cuts, one, left)
                if cuts.axis[one.node] < 0 or not left.any():
                    rows.append((-1, 0, 0.0))
                    continue
                axis, where = cuts.axis[one.node], cuts.cut[one.node]
                rows.append((0, axis, where))
                halves = self.checker.halves(one.part, 0, axis, where)
                todo += [
                    _Todo(half, child, one.extra)
                    for half, child in zip(halves, cuts.child[one.node][::-1], strict=True)
                ]
            yield with_cuts(record, rows)
            first = None

    def _open(self, part: Part) -> Bools:
        """Which questions are not settled in a part."""
        found: Bools = ~self.hopeless
        for k in np.unique(self.asked.node).tolist():
            low, high = part.get(k, (self.checker.lower[k], self.checker.upper[k]))
            at = np.flatnonzero(self.asked.node == k)
            unit = self.asked.unit[at]
            found[at] &= np.where(self.asked.above[at], high[unit] > 0, low[unit] < 0)
        return found

    def _deeper(self, cuts: _Cuts, one: _Todo, left: Bools) -> None:
        """Halve a leaf along its widest input, if there is hope."""
        box = self.checker.box
        low, high = one.part.get(0, (box.lower, box.upper))
        whole = np.maximum(box.upper - box.lower, np.finfo(np.float64).tiny)
        i = int(np.argmax((high - low) / whole))
        middle = float(low[i] + 0.5 * (high[i] - low[i]))
        if one.extra >= DEEPER or not low[i] < middle < high[i] or self.budget.expired():
            self.hopeless |= left
            return
        cuts.halve(one.node, i, middle)
        one.extra += 1

    def _bounded(self, parts: list[Part], first: int | None) -> Record:
        """Bound parts, in place, by what a record asks for; that record."""
        left = np.stack([self._open(part) for part in parts])
        deep = (left * self.asked.node).max(axis=1)
        row, question = np.nonzero(left)
        rows = replace(self.asked.take(question), part=row)
        tried = [dict(part) for part in parts]
        self._apply(tried, rows, {}, deep, first)
        settled = self._settled(tried, rows)
        plain, hard = rows.take(settled), self._few(rows.take(~settled))
        hints = self._slopes(tried, hard)
        if len(hard):
            self._apply(tried, hard, hints, deep * 0, first)
            good = self._settled(tried, hard)
            hard, hints = hard.take(good), {name: table[good] for name, table in hints.items()}
        asked = Rows(*(np.concatenate(pair) for pair in zip(_columns(hard), _columns(plain))))  # noqa: B905
        return self._apply(parts, asked, hints, deep, first)

    def _apply(
        self, parts: list[Part], rows: Rows, hints: dict[str, Array], deep: Ints, first: int | None
    ) -> Record:
        """Bound parts, in place, as the checker will."""
        used = {name: table for name, table in hints.items() if len(rows) and len(table)}
        record = tree_record([(-1, 0, 0.0)] * len(parts), rows, used, deep, first)
        with np.errstate(all="ignore"):
            self.checker.bound(parts, deep, record)
        return record

    def _settled(self, parts: list[Part], rows: Rows) -> Bools:
        ends = [parts[p].get(k, (self.checker.lower[k], self.checker.upper[k]))
                for p, k in zip(rows.part.tolist(), rows.node.tolist(), strict=True)]  # fmt: skip
        pairs = zip(ends, rows.unit.tolist(), rows.above.tolist(), strict=True)
        return np.array([high[j] <= 0 if up else low[j] >= 0 for (low, high), j, up in pairs], bool)

    def _few(self, rows: Rows) -> Rows:
        """Those of which a part has few of a layer."""
        place = rows.part * (self.checker.end + 1) + rows.node
        return rows.take(np.bincount(place)[place] <= FEW if len(rows) else np.zeros(0, bool))

    def _slopes(self, parts: list[Part], rows: Rows) -> dict[str, Array]:
        """Slopes that bound rows better, with the bounds that hold in the parts."""
        last = int(rows.node.max(initial=0))
        widths = {k: int(self.checker.widths[k]) for k in self.layer_of if k < last}
        found = {f"slopes{k}": np.zeros((len(rows), w), np.uint8) for k, w in widths.items()}
        for k in np.unique(rows.node).tolist():
            at = np.flatnonzero(rows.node == k)
            problem = self._problem(self.layer_of[k])
            mine = [parts[p] for p in rows.part[at]]
            box = self._ends(mine, 0)
            chosen: list[Relaxation | None] = []
            for layer, live in enumerate(problem.live[:-1]):
                node = self.node_of.get(layer)
                if node is None:
                    chosen.append(None)
                    continue
                low, high = self._ends(mine, node)
                chosen.append(relax(low[:, live], high[:, live]))
            sign = np.where(rows.above[at], -1.0, 1.0)
            alphas = improved(problem, Signed(rows.unit[at], sign), chosen, box).alphas
            for layer, (alpha, live) in enumerate(zip(alphas, problem.live, strict=False)):
                if alpha is not None:
                    found[f"slopes{self.node_of[layer]}"][np.ix_(at, live)] = coded(alpha, np.uint8)
        return found

    def _ends(self, parts: list[Part], k: int) -> tuple[Floats, Floats]:
        known = [part.get(k, (self.checker.lower[k], self.checker.upper[k])) for part in parts]
        return np.stack([low for low, _ in known]), np.stack([high for _, high in known])

    def _problem(self, layer: int) -> Relaxed:
        if layer not in self.problems:
            known = self.knowledge
            bounds = known.lower, known.upper
            self.problems[layer] = relaxed(known.network, known.domain, *bounds, layer)
        return self.problems[layer]


def _columns(rows: Rows) -> tuple[Ints, ...]:
    return rows.part, rows.node, rows.unit, rows.above
