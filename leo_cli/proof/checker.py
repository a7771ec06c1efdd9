"""Check a proof that one ONNX model equals another on a domain: `python -m leo_cli.proof.checker
IN OUT PROOF --bounds B`. The checker evaluates, it never searches (docs/what-is-proved.md).

It bounds z of every unit of both models with lines of its own choice, or in parts of the domain,
with slopes and multipliers, as the proof says. An upper bound <= 0 makes a unit inactive (h = 0), a
lower bound >= 0 active (h = z). So it bounds how far units and outputs of OUT are from those of IN.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from leo_cli.proof.bounding import MORE, TINY, Arithmetic, Box, Form, Lines, View, lines_of
from leo_cli.proof.graph import Array, Net, Unreadable

VERSION = 3
BLOCK = 512  # rows that a thread bounds together
MALFORMED = (KeyError, IndexError, ValueError, TypeError, OverflowError)
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

    def floats(self, name: str, shape: tuple[int, ...], most: float = np.inf) -> Array:
        """Numbers in [0, most]; bytes count 255ths."""
        raw = self.arrays[name]
        found = np.asarray(raw / 255.0 if raw.dtype == np.uint8 else raw.astype(np.float64))
        good = found.shape == shape and np.all((found >= 0) & (found <= most))
        require(good, f'{self.kind}: "{name}" has numbers in its range')
        return found

    def tables(self, name: str, rows: int, widths: Array, most: float = np.inf) -> dict[int, Array]:
        """node -> (rows, width) numbers in [0, most], of the nodes that have some."""
        some = ((k, width) for k, width in enumerate(widths) if f"{name}{k}" in self.arrays)
        return {k: self.floats(f"{name}{k}", (rows, width), most) for k, width in some}


class Checker:
    """Consumes records in order; `apply` raises Fails at the first claim that does not hold."""

    def __init__(
        self, old: Net, new: Net | None, box: Box, math: Arithmetic, jobs: int = 1
    ) -> None:
        require(len(old.nodes[0].bias) == len(box.lower), "the domain has the model's features")
        self.old, self.new, self.box, self.math = old, new, box, math
        self.map = ThreadPoolExecutor(jobs).map if jobs > 1 else map
        self.nodes = (new or old).nodes  # those of IN, and what OUT has besides
        self.widths = np.array([len(node.bias) for node in self.nodes])
        self.end = len(old.nodes)  # of the nodes of IN
        self.lower, self.upper = {0: box.lower}, {0: box.upper}
        self.view = View(self.nodes, box, math, self.lower, self.upper)
        self.matched: dict[int, Array] = {}  # node -> units that are matched
        self.last = 1  # the open node: z of all before it is bounded
        self.open: list[Part] = []  # parts of the tree that is being read, the next one last
        self.deviation: Array | None = None  # the last thing that is established
        self.counts = {"inactive": 0, "active": 0, "unstable": 0}

    def apply(self, record: Record) -> None:
        """Establish what a record claims."""
        name, done = f"record_{record.kind}", self.deviation is not None
        in_place = hasattr(self, name) and not done and (not self.open or record.kind == "tree")
        require(in_place, f'"{record.kind}" is known, and in its place')
        try:
            with np.errstate(all="ignore"):  # what overflows bounds nothing, see Arithmetic.down
                getattr(self, name)(record)
        except MALFORMED as error:
            raise Fails(f'record "{record.kind}" is malformed: {error}') from error

    def advance(self, k: int) -> None:
        """Bound z of all nodes before k, which is open to trees or matches then."""
        require(self.last <= k <= len(self.nodes), f"node {k} comes in order")
        while self.last < k:
            self.by_lines()
            self.last += 1

    def by_lines(self) -> None:
        """Bound what has no partner in the open node."""
        low, high = np.full((2, self.widths[self.last]), np.nan)
        units = np.setdiff1d(np.arange(len(low)), self.matched.get(self.last, ()))
        low[units], high[units] = self.bounds(self.view.rows(2 * self.last, units))
        self.tighten(self.last, low, high)

    def tighten(self, k: int, low: Any, high: Any) -> None:
        """Take better bounds; what is no number is none."""
        self.view.sizes.clear()
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
        found = self.map(block, [slice(start, start + BLOCK) for start in starts])
        return np.concatenate([np.zeros(0), *found])

    def bounds(self, form: Form) -> tuple[Array, Array]:
        """(rows,) bounds of a form from below, and from above."""
        found = self.least({key: np.concatenate([a, -1 * a]) for key, a in form.items()})
        return found[: len(found) // 2], -found[len(found) // 2 :]

    def record_tree(self, record: Record) -> None:
        """The next open parts of a tree, the last one first: what is bounded in each, and whether
        it is a leaf, or cut in two. The first record tells up to which node, or `end` for all."""
        if not self.open:
            self.upto, self.open = int(record.values["node"]), [{}]
            require(0 < self.upto <= self.end, "a tree is for a node of IN")
            self.advance(self.upto)
            self.hull: Part = {}  # what holds in all leaves so far
            if self.upto < self.end:
                self.tighten(self.upto, *np.full((2, self.widths[self.upto]), np.nan))
        node = record.ints("node", self.end, -1)
        require(0 < len(node) <= len(self.open), "there are as many open parts")
        parts, leaves = [self.open.pop() for _ in node], []
        self.bound(parts, record)
        unit, cut = record.arrays["unit"].tolist(), record.arrays["cut"].tolist()
        for part, k, j, x in zip(parts, node.tolist(), unit, cut, strict=True):
            if k < 0:
                leaves.append(part)
            else:
                self.open += self.halves(part, k, j, x)
        for s in range(1, min(self.upto + 1, self.end)) if leaves else ():
            low, high = self._ends(leaves, s)
            least, most = self.hull.get(s, (np.inf, -np.inf))
            self.hull[s] = np.minimum(least, low.min(axis=0)), np.maximum(most, high.max(axis=0))
        if not self.open:
            for s, ends in self.hull.items():
                self.tighten(s, *ends)
            self.last = self.last if self.upto < self.end else 1

    def halves(self, part: Part, k: int, j: int, x: float) -> list[Part]:
        """The parts of z >= 0 and z <= 0 of a unit (then x is 0), or of x_j from and up to x."""
        low, high = part.get(k, (self.lower[k], self.upper[k]))
        good = np.isfinite(x) if k == 0 else x == 0 and k < self.last and self.nodes[k].relu
        require(good and 0 <= j < len(low), "a part is cut inside")
        left = right = x
        if k == 0 and self.box.integer[j]:
            left, right = np.floor(x), np.floor(x) + 1.0
        # a half without points is made a face of the part: to bound it is needless, but sound
        most, least = high.copy(), low.copy()
        most[j], least[j] = max(min(left, high[j]), low[j]), min(max(right, low[j]), high[j])
        return [{**part, k: (least, high)}, {**part, k: (low, most)}]

    def _ends(self, parts: list[Part], k: int) -> tuple[Array, Array]:
        """(parts, width) bounds of z of a node that hold in parts."""
        known = [part.get(k, (self.lower[k], self.upper[k])) for part in parts]
        return np.stack([low for low, _ in known]), np.stack([high for _, high in known])

    def bound(self, parts: list[Part], record: Record) -> None:
        """Bound z in parts: of all units that are unstable there before node `deep`, and of those
        that are asked for, in rows. The first rows (`hints`) may have slopes in place of alpha,
        and multipliers B of z where a part has a phase, so that B z <= 0."""
        deep, row = record.ints("deep", self.end + 1), record.ints("part", len(parts))
        of = record.ints("of", min(self.last + 1, self.end), 1)
        unit, above = record.ints("units", self.widths[of]), record.arrays["above"] != 0
        require(len(deep) == len(parts) and row.shape == of.shape == above.shape, "rows are whole")
        hints, lines = int(record.values["hints"]), dict[int, Lines]()
        slopes = record.tables("slopes", hints, self.widths[: self.end], 1.0)
        multipliers = record.tables("multipliers", hints, self.widths[: self.end])
        ends = {0: self._ends(parts, 0)}
        for k in range(1, max(deep.max(), of.max(initial=0) + 1)):
            low, high = ends[k] = self._ends(parts, k)
            free = (low < 0) & (high > 0) & ((deep > k) & self.nodes[k].relu)[:, None]
            own, (p, at) = np.flatnonzero(of == k), np.nonzero(free)
            first, up = 2 * len(p), np.concatenate([p >= 0, p < 0, ~above[own]])
            p, at = np.concatenate([p, p, row[own]]), np.concatenate([at, at, unit[own]])
            form = self.view.rows(2 * k, at, np.where(up, 1.0, -1.0))
            mine = {s: [np.take(a, p, axis=0) for a in arrays] for s, arrays in lines.items()}
            some = own[own < hints]
            to = slice(first, first + len(some))
            for s, (alpha, slope, lift) in mine.items() if len(some) else ():
                if s in slopes:
                    alpha[to] = np.where(lift[to] == 0, slope[to], slopes[s][some])
                if s in multipliers:
                    phase = (ends[s][1] <= 0) - 1.0 * (ends[s][0] >= 0)
                    form[2 * s] = self.math.number(np.zeros(alpha.shape))
                    form[2 * s][to] = self.math.number(multipliers[s][some] * phase[p[to]])
            if len(p):
                found = self.least(form, mine, (ends[0][0][p], ends[0][1][p]))
                np.maximum.at(low, (p[up], at[up]), found[up])
                np.minimum.at(high, (p[~up], at[~up]), -found[~up])
                for i, part in enumerate(parts):
                    part[k] = low[i], high[i]
            if self.nodes[k].relu:
                lines[k] = lines_of(low, high)

    def record_verdicts(self, record: Record) -> None:
        """For every unit of IN whether it is inactive (0), active (1), unstable (2: there are
        points of the domain with z < 0 and with z > 0), or nothing is claimed (3)."""
        self.advance(max(self.last, self.end))
        points = record.arrays["points"].astype(np.float64)
        require(points.ndim == 2 and contains(self.box, points), "all points are in the domain")
        found = self.view.at(points, self.end)
        for k in (k for k in range(1, self.end) if self.nodes[k].relu):
            z, error = found[k]
            both = (z > error).any(axis=0) & (z < -error).any(axis=0)
            shown = [self.upper[k] <= 0, self.lower[k] >= 0, both]
            states = record.ints(f"states{k}", 4)
            good = np.choose(states, [*shown, np.ones(len(states), dtype=bool)])
            require(good.all(), f"{self.nodes[k].name}: the state of unit {np.argmin(good)}")
            for state, name in enumerate(self.counts):
                self.counts[name] += int((states == state).sum())

    def record_match(self, record: Record) -> None:
        """Units of a node, and their partners: units of IN with nearly a multiple of their z."""
        k, of = int(record.values["node"]), int(record.values["of"])
        self.advance(max(self.last, self.end, k))
        require((k == self.last or 0 < k < self.end) and 0 < of < self.end, "nodes can match")
        require(self.nodes[of].relu is self.nodes[k].relu, "both nodes, or none, have a ReLU")
        units = record.ints("units", self.widths[k])
        partners = record.ints("partners", self.widths[of])
        factor = record.floats("factors", partners.shape)
        sign = np.where(record.arrays["opposite"] != 0, -1.0, 1.0)
        self.matched[k] = np.concatenate([self.matched.get(k, units[:0]), units])
        good = len(np.unique(self.matched[k])) == len(self.matched[k]) and np.all(factor > 0)
        require(good and units.shape == partners.shape == sign.shape, "a unit has one partner")
        form, other = self.view.rows(2 * k, units), self.view.rows(2 * of, partners, -sign * factor)
        form[2 * of] = form.get(2 * of, 0) + other[2 * of]
        low, high = self.bounds(form)
        ends = np.stack([end[of][partners] * sign * factor for end in (self.lower, self.upper)])
        least, most = np.full((2, self.widths[k]), np.nan)
        least[units] = np.nextafter(np.nextafter(ends.min(axis=0), -np.inf) + low, -np.inf)
        most[units] = np.nextafter(np.nextafter(ends.max(axis=0), np.inf) + high, np.inf)
        self.tighten(k, least, most)
        size = np.maximum(np.abs(low), np.abs(high))
        plain = (size == 0) & (sign > 0)
        # what is active is its own z, and so is what has no ReLU
        use = np.isfinite(size) & (plain | (self.nodes[k].relu & (self.lower[k][units] < 0)))
        units, partners, factor, half = units[use], partners[use], factor[use], 0.5 * ~plain[use]
        single = (factor == 1) & (len(np.unique(partners)) == len(partners)) & (k != of)
        mass = self.view.size(2 * k)[units] + 2.0 * factor * self.view.size(2 * of)[partners]
        rounded = self.math.gamma(len(units)) * ~single * mass  # of sums over units
        moves = self.view.rows(2 * of + 1, partners, factor)
        for key, at, share in ((2 * k, units, half), (2 * of, partners, -half * factor)):
            if half.any():
                moves[key] = moves.get(key, 0) + self.view.rows(key, at, share)[key]
        found = units, moves, MORE * (0.5 * size[use] + TINY * (half > 0) + rounded)
        self.view.matches.setdefault(k, []).append(found)

    def record_outputs(self, record: Record) -> None:
        """OUT's outputs are IN's up to the stated deviation of each element of each cut."""
        found = self.differences()
        stated = record.floats("deviation", found.shape)
        require(np.all(found <= stated), "the outputs are as close as stated")
        self.deviation = stated

    def differences(self) -> Array:
        """Bounds of |OUT - IN| of all cuts, side by side."""
        old, new = self.old, self.new or self.old
        require(old.skeleton == new.skeleton, "the models are equal outside their dense ReLU parts")
        require(new.nodes[: self.end] == old.nodes, "OUT is read after IN")
        self.advance(len(self.nodes))
        form = Form()
        for sign, net in ((-1, old), (1, new)):
            cut = np.concatenate(net.cuts)
            for k in np.unique(cut[:, 0]).tolist():
                at, matrix = cut[:, 0] == k, np.zeros((len(cut), self.widths[k]))
                matrix[np.flatnonzero(at), cut[at, 1]] = sign
                form[2 * k + 1] = form.get(2 * k + 1, 0) + self.math.number(matrix)
        low, high = self.bounds(form)
        return np.maximum(np.abs(low), np.abs(high))


def contains(box: Box, points: Array) -> bool:
    """Whether all points, (m, inputs), are in a domain."""
    inside = (box.lower <= points) & (points <= box.upper)
    inside &= ~box.integer | (points == np.floor(points))
    for members, values in box.groups:
        inside[:, members] &= [[(values == x).all(axis=1).any()] for x in points[:, members]]
    return bool(inside.all())


def box_of(begin: Record) -> Box:
    """The domain that a proof is about. Raises Fails if it is empty or not finite."""
    a, groups = begin.arrays, range(begin.values["groups"])
    tables = tuple((a[f"members{g}"].astype(int), a[f"values{g}"]) for g in groups)
    box = Box(a["lower"], a["upper"], a["integer"] != 0, tables)
    finite = np.isfinite(box.upper - box.lower).all()
    require(finite and np.all(box.lower <= box.upper), "the domain is finite, and not empty")
    return box


def covers(outer: Box, inner: Box) -> bool:
    """Whether all points of `inner` are in `outer`, as far as their descriptions show."""
    if outer.lower.shape != inner.lower.shape or np.any(outer.integer & ~inner.integer):
        return False
    ours, theirs = ([(m.tolist(), v.tolist()) for m, v in box.groups] for box in (outer, inner))
    inside = (outer.lower <= inner.lower) & (inner.upper <= outer.upper)
    return bool(inside.all()) and all(group in theirs for group in ours)


def check_records(old: Net, new: Net, records: Iterator[Record], box: Box | None = None,
                  exact: bool = False, jobs: int = 1) -> Checker:  # fmt: skip
    """Establish every claim of a proof about two models, on the user's domain (None: the proof's
    own). Raises Fails at the first claim that does not hold."""
    begin = next(records)
    try:
        require(begin.kind == "begin" and begin.values["version"] == VERSION, f"version {VERSION}")
        for net, name in ((old, "in"), (new, "out")):
            require(net.sha256 == begin.values[name], f'the proof is about the file "{name}"')
        known = box_of(begin)
    except MALFORMED as error:
        raise Unreadable(f"the proof has no proper beginning: {error}") from None
    require(box is None or covers(known, box), "the proof is about all of the given domain")
    checker = Checker(old, new, known, Arithmetic(exact), jobs)
    for record in records:
        checker.apply(record)
    require(checker.deviation is not None, "the outputs are compared")
    return checker


if __name__ == "__main__":
    from leo_cli.proof.standalone import main

    raise SystemExit(main())
