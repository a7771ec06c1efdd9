"""Check a proof that one ONNX model equals another on a domain: `python -m leo_cli.proof.checker
IN OUT PROOF --bounds B`.

The checker evaluates, it never searches (docs/what-is-proved.md, docs/proof-format.md). It joins
the nodes of both models and bounds every pre-activation, node by node, with lines of its own
choice; where the proof gives a tree of parts of the domain, in each part, with the slopes and
multipliers that it gives. What has an upper bound <= 0 is inactive (h = 0), what has a lower bound
>= 0 is active (h = z). A unit of OUT may be matched with a partner in IN: how far apart they are is
a form, which is bounded like any other, and so is, in the end, what OUT's outputs differ from IN's.
It does not matter which rewrite made OUT.
"""

from __future__ import annotations

import json
import sys
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from leo_cli.proof.bounding import MORE, Arithmetic, Box, Form, Lines, Match, View, lines_of
from leo_cli.proof.graph import Array, Net, Unreadable, joined

VERSION = 2
BLOCK = 2048  # rows that a thread bounds together
LARGE = float(np.finfo(np.float64).max)
Part = dict[int, tuple[Array, Array]]  # a part of the domain: bounds of x (0) and z that hold in it


class Fails(Exception):  # noqa: N818 - it reads as a verdict
    """A claim of the proof was not established."""


def require(condition: Any, claim: str) -> None:
    if not condition:
        raise Fails(f"not established: {claim}")


@dataclass(frozen=True)
class Record:
    """One step of a proof: its kind, plain values, and arrays."""

    kind: str
    values: dict[str, Any]
    arrays: dict[str, Array] = field(default_factory=dict)

    def ints(self, name: str, end: int | Array, start: int = 0) -> Array:
        """A list of integers in [start, end)."""
        found = self.arrays[name].astype(np.int64)
        good = found.ndim == 1 and np.all((found >= start) & (found < end))
        require(good, f'{self.kind}: "{name}" is a list of integers in its range')
        return found

    def floats(self, name: str, most: float = LARGE) -> Array:
        """Numbers in [0, most]; bytes count 255ths."""
        raw = self.arrays[name]
        found = np.asarray(raw / 255.0 if raw.dtype == np.uint8 else raw.astype(np.float64))
        require(np.all((found >= 0) & (found <= most)), f'{self.kind}: "{name}" is in its range')
        return found


def read_records(stream: BinaryIO) -> Iterator[Record]:
    """The records of a proof file, "begin" first, each read when it is asked for. Raises
    Unreadable."""
    try:
        with zipfile.ZipFile(stream) as file:
            names = [name for name in file.namelist() if name != "begin"]
            for name in ["begin", *names]:
                with file.open(name) as part:
                    head = json.loads(part.readline())
                    arrays = {a: np.lib.format.read_array(part) for a in head.pop("arrays")}
                yield Record(head.pop("kind"), head, arrays)
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, TypeError, AttributeError,
            EOFError, MemoryError, OSError, NotImplementedError) as error:  # fmt: skip
        raise Unreadable(f"no proof, or cut off: {error}") from None


@dataclass
class Tree:
    """A tree of parts that is being read. inner: whether everything is bounded in every part, else
    what is asked is, in the leaves. asked: node -> (units, 1 or -1 for a lower or upper bound).
    hull: bounds that hold in all leaves so far."""

    inner: bool
    asked: dict[int, tuple[Array, Array]]
    open: list[Part] = field(default_factory=lambda: [{}])
    hull: Part = field(default_factory=dict)


