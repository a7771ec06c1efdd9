"""Check a proof that one ONNX model equals another on a domain: `python -m leo_cli.proof.checker
IN OUT PROOF --bounds B`.

The checker evaluates, it never searches (docs/what-is-proved.md, docs/proof-format.md). For IN it
bounds every pre-activation, node by node, with lines of its own choice, and where a record gives
slopes, a tree over ReLU phases or a tree of boxes, with those. What has an upper bound <= 0 is
inactive (h = 0), what has a lower bound >= 0 is active (h = z). For OUT it writes every unit as
    h' = T h + t + d,   |d| <= r on the domain,   h: all values of IN,
node by node: for z' = W' h'_before + b' that follows by substitution. A unit that a record matches
with unit j of IN has z' = c z_j + e with e a form that is bounded; then h' = c h_j + lambda e with
lambda in [0, 1] (max(., 0) is monotone and 1-Lipschitz), so h' = c h_j + e / 2 up to |e| / 2, or e
itself where both are active. A unit that is not matched must be active, so h' = z'. In the end
OUT's cuts minus IN's are bounded like any form, and compared with the deviation that the proof
states.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from leo_cli.proof.bounding import (
    MORE,
    Arithmetic,
    Box,
    Form,
    Group,
    Lines,
    Link,
    View,
    default_lines,
    lines_of,
)  # fmt: skip
from leo_cli.proof.graph import Array, Net, Node, Unreadable, read_net

MAGIC = b"leo-proof 1\n"
BLOCK, BATCH = 2048, 256  # rows bounded together, boxes bounded together


class Fails(Exception):  # noqa: N818 - it reads as a verdict
    """A claim of the proof was not established."""


@dataclass(frozen=True)
class Record:
    """One step of a proof: its kind, plain values, and arrays."""

    kind: str
    values: dict[str, Any]
    arrays: dict[str, Array] = field(default_factory=dict)

    def ints(self, name: str, limit: int) -> Array:
        """An array of indices in [0, limit)."""
        found = self.arrays[name].astype(np.int64)
        if found.ndim != 1 or np.any((found < 0) | (found >= limit)):
            raise Fails(f'record "{self.kind}": an index in "{name}" is out of range')
        return found

    def shares(self, name: str, shape: tuple[int, int]) -> Array:
        """Slopes in [0, 1]: floats, or bytes that count 255ths."""
        raw = self.arrays[name]
        found = raw / 255.0 if raw.dtype == np.uint8 else raw.astype(np.float64)
        if found.shape != shape or not np.all((found >= 0.0) & (found <= 1.0)):
            raise Fails(f'record "{self.kind}": "{name}" is not {shape} slopes in [0, 1]')
        return found


def read_records(stream: BinaryIO) -> Iterator[Record]:
    """The records of a proof file, one after another, up to its end. Raises Unreadable."""
    if stream.read(len(MAGIC)) != MAGIC:
        raise Unreadable("this is no proof of version 1")
    unpack, buffer = zlib.decompressobj(), bytearray()

    def take(count: int) -> bytes:
        while len(buffer) < count:
            chunk = stream.read(1 << 16)
            if not chunk:
                raise Unreadable("the proof is cut off")
            try:
                buffer.extend(unpack.decompress(chunk))
            except zlib.error as error:
                raise Unreadable(f"the proof is damaged: {error}") from None
        part = bytes(buffer[:count])
        del buffer[:count]
        return part

    while True:
        try:
            head = json.loads(take(struct.unpack(">I", take(4))[0]))
            arrays = {}
            for name, dtype, shape in head.pop("arrays", []):
                count = int(np.prod(shape, dtype=np.int64))
                content = take(count * np.dtype(dtype).itemsize)
                arrays[name] = np.frombuffer(content, dtype=dtype).reshape(shape)
            record = Record(head.pop("kind"), head, arrays)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unreadable(f"the proof has a malformed record: {error}") from None
        yield record
        if record.kind == "end":
            return


@dataclass
class Relation:
    """Values of a node of OUT as T h + t up to r: (m, all units of IN), (m,), (m,)."""

    matrix: Array
    offset: Array
    radius: Array


@dataclass(frozen=True)
class Part:
    """A box within the domain, and bounds of z of live units that hold in it, by node."""

    lower: Array
    upper: Array
    below: dict[int, Array]
    above: dict[int, Array]


Claims = dict[int, tuple[Array, Array]]  # node -> units, and whether z <= 0 is claimed, else z >= 0


class Checker:
    """Consumes records in order; `apply` raises Fails at the first claim that does not hold."""

    def __init__(
        self, old: Net, new: Net | None, box: Box, math: Arithmetic, jobs: int = 1
    ) -> None:
        self.old, self.new, self.box, self.math, self.jobs = old, new, box, math, jobs
        if old.widths[0] != len(box.lower):
            raise Fails(f"the domain has {len(box.lower)} features, the model {old.widths[0]}")
        self.lower: dict[int, Array] = {0: box.lower}
        self.upper: dict[int, Array] = {0: box.upper}
        self.known: tuple[dict[int, Array], dict[int, Array]] = ({}, {})  # settled by boxes
        self.view = self._fresh()
        self.done = 1  # nodes whose bounds are computed
        self.offsets = np.concatenate([[0], np.cumsum(old.widths)])
        self.links: dict[int, tuple[Link, ...]] = {}
        self.relations: list[Relation] = []
        self.deviation: Array | None = None
        self.complete = False
        self.counts = {"inactive": 0, "active": 0, "unstable": 0}

    def _fresh(self) -> View:
        return View(self.old, self.box, self.math, self.lower, self.upper)

    def apply(self, record: Record) -> None:
        """Establish what a record claims."""
        step = getattr(self, f"record_{record.kind}", None)
        if step is None or self.complete:
            raise Fails(f'unknown record "{record.kind}"')
        try:
            with np.errstate(all="ignore"):  # what overflows bounds nothing, see Arithmetic.down
                step(record)
        except (KeyError, IndexError, ValueError, TypeError, OverflowError) as error:
            raise Fails(f'record "{record.kind}" is malformed: {error}') from error

    # Bounds of IN

    def advance(self, count: int) -> None:
        """Bounds of all nodes before `count`: intervals, then lines for units that are unstable so
        far."""
        for k in range(self.done, min(count, len(self.old.nodes))):
            self.view.extend(k)
            low, high = self.view.interval(k, 1.0), -self.view.interval(k, -1.0)
            for known, (mine, better) in zip(
                self.known, ((low, np.maximum), (high, np.minimum)), strict=True
            ):
                if k in known:
                    better(mine, known[k], out=mine)
            self.lower[k], self.upper[k] = low, high
            node = self.old.nodes[k]
            if node.relu and any(node.terms):
                for sign in (1.0, -1.0):
                    units = np.flatnonzero((low < 0) & (high > 0))
                    self._tighten(k, units, sign, self._least(self.view.rows(k, units, sign)))
            self.done = k + 1

    def _least(self, form: Form, **options: Any) -> Array:
        """`View.least` in blocks of rows, on several threads; options apply to all rows."""
        blocks = [np.arange(i, min(i + BLOCK, len(form.constant)))
                  for i in range(0, len(form.constant), BLOCK)]  # fmt: skip
        with ThreadPoolExecutor(self.jobs) as pool:
            parts = list(pool.map(lambda b: self.view.least(form.take(b), **options), blocks))
        return np.concatenate([np.zeros(0), *parts])

    def _tighten(self, k: int, units: Array, sign: float, bound: Array) -> None:
        if sign > 0:
            np.maximum.at(self.lower[k], units, bound)
        else:
            np.minimum.at(self.upper[k], units, -bound)

    def _node(self, record: Record) -> int:
        """The node of a record, bounded, and the last one that is."""
        k = int(record.values["node"])
        if not self.done - 1 <= k < len(self.old.nodes):
            raise Fails(f'record "{record.kind}": node {k} is out of order')
        self.advance(k + 1)
        return k

    def _lines(self, record: Record, rows: int) -> tuple[dict[int, Array], dict[int, Lines]]:
        """(position of each unit in its node's live units), and lines with the record's slopes for
        `rows` rows."""
        nodes = record.ints("slope_nodes", len(self.view.live))
        units, shares = record.arrays["slope_units"], record.shares("slopes", (rows, len(nodes)))
        places, lines = {}, {}
        for s, live in enumerate(self.view.live):
            if not self.old.nodes[s].relu:
                continue
            place = np.full(self.old.widths[s], -1)
            place[live] = np.arange(len(live))
            places[s], default = place, self.view.lines[s]
            at = np.flatnonzero(nodes == s)
            column = place[units[at]]
            alpha = np.repeat(default[0][None], rows, axis=0)  # type: ignore[index]
            alpha[:, column[column >= 0]] = shares[:, at[column >= 0]]
            low, high = self.lower[s][live], self.upper[s][live]
            lines[s] = lines_of(alpha, default[1], low, high)  # type: ignore[index]
        return places, lines

    def record_slopes(self, record: Record) -> None:
        """Bounds with given slopes, each for one unit and direction."""
        k = self._node(record)
        units, above = record.ints("units", self.old.widths[k]), record.arrays["above"] != 0
        _, lines = self._lines(record, len(units))
        sign = np.where(above, -1.0, 1.0)
        form = self.view.rows(k, units)
        form = Form({s: a * self.math.number(sign)[:, None] for s, a in form.parts.items()},
                    form.constant * self.math.number(sign), form.error)  # fmt: skip
        bound = self.view.least(form, lines)
        for side in (1.0, -1.0):
            self._tighten(k, units[sign == side], side, bound[sign == side])

    def record_phases(self, record: Record) -> None:
        """A binary tree over ReLU phases, in preorder (z >= 0 first); leaves carry slopes and
        multipliers."""
        k = self._node(record)
        unit = int(record.values["unit"])
        nodes, units = record.arrays["tree_nodes"], record.arrays["tree_units"]
        paths: list[tuple[tuple[int, int, bool], ...]] = []
        stack: list[tuple[tuple[int, int, bool], ...]] = [()]
        for s, j in zip(nodes.tolist(), units.tolist(), strict=True):
            path = stack.pop()
            if s < 0:
                paths.append(path)
            elif 0 < s < k and self.old.nodes[s].relu and 0 <= j < self.old.widths[s]:
                stack += [(*path, (s, j, False)), (*path, (s, j, True))]
            else:
                raise Fails(f'record "phases": node {s} has no unit {j} to split')
        multipliers = record.arrays["multipliers"].astype(np.float64)
        if stack or sum(map(len, paths)) != len(multipliers):
            raise Fails('record "phases": the tree is not complete')
        if not np.all((multipliers >= 0) & np.isfinite(multipliers)):
            raise Fails('record "phases": a multiplier is negative')
        places, lines = self._lines(record, len(paths))
        given = {s: np.zeros(lines[s][0].shape) for s in lines}
        for s, (alpha, slope, lift) in lines.items():
            shape = given[s].shape
            wide = np.array(np.broadcast_to(slope, shape)), np.array(np.broadcast_to(lift, shape))
            lines[s] = alpha, *wide
        taken = iter(multipliers.tolist())
        for row, path in enumerate(paths):
            for s, j, on in path:
                value, i = next(taken), places[s][j]
                if i >= 0:
                    given[s][row, i] += -value if on else value
                    lines[s][0][row, i] = lines[s][1][row, i] = float(on)
                    lines[s][2][row, i] = 0.0
        form = self.view.rows(k, np.full(len(paths), unit), -1.0 if record.values["above"] else 1.0)
        bound = self.view.least(form, lines, given)
        self._tighten(
            k, np.array([unit]), -1.0 if record.values["above"] else 1.0, bound.min()[None]
        )

    # Boxes

    def record_boxes(self, record: Record) -> None:
        """Claims "z <= 0" (above) or "z >= 0" that hold in every leaf of a tree of boxes.

        The tree is given in preorder, the lower half first; axis -1 is a leaf. What is bounded in a
        box holds in its halves."""
        self.all_bounds()
        nodes = record.ints("nodes", len(self.old.nodes))
        claims = {}
        for k in np.unique(nodes).tolist():
            units = self._units(record, nodes, k)
            claims[k] = units, record.arrays["above"][nodes == k] != 0
            if not self.old.nodes[k].relu:
                raise Fails('record "boxes": a claim on what is no ReLU unit')
        axis, cut = record.arrays["axis"].tolist(), record.arrays["cut"].tolist()
        second = _second_children(axis)
        todo = [(0, Part(self.box.lower, self.box.upper, {}, {}))]
        hull: dict[int, tuple[Array, Array]] = {}
        with ThreadPoolExecutor(self.jobs) as pool:
            while todo:
                batch = [todo.pop() for _ in range(min(len(todo), BATCH * self.jobs))]
                blocks = [
                    [part for _, part in batch[i : i + BATCH]] for i in range(0, len(batch), BATCH)
                ]
                bounded = [
                    p
                    for block in pool.map(lambda b: self.bound_parts(b, claims), blocks)
                    for p in block
                ]
                for (at, _), part in zip(batch, bounded, strict=True):
                    if axis[at] >= 0:
                        low, high = halves(self.box, part, axis[at], cut[at])
                        todo += [(second[at], high), (at + 1, low)]
                        continue
                    for k, unit in self.open_claims(part, claims):
                        raise Fails(f"node {self.old.nodes[k].name}, unit {unit}: open in a box")
                    for k in part.below:
                        known = hull.get(k, (part.below[k], part.above[k]))
                        hull[k] = (
                            np.minimum(known[0], part.below[k]),
                            np.maximum(known[1], part.above[k]),
                        )
        for k, (least, most) in hull.items():
            live = self.view.live[k]
            self.lower[k][live] = np.maximum(self.lower[k][live], least)
            self.upper[k][live] = np.minimum(self.upper[k][live], most)
        self.known = (dict(self.lower), dict(self.upper))
        self.view, self.done = self._fresh(), 1

    def _units(self, record: Record, nodes: Array, k: int) -> Array:
        """The entries of "units" that belong to node k."""
        units = record.ints("units", max(self.old.widths))[nodes == k]
        if np.any(units >= self.old.widths[k]):
            raise Fails(f'record "{record.kind}": node {k} has no such unit')
        return np.asarray(units)

    def open_claims(self, part: Part, claims: Claims) -> list[tuple[int, int]]:
        """The (node, unit) of claims that the bounds in a box do not settle."""
        found = []
        for k, (units, above) in claims.items():
            place = np.full(self.old.widths[k], -1)
            place[self.view.live[k]] = np.arange(len(self.view.live[k]))
            at = place[units]
            # a unit that is not live has z <= 0 on the domain
            low, high = np.append(part.below[k], -1.0), np.append(part.above[k], 0.0)
            wrong = np.where(above, high[at] > 0, low[at] < 0)
            found += [(k, int(unit)) for unit in units[wrong]]
        return found

    def bound_parts(self, parts: list[Part], claims: Claims) -> list[Part]:
        """The parts with bounds of all live units up to the last claims: only what is unstable in
        a box is bounded."""
        ends = np.stack([p.lower for p in parts]), np.stack([p.upper for p in parts])
        lower: dict[int, Array] = {}
        upper: dict[int, Array] = {}
        lines: dict[int, Lines] = {}
        last = max(claims, default=0)
        for k in range(1, last + 1):
            if not self.old.nodes[k].relu:
                continue
            live = self.view.live[k]
            low = np.stack([p.below.get(k, self.lower[k][live]) for p in parts])
            high = np.stack([p.above.get(k, self.upper[k][live]) for p in parts])
            for sign in (1.0, -1.0):
                asked = np.ones(len(live), dtype=bool)
                if k == last:
                    asked = np.isin(live, claims[k][0][claims[k][1] == (sign < 0)])
                box, unit = np.nonzero((low < 0) & (high > 0) & asked)
                for at in range(0, len(box), BLOCK):
                    b, u = box[at : at + BLOCK], unit[at : at + BLOCK]
                    chosen: dict[int, Any] = {
                        s: tuple(p[b] for p in part) for s, part in lines.items()
                    }
                    form = self.view.rows(k, live[u], sign)
                    bound = self.view.least(form, chosen, box=(ends[0][b], ends[1][b]))
                    if sign > 0:
                        low[b, u] = np.maximum(low[b, u], bound)
                    else:
                        high[b, u] = np.minimum(high[b, u], -bound)
            lower[k], upper[k] = low, high
            lines[k] = default_lines(low, high)
        return [replace(part, below={k: z[i] for k, z in lower.items()},
                        above={k: z[i] for k, z in upper.items()})
                for i, part in enumerate(parts)]  # fmt: skip

    # Verdicts

    def record_states(self, record: Record) -> None:
        """Units that are inactive, and units that are active."""
        self.advance(len(self.old.nodes))
        k = int(record.values["node"])
        for name, good in (("inactive", self.upper[k] <= 0), ("active", self.lower[k] >= 0)):
            units = record.ints(name, self.old.widths[k])
            if not self.old.nodes[k].relu or not good[units].all():
                raise Fails(f"node {self.old.nodes[k].name}, unit {units[~good[units]][:1]}: "
                            f"not proved {name}")  # fmt: skip
            self.counts[name] += len(units)

    def record_witnesses(self, record: Record) -> None:
        """Units that are unstable: for each a point of the domain with z < 0 and one with z > 0."""
        points = record.arrays["points"].astype(np.float64)
        if points.ndim != 2 or not contains(self.box, points):
            raise Fails('record "witnesses": a point outside the domain')
        signs = self.signs(points)
        nodes = record.ints("nodes", len(self.old.nodes))
        for k in np.unique(nodes).tolist():
            units = self._units(record, nodes, k)
            for name, sign in (("negative", -1), ("positive", 1)):
                rows = record.ints(name, len(points))[nodes == k]
                wrong = units[signs[k][rows, units] != sign]
                if len(wrong) or not self.old.nodes[k].relu:
                    raise Fails(f"node {self.old.nodes[k].name}, unit {wrong[:1]}: not unstable")
            self.counts["unstable"] += len(set(units.tolist()))

    def signs(self, points: Array) -> list[Array]:
        """For each node the signs of z at points, (m, width); 0 where rounding hides it."""
        math = self.math
        values, errors, signs = [math.number(points)], [np.zeros(points.shape)], [np.sign(points)]
        for node in self.old.nodes[1:]:
            z = math.number(np.zeros((len(points), len(node.bias)))) + math.number(node.bias)
            size, error = np.abs(node.bias) + np.zeros(z.shape), np.zeros(z.shape)
            width = sum(w.shape[1] for w in node.terms.values())
            for s, w in node.terms.items():
                z = z + math.product(values[s], math.number(w.T))
                size = size + np.abs(values[s]).astype(np.float64) @ np.abs(w).T
                error = error + MORE * (errors[s] @ np.abs(w).T)
            error = error + (math.gamma(width + 4) + 2.0 * node.slack) * (size + error)
            error = MORE * error + math.tiny((width + 4.0) * (1.0 + len(errors)))
            signs.append(np.where(z > error, 1, np.where(z < -error, -1, 0)))
            values.append(np.maximum(z, 0) if node.relu else z)
            errors.append(error)
        return signs

    # The relation of OUT to IN

    def ends(self, form: Form) -> tuple[Array, Array]:
        """Bounds of a form; exactly 0 where there is nothing."""
        low, high = np.zeros(len(form.constant)), np.zeros(len(form.constant))
        some = (form.constant != 0) | (form.error > 0)
        for a in form.parts.values():
            some |= (a != 0).any(axis=1)
        rows = np.flatnonzero(some)
        if len(rows):
            low[rows] = self._least(form.take(rows), links=self.links)
            high[rows] = -self._least(form.take(rows, negated=True), links=self.links)
        return low, high

    def by_node(self, matrix: Array, offset: Array, radius: Array) -> Form:
        """A form from coefficients of all units side by side; inactive units are 0."""
        parts = {}
        for s in range(len(self.old.nodes)):
            block = matrix[:, self.offsets[s] : self.offsets[s + 1]]
            if (block != 0).any():
                parts[s] = block
        return Form(parts, offset, radius)

    def image(self, terms: dict[int, Array], bias: Array, slack: float) -> Relation:
        """W' h' + b' of nodes of OUT, over the values of IN."""
        math, total = self.math, int(self.offsets[-1])
        matrix, offset = math.number(np.zeros((len(bias), total))), math.number(bias).copy()
        radius, reach = np.zeros(len(bias)), np.concatenate(self._reaches())
        for s, w in terms.items():
            before = self.relations[s]
            exact_w = math.number(w)
            moved = math.product(exact_w, before.matrix)
            shift = math.product(exact_w, before.offset)
            sizes, scales = np.abs(w), np.abs(before.matrix).astype(np.float64)
            radius = radius + MORE * (sizes @ before.radius)
            if slack or not math.exact:
                products = sizes @ scales
                used, plain = (w != 0).astype(np.float64), (scales == 0) | (scales == 1.0)
                alone = (used @ (scales != 0) <= 1) & (used @ ~plain == 0) & (matrix == 0)
                lost = np.where(alone, 0.0, products + np.abs(matrix).astype(np.float64))
                relative = math.gamma(w.shape[1] + 4)
                constant = sizes @ np.abs(before.offset).astype(np.float64)
                constant = constant + (constant != 0) * np.abs(offset).astype(np.float64)
                radius = radius + relative * (lost @ reach + constant)
                radius = radius + 4.0 * slack * (products @ reach + constant)
                tiny = math.tiny(w.shape[1] * (1.0 + float(reach.sum())))
                radius = radius + tiny * (lost.any(axis=1) | (constant > 0))
            matrix, offset = matrix + moved, offset + shift
        return Relation(matrix, offset, radius)

    def _reaches(self) -> list[Array]:
        """The largest |h| of every unit of IN."""
        out = []
        for s, node in enumerate(self.old.nodes):
            high = np.maximum(np.abs(self.lower[s]), np.abs(self.upper[s]))
            out.append(np.maximum(self.upper[s], 0.0) if node.relu else high)
        return out

    def less(self, image: Relation, k: int, rows: Array, units: Array, factor: Array) -> Relation:
        """Rows of an image minus factor * z of units of node k of IN."""
        math, node = self.math, self.old.nodes[k]
        matrix, scale = image.matrix[rows].copy(), math.number(factor)
        radius = image.radius[rows].copy()
        reach = self._reaches()
        offset = image.offset[rows][:, None]
        rounded = np.zeros(len(rows))
        for s, w in [*node.terms.items(), (-1, node.bias[:, None])]:
            part = math.number(w[units]) * scale[:, None]
            columns = slice(self.offsets[s], self.offsets[s + 1])
            block, known = (offset, np.ones(1)) if s < 0 else (matrix[:, columns], reach[s])
            found = block - part
            if not math.exact:
                back = found - block  # the exact error of the difference (Knuth's TwoSum)
                loss = np.abs((block - (found - back)) - (part + back))
                loss += np.abs(part) * (factor != 1.0)[:, None] * math.gamma(1)
                rounded += 2.0 * math.strict * (loss @ known)
            rounded += 2.0 * node.slack * (np.abs(part).astype(np.float64) @ known)
            if s < 0:
                offset = found
            else:
                matrix[:, columns] = found
        for s, known in enumerate(reach):
            matrix[:, self.offsets[s] : self.offsets[s + 1]][:, known == 0] = (
                0  # h = 0 on the domain
            )
        return Relation(matrix, offset[:, 0], radius + rounded)

    def record_links(self, record: Record) -> None:
        """Units of one node of IN whose values are multiples of another's: z_i = c z_j, or -c z_j
        (opposite)."""
        self.all_bounds()
        k = int(record.values["node"])
        units, partners = (
            record.ints("units", self.old.widths[k]),
            record.ints("partners", self.old.widths[k]),
        )
        factor, opposite = (
            record.arrays["factors"].astype(np.float64),
            record.arrays["opposite"] != 0,
        )
        if np.isin(partners, units).any() or len(set(units.tolist())) < len(units):
            raise Fails('record "links": a unit is linked twice')
        if not np.all((factor > 0) & np.isfinite(factor)) or not self.old.nodes[k].relu:
            raise Fails('record "links": a factor is not positive')
        rows = {s: self.math.number(w[units]) for s, w in self.old.nodes[k].terms.items()}
        matrix = self.math.number(np.zeros((len(units), int(self.offsets[-1]))))
        for s, w in rows.items():
            matrix[:, self.offsets[s] : self.offsets[s + 1]] = w
        own = Relation(
            matrix, self.math.number(self.old.nodes[k].bias[units]), self.view.rows(k, units).error
        )
        less = self.less(
            own, k, np.arange(len(units)), partners, np.where(opposite, -factor, factor)
        )
        low, high = self.ends(self.by_node(less.matrix, less.offset, less.radius))
        error = np.maximum(np.abs(low), np.abs(high))
        made = zip(units.tolist(), partners.tolist(), factor.tolist(),
                   opposite.tolist(), error.tolist(),
                   strict=True)  # fmt: skip
        self.links = {**self.links, k: tuple(Link(*link) for link in made)}

    def all_bounds(self) -> None:
        self.advance(len(self.old.nodes))
        self.view.extend(len(self.old.nodes))

    def record_node(self, record: Record) -> None:
        """The next node of OUT: for each unit the node of IN (-1: none) and the unit that it
        matches, and a factor."""
        if self.new is None or len(self.relations) >= len(self.new.nodes):
            raise Fails("a record on a node that OUT does not have")
        self.all_bounds()
        node, width = (
            self.new.nodes[len(self.relations)],
            len(self.new.nodes[len(self.relations)].bias),
        )
        if not self.relations:
            identity = np.zeros((self.new.widths[0], int(self.offsets[-1])))
            if self.new.widths[0] != self.old.widths[0]:
                raise Fails("the models have inputs of different sizes")
            np.fill_diagonal(identity, 1.0)
            zeros = np.zeros(len(identity))
            self.relations.append(
                Relation(self.math.number(identity), self.math.number(zeros), zeros)
            )
            return
        z = self.image(node.terms, node.bias, node.slack)
        match, unit = (
            record.arrays["match"].astype(np.int64),
            record.arrays["unit"].astype(np.int64),
        )
        factor = record.arrays["factor"].astype(np.float64)
        if not len(match) == len(unit) == len(factor) == width:
            raise Fails(f"node {node.name}: not one match for each unit")
        alone = np.flatnonzero(match < 0)
        if node.relu and len(alone):
            low = self._least(
                self.by_node(z.matrix[alone], z.offset[alone], z.radius[alone]), links=self.links
            )
            if np.any(low < 0):
                raise Fails(f"node {node.name}, unit {alone[low < 0][0]}: not proved active")
        for k in np.unique(match[match >= 0]).tolist():
            at = np.flatnonzero(match == k)
            self._matched(node, z, k, at, unit[at], factor[at])
        self.relations.append(z)

    def _matched(
        self, node: Node, z: Relation, k: int, at: Array, units: Array, factor: Array
    ) -> None:
        """Replace rows `at` of z, matched with units of node k of IN, by the relation of their
        values."""
        if not 0 < k < len(self.old.nodes) or self.old.nodes[k].relu != node.relu:
            raise Fails(f"a unit is matched with node {k}, which is of another kind")
        if np.any((units < 0) | (units >= self.old.widths[k])) or not np.all(
            (factor > 0) & np.isfinite(factor)
        ):
            raise Fails(f"a match with node {k} has a wrong unit or factor")
        e = self.less(z, k, at, units, factor)
        before = self.old.nodes[k].given
        if node.given is not None and before is not None and before.shape[1] == node.given.shape[1]:
            # a coefficient that the same stored numbers give is the same, whatever its rounding
            same = (node.given[at] == before[units]).all(axis=1) & (factor == 1.0) & (e.offset == 0)
            same &= ~(e.matrix != 0).any(axis=1)
            e.radius[same & (self.image(node.terms, node.bias, 0.0).radius[at] == 0)] = 0.0
        low, high = self.ends(self.by_node(e.matrix, e.offset, e.radius))
        size = np.maximum(np.abs(low), np.abs(high))
        if not np.isfinite(size).all():
            raise Fails(f"a unit matched with node {k} is not bounded")
        room = np.where(factor == 1.0, 1.0, 1.0 - 2.0**-50)
        on = (self.lower[k][units] >= 0) & (self.lower[k][units] * factor * room + low >= 0)
        on = on | (not node.relu)
        scale = np.where(on, 1.0, 0.5)
        share, column = self.math.number(scale), self.offsets[k] + units
        matrix = e.matrix * share[:, None]
        own = matrix[np.arange(len(at)), column]
        total = own + self.math.number(factor)
        reach = self._reaches()[k][units]
        tiny = self.math.tiny(1.0 + float(sum(r.sum() for r in self._reaches())))
        rounding = (size > 0) * tiny + self.math.gamma(2) * (own != 0) * reach * np.abs(
            total
        ).astype(np.float64)
        matrix[np.arange(len(at)), column] = total
        z.matrix[at], z.offset[at] = matrix, e.offset * share
        z.radius[at] = (
            np.where(on, e.radius, 0.5 * size + 0.5 * e.radius) * (1 + 2.0**-50) + rounding
        )

    def record_outputs(self, record: Record) -> None:
        """OUT's outputs are IN's up to the stated deviation of each element of each cut."""
        if self.new is None or len(self.relations) != len(self.new.nodes):
            raise Fails("nodes of OUT are missing from the proof")
        self.deviation = self.differences()
        stated = record.arrays["deviation"].astype(np.float64)
        if stated.shape != self.deviation.shape or not np.all(self.deviation <= stated):
            raise Fails("the outputs are not proved to be as close as stated")
        self.deviation = stated

    def differences(self) -> Array:
        """Bounds of |OUT - IN| of all cuts, side by side."""
        old, new = self.old, self.new
        if new is None or old.skeleton != new.skeleton or len(old.cuts) != len(new.cuts):
            raise Fails("the models differ outside their dense ReLU parts")
        found = [np.zeros(0)]
        for before, after in zip(old.cuts, new.cuts, strict=True):
            nodes, units = after.nodes.ravel(), after.units.ravel()
            stacked = [
                (self.relations[s], j) for s, j in zip(nodes.tolist(), units.tolist(), strict=True)
            ]
            matrix = np.array([r.matrix[j] for r, j in stacked]).reshape(len(stacked), -1)
            offset, radius = (
                np.array([r.offset[j] for r, j in stacked]),
                np.array([r.radius[j] for r, j in stacked]),
            )
            column = self.offsets[before.nodes.ravel()] + before.units.ravel()
            rows, reach = np.arange(len(column)), np.concatenate(self._reaches())
            own = matrix[rows, column]
            matrix[rows, column] = own - 1
            radius = (
                radius
                + self.math.gamma(0)
                * (own != 1)
                * np.abs(own - 1).astype(np.float64)
                * reach[column]
            )
            low, high = self.ends(self.by_node(matrix, offset, radius))
            found.append(np.maximum(np.abs(low), np.abs(high)))
        return np.concatenate(found)

    def record_end(self, record: Record) -> None:
        if self.deviation is None:
            raise Fails("the proof ends before the outputs are compared")
        self.complete = True


def halves(box: Box, part: Part, axis: int, cut: float) -> tuple[Part, Part]:
    """The lower and the upper half of a box; together they hold all points of the domain in it."""
    if not 0 <= axis < len(part.lower) or not part.lower[axis] <= cut <= part.upper[axis]:
        raise Fails(f"a box is cut outside of itself, in input {axis}")
    below, above = cut, cut
    if box.integer[axis]:
        below, above = np.floor(cut), np.floor(cut) + 1.0
    for group in box.groups:
        for i in np.flatnonzero(group.members == axis):
            below, above = sorted((group.cold[i], group.hot[i]))
    high, low = part.upper.copy(), part.lower.copy()
    # a half without points is made a face of the box: to bound it is needless, but sound
    high[axis], low[axis] = max(below, part.lower[axis]), min(above, part.upper[axis])
    return replace(part, upper=high), replace(part, lower=low)


def _second_children(axis: list[int]) -> list[int]:
    """For each node of a binary tree in preorder, the place of its second child."""
    second, waiting = [-1] * len(axis), [-1]
    for at, split in enumerate(axis):
        if not waiting:
            raise Fails("the boxes are no tree")
        parent = waiting.pop()
        if parent >= 0:
            second[parent] = at
        if split >= 0:
            waiting += [at, -1]
    if waiting:
        raise Fails("the boxes do not cover the domain")
    return second


def box_of(record: Record) -> Box:
    """The domain that a proof is about."""
    a = record.arrays
    groups = []
    for g in range(int(record.values["groups"])):
        at = a["group"] == g
        groups.append(Group(a["members"][at].astype(np.int64), a["cold"][at], a["hot"][at]))
    return Box(a["lower"], a["upper"], a["integer"] != 0, tuple(groups))


def contains(box: Box, points: Array) -> bool:
    """Whether all points, (m, inputs), are in a domain."""
    inside = (box.lower <= points) & (points <= box.upper)
    inside &= ~box.integer | (points == np.floor(points))
    for group in box.groups:
        at = points[:, group.members]
        hot, cold = at == group.hot, at == group.cold
        others = cold.sum(axis=1)[:, None] - cold  # how many of the other members are cold
        one = (hot & (others == len(group.members) - 1)).any(axis=1)
        inside[:, group.members] &= one[:, None]
    return bool(inside.all())


def covers(outer: Box, inner: Box) -> bool:
    """Whether all points of `inner` are in `outer`, as far as their descriptions show."""
    if outer.lower.shape != inner.lower.shape or np.any(outer.integer & ~inner.integer):
        return False
    known = {_members(group) for group in inner.groups}
    box = np.all(outer.lower <= inner.lower) and np.all(inner.upper <= outer.upper)
    return bool(box) and all(_members(group) in known for group in outer.groups)


def _members(group: Group) -> tuple[tuple[int, float, float], ...]:
    return tuple(
        sorted(zip(group.members.tolist(), group.cold.tolist(), group.hot.tolist(), strict=True))
    )


@dataclass(frozen=True)
class Checked:
    """What was established: the number of units by state, and the deviation of each output
    element."""

    box: Box
    counts: dict[str, int]
    deviation: Array


def check(old: Path, new: Path, proof: Path, box: Box | None = None, exact: bool = False,
          jobs: int = 1) -> Checked:  # fmt: skip
    """Establish every claim of a proof about two models. box: the user's domain (None: the proof's
    own).

    Raises Fails at the first claim that does not hold, Unreadable for files that cannot be read."""
    before, after = read_net(old), read_net(new)
    try:
        with proof.open("rb") as stream:
            return check_records(before, after, read_records(stream), box, exact, jobs)
    except OSError as error:
        raise Unreadable(f"{proof}: {error.strerror}") from None


def check_records(old: Net, new: Net, records: Iterator[Record], box: Box | None = None,
                  exact: bool = False, jobs: int = 1) -> Checked:  # fmt: skip
    """`check`, on models and records in memory."""
    begin = next(records)
    try:
        known = box_of(begin)
        hashes = begin.values["in"], begin.values["out"]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise Unreadable(f"the proof has no proper beginning: {error}") from None
    for net, sha in zip((old, new), hashes, strict=True):
        if net.sha256 != sha:
            raise Fails(f"the proof is about another file: {sha[:16]} is not {net.sha256[:16]}")
    if not (np.isfinite(known.lower).all() and np.all(known.lower <= known.upper)
            and np.isfinite(known.upper).all()):  # fmt: skip
        raise Fails("the proof's domain is empty or not finite")
    if box is not None and not covers(known, box):
        raise Fails("the proof is about a domain that does not contain the given one")
    checker = Checker(old, new, known, Arithmetic(exact), jobs)
    for record in records:
        checker.apply(record)
    if not checker.complete or checker.deviation is None:
        raise Fails("the proof has no end")
    return Checked(known, checker.counts, checker.deviation)


def summary(checked: Checked, given: bool) -> list[str]:
    """What was established, in lines for people. given: whether the user gave the domain."""
    lines = []
    if not given:
        lines.append("the domain was taken from the proof, not from you:")
        ends = zip(checked.box.lower.tolist(), checked.box.upper.tolist(), strict=True)
        lines += [f"  input {i} in [{low!r}, {high!r}]" for i, (low, high) in enumerate(ends)]
        for group in checked.box.groups:
            lines.append(f"  exactly one of inputs {group.members.tolist()} is hot")
    counts = ", ".join(f"{count} {name}" for name, count in checked.counts.items())
    largest = float(checked.deviation.max(initial=0.0))
    return [*lines, f"every claim holds: units {counts}; outputs differ by at most {largest!r}"]


def read_box(path: Path, features: int) -> Box:
    """A domain from {"lower": .., "upper": ..}: numbers, or nested lists of all features; decimals
    are taken exactly.

    For several inputs, {"name": {"lower": .., "upper": ..}, ..} in the order of the model's
    inputs."""
    try:
        text = json.loads(
            path.read_text(encoding="utf-8"), parse_float=Fraction, parse_int=Fraction
        )
        text = text.get("inputs", text)
        parts = [text] if "lower" in text else list(text.values())
        if any(set(part) != {"lower", "upper"} for part in parts):
            raise Unreadable(f"{path}: only lower and upper are read here; use leo check")
        ends = []
        for side, toward in (("lower", -np.inf), ("upper", np.inf)):
            found = [v for p in parts for v in np.array(p[side], dtype=object).ravel().tolist()]
            found = found * features if len(found) == 1 and len(parts) == 1 else found
            near = np.array([float(v) for v in found])
            pairs = list(zip(map(Fraction, near.tolist()), found, strict=True))
            inside = [(f > v) if toward < 0 else (f < v) for f, v in pairs]
            ends.append(np.where(inside, np.nextafter(near, toward), near))
    except (OSError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise Unreadable(f"{path}: {error}") from None
    if len(ends[0]) != features or len(ends[1]) != features:
        raise Unreadable(
            f"{path}: not one lower and one upper bound for each of {features} features"
        )
    return Box(ends[0], ends[1], np.zeros(features, dtype=bool))


def main(arguments: list[str] | None = None) -> int:
    """The checker alone. Exit code 0: every claim holds; 1: one does not; 2: unreadable."""
    parser = argparse.ArgumentParser(prog="python -m leo_cli.proof.checker")
    for name in ("IN.onnx", "OUT.onnx", "PROOF"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--bounds", type=Path)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("-j", "--jobs", type=int, default=1)
    given = parser.parse_args(arguments)
    files = [vars(given)[name] for name in ("IN.onnx", "OUT.onnx", "PROOF")]
    try:
        box = None
        if given.bounds is not None:
            box = read_box(given.bounds, read_net(files[0]).widths[0])
        checked = check(files[0], files[1], files[2], box, given.exact, given.jobs)
    except Fails as failure:
        sys.stderr.write(f"{files[2]}: does not hold: {failure}\n")
        return 1
    except Unreadable as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("\n".join(summary(checked, box is not None)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
