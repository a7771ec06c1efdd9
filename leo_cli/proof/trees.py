"""Records of trees, from evidence: slopes on the whole domain, and trees over ReLU phases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from leo_cli.arrays import Floats, Ints, Singles
from leo_cli.proof.checker import Checker, Record
from leo_cli.proof.graph import Array
from leo_cli.stability.evidence import Evidence, PhaseLeaf

PARTS = 256  # of a tree, in one record
Phase = tuple[int, int, bool]  # layer, unit, whether z >= 0
Cut = tuple[int, int, float]  # node, unit or input, where; node -1 for a leaf


@dataclass(frozen=True)
class Question:
    """ "z <= 0" (above) or "z >= 0" of a unit of a layer of the network, and what is known for
    it."""

    layer: int
    unit: int
    above: bool
    evidence: Evidence | None


@dataclass(frozen=True)
class Rows:
    """Bounds that a record asks for: parts of the record, nodes, units, whether an upper bound."""

    part: Ints
    node: Ints
    unit: Ints
    above: Ints

    def take(self, rows: Array) -> Rows:
        return Rows(self.part[rows], self.node[rows], self.unit[rows], self.above[rows])

    def __len__(self) -> int:
        return len(self.part)


def tree_record(
    cuts: Sequence[Cut],
    rows: Rows,
    hints: dict[str, Array],
    deep: Ints | None = None,
    first: int | None = None,
) -> Record:
    """A record about the next parts of a tree. hints: slopes and multipliers of the first rows.
    first: of the first record of a tree, the node up to which it bounds."""
    columns = rows.part, rows.node, rows.unit, rows.above
    arrays: dict[str, Array] = {
        **_parts(cuts, np.zeros(len(cuts), np.int64) if deep is None else deep),
        "rows": np.stack(columns, axis=1).astype(np.int32),
        **hints,
    }
    values = {"hints": max(map(len, hints.values()), default=0)}
    return Record("tree", values if first is None else {**values, "node": first}, arrays)


def with_cuts(record: Record, cuts: Sequence[Cut]) -> Record:
    """A record whose parts are cut in another way."""
    return replace(record, arrays=record.arrays | _parts(cuts, record.arrays["parts"][:, 2]))


def _parts(cuts: Sequence[Cut], deep: Ints) -> dict[str, Array]:
    parts = [(node, unit, to) for (node, unit, _), to in zip(cuts, deep.tolist(), strict=True)]
    return {"parts": np.array(parts, np.int32), "cut": np.array([cut[2] for cut in cuts])}


@dataclass(frozen=True)
class Writer:
    """Makes records from evidence about layers. node_of: layer -> node."""

    checker: Checker
    node_of: dict[int, int]

    def rows(self, asked: Sequence[Question], part: Ints) -> Rows:
        """The rows of questions, each about a part."""
        node = np.array([self.node_of[q.layer] for q in asked], np.int64)
        unit = np.array([q.unit for q in asked], np.int64)
        return Rows(part, node, unit, np.array([q.above for q in asked], np.int64))

    def slopes(
        self, tables: Sequence[Sequence[Floats | Singles | None]], node: int, kind: type
    ) -> dict[str, Array]:
        """Slopes of all nodes before a node, a row for each table, as bytes or as they are; of
        units whose phase is fixed they do not matter."""
        found: dict[str, Array] = {}
        for layer, k in self.node_of.items():
            if k >= node:
                continue
            free = (self.checker.lower[k] < 0) & (self.checker.upper[k] > 0)
            none = np.zeros(len(free))
            parts = [table[layer] if layer < len(table) else None for table in tables]
            rows = np.stack([none if part is None else part for part in parts]) * free
            found[f"slopes{k}"] = coded(np.clip(rows, 0.0, 1.0), kind)
        return found

    def whole(self, asked: Sequence[Question], slopes: dict[str, Array]) -> Record:
        """The domain as one part, with slopes for each question of a layer."""
        rows = self.rows(asked, np.zeros(len(asked), np.int64))
        return tree_record([(-1, 0, 0.0)], rows, slopes, first=self.node_of[asked[0].layer])

    def phases(
        self, question: Question, leaves: Sequence[PhaseLeaf], kind: type
    ) -> Iterator[Record]:
        """A tree over phases, its parts in the order in which the checker takes them; none if the
        leaves describe none."""
        node = self.node_of[question.layer]
        paths: list[list[Phase]] = [
            list(zip(leaf.layers.tolist(), leaf.units.tolist(), leaf.phases.tolist(), strict=True))
            for leaf in leaves
        ]
        batches = list(self._batches(paths))
        if sum(len(ends) for _, ends in batches) < len(leaves):
            return
        first: int | None = node
        for cuts, ends in batches:
            at = np.array([i for i, cut in enumerate(cuts) if cut[0] < 0], np.int64)
            hints: dict[str, Array] = {}
            if ends:
                hints = self.slopes([leaves[i].slopes for i in ends], node, kind)
                found = [(paths[i], leaves[i].multipliers) for i in ends]
                hints |= self._multipliers(found, kind)
            yield tree_record(cuts, self.rows([question] * len(ends), at), hints, first=first)
            first = None

    def _batches(self, paths: list[list[Phase]]) -> Iterator[tuple[list[Cut], list[int]]]:
        """Parts of the tree that leaves' paths describe, and which leaves are among them; ends
        early where they describe none."""
        stack = [(list(range(len(paths))), 0)]
        while stack:
            cuts: list[Cut] = []
            ends: list[int] = []
            for members, depth in [stack.pop() for _ in range(min(len(stack), PARTS))]:
                if len(members) == 1 and len(paths[members[0]]) == depth:
                    cuts.append((-1, 0, 0.0))
                    ends.append(members[0])
                    continue
                deeper = [i for i in members if len(paths[i]) > depth]
                splits = {paths[i][depth][:2] for i in deeper}
                halves = [
                    [i for i in deeper if paths[i][depth][2] is side] for side in (True, False)
                ]
                layer, unit = splits.pop() if len(splits) == 1 else (-1, -1)
                if layer not in self.node_of or len(deeper) < len(members) or not all(halves):
                    return
                cuts.append((self.node_of[layer], unit, 0.0))
                stack += [(half, depth + 1) for half in halves]
            yield cuts, ends

    def _multipliers(
        self, leaves: Sequence[tuple[list[Phase], Floats]], kind: type
    ) -> dict[str, Array]:
        """The multipliers of the phases on the way to each leaf."""
        found: dict[str, Array] = {}
        fine = np.float32 if kind is np.uint8 else np.float64
        for row, (path, given) in enumerate(leaves):
            for (layer, unit, _), value in zip(path, given.tolist(), strict=True):
                k = self.node_of[layer]
                empty = np.zeros((len(leaves), self.checker.widths[k]), fine)
                found.setdefault(f"multipliers{k}", empty)[row, unit] += value
        return found


def coded(slopes: Floats, kind: type) -> Array:
    """Slopes as bytes that count 255ths, or as they are."""
    return np.rint(slopes * 255.0).astype(np.uint8) if kind is np.uint8 else slopes