class Checker:
    """Consumes records in order; `apply` raises Fails at the first claim that does not hold."""

    def __init__(
        self, old: Net, new: Net | None, box: Box, math: Arithmetic, jobs: int = 1
    ) -> None:
        good = all(len(net.nodes[0].bias) == len(box.lower) for net in (old, new) if net)
        require(good, f"the models have {len(box.lower)} features, as the domain has")
        self.old, self.new, self.box, self.math = old, new, box, math
        self.pool = ThreadPoolExecutor(jobs)
        self.nodes, self.place = joined(old, new or old)
        self.widths = np.array([len(node.bias) for node in self.nodes])
        self.end = len(old.nodes)  # of the nodes of IN
        self.lower, self.upper = {0: box.lower}, {0: box.upper}
        self.restart()
        self.tree: Tree | None = None
        self.deviation: Array | None = None
        self.complete = False
        self.counts = {"inactive": 0, "active": 0, "unstable": 0}

    def apply(self, record: Record) -> None:
        """Establish what a record claims."""
        step = getattr(self, f"record_{record.kind}", print)
        in_place = (self.tree is not None) is (record.kind == "parts") and not self.complete
        require(step is not print and in_place, f'"{record.kind}" is known, and in its place')
        try:
            with np.errstate(all="ignore"):  # what overflows bounds nothing, see Arithmetic.down
                step(record)
        except (KeyError, IndexError, ValueError, TypeError, OverflowError) as error:
            raise Fails(f'record "{record.kind}" is malformed: {error}') from error

    # Bounds of nodes

    def restart(self) -> None:
        """Begin again at the first node, with the bounds that are known so far."""
        self.view = View(self.nodes, self.box, self.math, self.lower, self.upper)
        self.view.open(0)
        self.last = 0  # the node of which z is bounded, but h is not taken in yet

    def advance(self, k: int) -> None:
        """Bound z of all nodes up to k."""
        require(self.last <= k < len(self.nodes), f"node {k} comes in order")
        while self.last < k:
            self.finish()
            self.last += 1
            self.view.open(self.last)
            nothing = np.full(self.widths[self.last], np.inf)
            self.tighten(self.last, -nothing, nothing)
            if self.last < self.end:
                self.by_lines()

    def finish(self) -> None:
        """Take in h of the last node."""
        if len(self.view.lines) == self.last:
            if self.last >= self.end:  # not before now, when its units are matched
                self.by_lines()
            self.view.close(self.last)

    def by_lines(self) -> None:
        """Bound what is open in the last node, and has no partner."""
        k, matched = self.last, [match.units for match in self.view.matches.get(self.last, ())]
        for sign, side in ((1, self.lower), (-1, self.upper)) if k else ():
            known = (self.lower[k] >= 0) | (self.upper[k] <= 0) if self.nodes[k].relu else False
            units = np.flatnonzero(~(known & np.isfinite(side[k])))
            units = np.setdiff1d(units, np.concatenate([units[:0], *matched]))
            bound = np.full(self.widths[k], -np.inf)
            bound[units] = self.least(self.view.rows(2 * k, units, sign))
            self.tighten(k, *((bound, np.inf) if sign > 0 else (-np.inf, -bound)))

    def tighten(self, k: int, low: Any, high: Any) -> None:
        """Take better bounds; what is no number is none."""
        self.lower[k] = np.fmax(self.lower.get(k, -np.inf), low)
        self.upper[k] = np.fmin(self.upper.get(k, np.inf), high)

    def least(self, form: Form, lines: dict[int, Any] | None = None, box: Any = None) -> Array:
        """`View.least` in blocks of rows, on several threads."""

        def block(at: slice) -> Array:
            mine = {s: tuple(part[at] for part in line) for s, line in (lines or {}).items()}
            ends = (box[0][at], box[1][at]) if box else None
            with np.errstate(all="ignore"):  # which is a matter of each thread
                return self.view.least({s: a[at] for s, a in form.items()}, mine, ends)

        starts = range(0, len(form[max(form)]), BLOCK)
        found = self.pool.map(block, [slice(start, start + BLOCK) for start in starts])
        return np.concatenate([np.zeros(0), *found])

    def bounds(self, form: Form) -> tuple[Array, Array]:
        return self.least(form), -self.least({key: -1 * a for key, a in form.items()})

    # Trees of parts of the domain

    def record_tree(self, record: Record) -> None:
        """Bounds of some units by a tree of parts of the domain; its first parts."""
        inner, nodes = bool(record.values["inner"]), record.ints("nodes", self.end, 1)
        units = record.ints("units", self.widths[nodes])
        sign = np.where(record.arrays["above"] != 0, -1, 1)
        self.advance(self.end - 1 if inner else int(nodes[0]))
        require(inner or np.all(nodes == self.last), "a tree asks for bounds in one node")
        if inner:
            self.finish()
        asked = {int(k): (units[nodes == k], sign[nodes == k]) for k in np.unique(nodes)}
        self.tree = Tree(inner, asked)
        self.record_parts(record)

    def record_parts(self, record: Record) -> None:
        """The next open parts of a tree, the last one first: each a leaf, or cut in two."""
        tree, node = self.tree, record.ints("node", self.end, -1)
        if tree is None or not 0 < len(node) <= len(tree.open):
            raise Fails("there are not as many open parts")
        parts = [tree.open.pop() for _ in node]
        leaves = [part for part, k in zip(parts, node, strict=True) if tree.inner or k < 0]
        self.bound(tree, leaves, record)
        unit, cut = record.arrays["unit"].tolist(), record.arrays["cut"].tolist()
        for part, k, j, x in zip(parts, node.tolist(), unit, cut, strict=True):
            if k >= 0:
                tree.open += self.halves(tree, part, k, j, x)
                continue
            for s, (low, high) in part.items():
                least, most = tree.hull.get(s, (low, high))
                tree.hull[s] = np.minimum(least, low), np.maximum(most, high)
        if not tree.open:
            self.tree = None
            for s, (low, high) in tree.hull.items():
                self.tighten(s, low, high)
            if tree.inner:
                self.restart()

    def halves(self, tree: Tree, part: Part, k: int, j: int, x: float) -> list[Part]:
        """The parts of z >= 0 and z <= 0 of a unit (then x is 0), or of x_j from and up to x."""
        low, high = part.get(k, (self.lower[k], self.upper[k]))
        good = np.isfinite(x) if tree.inner else x == 0 < k < self.last and self.nodes[k].relu
        good = good and (k == 0) is tree.inner and 0 <= j < len(low)
        require(good, f"a part is cut at {x}, in unit {j} of node {k}")
        left = right = x
        if k == 0 and self.box.integer[j]:
            left, right = np.floor(x), np.floor(x) + 1.0
        for members, values in self.box.groups if k == 0 else ():
            for column in values.T[members == j]:
                left = column[column <= x].max(initial=low[j])
                right = column[column > x].min(initial=high[j])
        # a half without points is made a face of the part: to bound it is needless, but sound
        most, least = high.copy(), low.copy()
        most[j], least[j] = max(min(left, high[j]), low[j]), min(max(right, low[j]), high[j])
        return [{**part, k: (least, high)}, {**part, k: (low, most)}]

    def bound(self, tree: Tree, parts: list[Part], record: Record | None) -> None:
        """Find better bounds of z in parts."""
        final, ends, lines = max(tree.asked), Part(), dict[int, Lines]()
        for k in (k for k in range(final + 1) if parts and (k == 0 or self.nodes[k].relu)):
            known = [part.get(k, (self.lower[k], self.upper[k])) for part in parts]
            low, high = ends[k] = np.stack([e[0] for e in known]), np.stack([e[1] for e in known])
            for sign in (1, -1) if k and (tree.inner or k == final) else ():
                units, signs = tree.asked[k] if k == final else (np.arange(self.widths[k]), sign)
                asked = np.flatnonzero(signs == sign + 0 * units)
                p, q = np.nonzero(((low < 0) & (high > 0))[:, units[asked]])
                at, rows = units[asked[q]], p * len(units) + asked[q]
                form = self.view.rows(2 * k, at, sign)
                chosen = {s: tuple(part[p] for part in line) for s, line in lines.items()}
                box = (ends[0][0][p], ends[0][1][p]) if tree.inner else None
                if record and not tree.inner:
                    self.hints(record, len(parts) * len(units), rows, chosen, form,
                               {s: (e[0][p], e[1][p]) for s, e in ends.items()})  # fmt: skip
                better, side = (np.maximum, low) if sign > 0 else (np.minimum, high)
                better.at(side, (p, at), sign * self.least(form, chosen, box))
            if k:
                lines[k] = lines_of(low, high)
        for i, part in enumerate(parts):
            part.update({k: (e[0][i].copy(), e[1][i].copy()) for k, e in ends.items() if k})

    def hints(self, record: Record, count: int, rows: Array, lines: dict[int, Any], form: Form,
              ends: Part) -> None:  # fmt: skip
        """Put slopes and multipliers of a record, in a row for each leaf and question, into lines
        (in place of alpha) and forms (B z with B z <= 0 where a part has a phase)."""
        for name, most in (("slopes", 1.0), ("multipliers", LARGE)):
            if name not in record.arrays:
                continue
            given, nodes = record.floats(name, most), record.ints(f"{name}_nodes", self.last, 1)
            units = record.ints(f"{name}_units", self.widths[nodes])
            require(given.shape == (count, len(nodes)), f"there are {count} rows of {name}")
            for s in np.unique(nodes).tolist():
                at, wide = nodes == s, np.zeros((len(rows), self.widths[s]))
                if name == "slopes":
                    alpha, slope, lift = lines[s]
                    alpha[:, units[at]] = given[rows][:, at]
                    lines[s] = np.where(lift == 0, slope, alpha), slope, lift
                else:
                    wide[:, units[at]] = given[rows][:, at]
                    wide *= (ends[s][1] <= 0) - 1.0 * (ends[s][0] >= 0)
                    form[2 * s] = self.math.number(wide)

    # Verdicts

    def record_verdicts(self, record: Record) -> None:
        """Units of IN that are inactive (0), active (1), or unstable (2): of these there is a point
        of the domain with z < 0 and one with z > 0."""
        self.advance(max(self.last, self.end - 1))
        points = record.arrays["points"].astype(np.float64)
        require(points.ndim == 2 and contains(self.box, points), "all points are in the domain")
        nodes, states = record.ints("nodes", self.end, 1), record.ints("states", 3).tolist()
        units, signs = record.ints("units", self.widths[nodes]), self.signs(points)
        rows = iter(
            zip(record.ints("below", len(points)), record.ints("above", len(points)), strict=True)
        )
        for k, j, state in zip(nodes.tolist(), units.tolist(), states, strict=True):
            good = self.upper[k][j] <= 0 if state == 0 else self.lower[k][j] >= 0
            if state == 2:
                below, above = next(rows)
                good = signs[k][below, j] < 0 and signs[k][above, j] > 0
            name = tuple(self.counts)[state]
            require(good and self.nodes[k].relu, f"{self.nodes[k].name}: unit {j} is {name}")
            self.counts[name] += 1

    def signs(self, points: Array) -> list[Array]:
        """For each node of IN the signs of z at points, (m, width); 0 where rounding hides it."""
        math = self.math
        values, errors, signs = [math.number(points)], [np.zeros(points.shape)], [points]
        for node in self.old.nodes[1:]:
            z = math.number(np.zeros((len(points), 1)) + node.bias)
            size, error = np.abs(node.bias) + np.zeros(z.shape), np.zeros(z.shape)
            for s, w in node.terms.items():
                z = z + values[s] @ math.number(w.T)
                size = size + np.abs(values[s]).astype(float) @ np.abs(w).T
                error = error + MORE * (errors[s] @ np.abs(w).T)
            width = 4 + sum(w.shape[1] for w in node.terms.values())
            error = error + (math.gamma(width) + 2.0 * node.slack) * (size + error)
            errors.append(MORE * error + math.tiny(width * (1.0 + len(errors))))
            signs.append(np.where(z > errors[-1], 1, np.where(z < -errors[-1], -1, 0)))
            values.append(np.maximum(z, 0) if node.relu else z)
        return signs

    # The relation of OUT to IN

    def record_match(self, record: Record) -> None:
        """Units of a node, and their partners: units of IN with nearly a multiple of their z."""
        k, of = int(record.values["node"]), int(record.values["of"])
        self.advance(max(self.last, k, self.end - 1))
        if self.last < self.end:
            self.finish()
        require((k == self.last or 0 < k < self.end) and 0 < of < self.end, "nodes can match")
        units = record.ints("units", self.widths[k])
        partners, factor = record.ints("partners", self.widths[of]), record.floats("factors")
        sign = 1.0 - 2.0 * (record.arrays["opposite"] != 0)
        known = self.view.matches.setdefault(k, [])
        for names in (np.concatenate([units, *(match.units for match in known)]), partners):
            require(len(set(names.tolist())) == len(names), "units are matched once")
        good = np.all(factor > 0) and self.nodes[of].relu is self.nodes[k].relu
        require(good and len(units) == len(partners) == len(factor), "units can match")
        form, other = self.view.rows(2 * k, units), self.view.rows(2 * of, partners, -sign * factor)
        form[2 * of] = form.get(2 * of, 0) + other[2 * of]
        low, high = self.bounds(form)
        size = np.maximum(np.abs(low), np.abs(high))
        ends = np.stack([end[of][partners] * sign * factor for end in (self.lower, self.upper)])
        least, most = np.full((2, self.widths[k]), np.nan)
        least[units] = np.nextafter(np.nextafter(ends.min(axis=0), -np.inf) + low, -np.inf)
        most[units] = np.nextafter(np.nextafter(ends.max(axis=0), np.inf) + high, np.inf)
        self.tighten(k, least, most)
        plain = (size == 0) & (sign > 0)
        # what is active is its own z, and so is what has no ReLU
        use = np.isfinite(size) & (plain | (self.nodes[k].relu & (self.lower[k][units] < 0)))
        chosen = (part[use] for part in (partners, factor, 0.5 * size, plain))
        known.append(Match(units[use], of, *chosen))

    def record_outputs(self, record: Record) -> None:
        """OUT's outputs are IN's up to the stated deviation of each element of each cut."""
        found, stated = self.differences(), record.floats("deviation")
        good = stated.shape == found.shape and np.all(found <= stated)
        require(good, "the outputs are as close as stated")
        self.deviation = stated

    def differences(self) -> Array:
        """Bounds of |OUT - IN| of all cuts, side by side."""
        old, new = self.old, self.new or self.old
        require(old.skeleton == new.skeleton, "the models are equal outside their dense ReLU parts")
        self.advance(len(self.nodes) - 1)
        self.finish()
        before, after = np.concatenate(old.cuts), np.concatenate(new.cuts)
        form, signs = Form(), np.repeat([-1.0, 1.0], [len(before), len(after)])
        nodes = np.concatenate([before[:, 0], np.array(self.place)[after[:, 0]]])
        units = np.concatenate([before[:, 1], after[:, 1]])
        rows = np.concatenate([np.arange(len(before)), np.arange(len(after))])
        for k in np.unique(nodes).tolist():
            matrix = np.zeros((len(before), self.widths[k]))
            at = nodes == k
            np.add.at(matrix, (rows[at], units[at]), signs[at])
            form[2 * k + 1] = self.math.number(matrix)
        low, high = self.bounds(form)
        return np.maximum(np.abs(low), np.abs(high))

    def record_end(self, record: Record) -> None:
        """Nothing follows, and the outputs were compared."""
        require(self.deviation is not None, "the outputs are compared")
        self.complete = True


def contains(box: Box, points: Array) -> bool:
    """Whether all points, (m, inputs), are in a domain."""
    inside = (box.lower <= points) & (points <= box.upper)
    inside &= ~box.integer | (points == np.floor(points))
    for members, values in box.groups:
        inside[:, members] &= [[(values == x).all(axis=1).any()] for x in points[:, members]]
    return bool(inside.all())


def box_of(begin: Record) -> Box:
    """The domain that a proof is about."""
    a = begin.arrays
    groups = [
        (a[f"members{g}"].astype(int), a[f"values{g}"]) for g in range(begin.values["groups"])
    ]
    box = Box(a["lower"], a["upper"], a["integer"] != 0, tuple(groups))
    finite = np.isfinite(box.upper - box.lower).all()
    require(finite and np.all(box.lower <= box.upper), "the domain is finite, and not empty")
    return box


def covers(outer: Box, inner: Box) -> bool:
    """Whether all points of `inner` are in `outer`, as far as their descriptions show."""
    if outer.lower.shape != inner.lower.shape or np.any(outer.integer & ~inner.integer):
        return False
    known = [(members.tolist(), values.tolist()) for members, values in inner.groups]
    groups = all((members.tolist(), values.tolist()) in known for members, values in outer.groups)
    return groups and bool(np.all((outer.lower <= inner.lower) & (inner.upper <= outer.upper)))


def check_records(old: Net, new: Net, records: Iterator[Record], box: Box | None = None,
                  exact: bool = False, jobs: int = 1) -> Checker:  # fmt: skip
    """Establish every claim of a proof about two models, on the user's domain (None: the proof's
    own). Raises Fails at the first claim that does not hold. The result has the domain, the number
    of units by state, and the deviation of each output element."""
    begin = next(records)
    try:
        require(begin.kind == "begin" and begin.values["version"] == VERSION, f"version {VERSION}")
        for net, name in ((old, "in"), (new, "out")):
            require(net.sha256 == begin.values[name], f'the proof is about the file "{name}"')
        known = box_of(begin)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise Unreadable(f"the proof has no proper beginning: {error}") from None
    require(box is None or covers(known, box), "the proof is about all of the given domain")
    checker = Checker(old, new, known, Arithmetic(exact), jobs)
    for record in records:
        checker.apply(record)
    require(checker.complete, "the proof has an end")
    return checker


if __name__ == "__main__":
    from leo_cli.proof.standalone import main

    sys.exit(main())
