"""Check a proof that one ONNX model equals another on a domain: `python -m leo_cli.proof.checker
IN OUT PROOF --bounds B`. The checker evaluates, it never searches (docs/what-is-proved.md).

It bounds z of every unit of both models with lines of its own choice, or in parts of the domain,
with slopes and multipliers, as the proof says. An upper bound <= 0 makes a unit inactive (h = 0), a
lower bound >= 0 active (h = z). So it bounds how far units and outputs of OUT are from those of IN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from leo_cli.proof.bounding import MORE, Arithmetic, Box, Form, Lines, View, lines_of
from leo_cli.proof.graph import Array, Net, Unreadable

VERSION = 4
BLOCK = 1 << 19  # coefficients of a node that a thread bounds together
MALFORMED = (KeyError, IndexError, ValueError, TypeError, OverflowError, AttributeError)
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

    def ints(self, name: str, columns: int = 0, least: int = 0) -> Array:
        """A list of integers, or columns of them; numpy refuses indices that are too large."""
        found = self.arrays[name].astype(np.int64)
        good = found.shape == (len(found), columns)[: 1 + (columns > 0)] and np.all(found >= least)
        require(good, f'{self.kind}: "{name}" is a table of integers from {least}')
        return found.T

    def floats(self, name: str, shape: tuple[int, ...], most: float = np.inf) -> Array:
        """Numbers in [0, most]; bytes count 255ths."""
        raw = self.arrays[name]
        found = np.asarray(raw / 255.0 if raw.dtype == np.uint8 else raw.astype(np.float64))
        good = found.shape == shape and np.all((found >= 0) & (found <= most))
        require(good, f'{self.kind}: "{name}" has numbers in its range')
        return found


class Checker:
    """Consumes records in order; `apply` raises Fails at the first claim that does not hold."""

    def __init__(self, old: Net, new: Net | None, box: Box, math: Arithmetic, jobs: int = 1
                 ) -> None:  # fmt: skip
        ends, inputs = (box.lower, box.upper, box.integer), old.nodes[0].bias.shape
        require(all(e.shape == inputs for e in ends), "the domain has the model's features")
        grouped = [j for members, _ in box.groups for j in members.tolist()]
        tables = all(values.shape[1:] == members.shape for members, values in box.groups)
        require(tables and len({*grouped}) == len(grouped), "groups are tables, of other features")
        self.old, self.new, self.box, self.math = old, new, box, math
        self.map = ThreadPoolExecutor(jobs).map if jobs > 1 else map
        self.nodes = (new or old).nodes  # those of IN, and what OUT has besides
        self.widths = np.array([len(node.bias) for node in self.nodes])
        self.end = len(old.nodes)  # of the nodes of IN
        self.read = {s for node in self.nodes for s in node.terms}  # others need no bounds
        most = {k: np.full(width, np.inf) for k, width in enumerate(self.widths)}
        self.lower = {k: -high for k, high in most.items()} | {0: box.lower}  # of z, and of x
        self.upper = most | {0: box.upper}
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
            free = np.full(self.widths[self.last], self.last in self.read)
            free[self.matched.get(self.last, [])] = False  # these are bounded by their partners
            units, ends = np.flatnonzero(free), np.full((2, len(free)), np.nan)
            if len(units):
                ends[:, units] = self.bounds((self.last, units, np.ones(len(units))))
                self.tighten(self.last, *ends)
            self.last += 1

    def tighten(self, k: int, low: Any, high: Any) -> None:
        """Take better bounds; what is no number is none."""
        self.view.scales.clear()
        self.lower[k], self.upper[k] = np.fmax(self.lower[k], low), np.fmin(self.upper[k], high)

    def blocks(self, rows: int, bounded: Callable[[slice], Array]) -> Array:
        """Bounds of rows that are found in blocks, on several threads."""
        step = 1 + BLOCK // int(self.widths.max())

        def block(start: int) -> Array:
            with np.errstate(all="ignore"):  # which is a matter of each thread
                return bounded(slice(start, start + step))

        found = (self.map if rows > step else map)(block, range(0, max(rows, 1), step))
        return np.concatenate(list(found), axis=-1)

    def bounds(self, *terms: tuple[int, Array, Array]) -> Array:
        """(2, units) bounds of the sum of factor * z over terms (node, units, factors)."""

        def bounded(at: slice) -> Array:
            forms = (self.view.rows(k, units[at], factors[at]) for k, units, factors in terms)
            low, high = np.split(self.view.least(reduce(self.view.plus, forms).both()), 2)
            return np.stack([low, -high])

        return self.blocks(len(terms[0][1]), bounded)

    def record_tree(self, record: Record) -> None:
        """The next open parts of a tree, the last one first: what is bounded in each, and whether
        it is a leaf, or cut in two. The first record tells up to which node, or `end` for all."""
        if not self.open:
            self.upto, self.open = int(record.values["node"]), [{}]
            require(0 < self.upto <= self.end, "a tree is for a node of IN")
            self.advance(self.upto)
            self.hull: Part = {}  # what holds in all leaves so far
        node, unit, deep = record.ints("parts", 3, -1)
        require(0 < len(node) <= len(self.open), "there are as many open parts")
        parts, leaves = [self.open.pop() for _ in node], []
        self.bound(parts, deep, record)
        cuts = zip(parts, node.tolist(), unit.tolist(), record.arrays["cut"].tolist(), strict=True)
        for part, k, j, x in cuts:
            if k < 0:
                leaves.append(part)
            else:
                self.open += self.halves(part, k, j, x)
        for s in range(1, min(self.upto + 1, self.end)) if leaves else ():
            low, high = self.ends(leaves, s)
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
        require(good, "a part is cut inside")
        whole = k == 0 and self.box.integer[j] and abs(x) < 2.0**53
        left, right = (np.floor(x), np.floor(x) + 1.0) if whole else (x, x)
        # a half without points is made a face of the part: to bound it is needless, but sound
        most, least = high.copy(), low.copy()
        most[j], least[j] = max(min(left, high[j]), low[j]), min(max(right, low[j]), high[j])
        return [{**part, k: (least, high)}, {**part, k: (low, most)}]

    def ends(self, parts: list[Part], k: int) -> tuple[Array, Array]:
        """(parts, width) bounds of z of a node that hold in parts."""
        known = [part.get(k, (self.lower[k], self.upper[k])) for part in parts]
        return np.stack([low for low, _ in known]), np.stack([high for _, high in known])

    def bound(self, parts: list[Part], deep: Array, record: Record) -> None:
        """Bound z in parts: of all units that are unstable there before node `deep`, and of those
        that are asked for, in rows. The first rows (`hints`) may have slopes in place of alpha,
        and multipliers B of z where a part has a phase, so that B z <= 0."""
        row, of, unit, above = record.ints("rows", 4)
        hints, tables = int(record.values["hints"]), dict[str, Array]()
        for k, width in enumerate(self.widths[: self.end]):
            for name, most in (f"slopes{k}", 1.0), (f"multipliers{k}", np.inf):
                if name in record.arrays:
                    tables[name] = record.floats(name, (hints, width), most)
        lines, ends = dict[int, Lines](), {0: self.ends(parts, 0)}
        for k in range(1, max(deep.max(), of.max(initial=0) + 1)):
            low, high = ends[k] = self.ends(parts, k)
            free = (low < 0) & (high > 0) & ((deep > k) & self.nodes[k].relu)[:, None]
            own, (p, j) = np.flatnonzero(of == k), np.nonzero(free)
            up = np.concatenate([p >= 0, p < 0, above[own] == 0])
            hint = np.append(np.full(2 * len(p), -1), np.where(own < hints, own, -1))
            p, j = np.concatenate([p, p, row[own]]), np.concatenate([j, j, unit[own]])
            found = self.in_parts(k, (p, j, up, hint), ends, lines, tables)
            np.maximum.at(low, (p[up], j[up]), found[up])
            np.minimum.at(high, (p[~up], j[~up]), -found[~up])
            for i, part in enumerate(parts if len(p) else ()):
                part[k] = low[i], high[i]
            if self.nodes[k].relu:
                lines[k] = lines_of(low, high)

    def in_parts(self, k: int, rows: Any, ends: Part, lines: Any, tables: Any) -> Array:
        """Lower bounds of z, or of -z, of units of a node in parts. rows: which part, which unit,
        whether z, and where in the tables (or -1)."""

        def bounded(at: slice) -> Array:
            p, j, up, hint = (column[at] for column in rows)
            some = np.flatnonzero(hint >= 0)
            mine = {s: [part.take(p, axis=0) for part in line] for s, line in lines.items()}
            for s, line in mine.items() if len(some) else ():
                alpha, slope, lift = line
                if f"slopes{s}" in tables:
                    given = tables[f"slopes{s}"][hint[some]]
                    alpha[some] = np.where(lift[some] == 0, slope[some], given)
                if f"multipliers{s}" in tables:
                    phase = (ends[s][1] <= 0) - 1.0 * (ends[s][0] >= 0)
                    line.append(np.zeros(alpha.shape))
                    line[-1][some] = tables[f"multipliers{s}"][hint[some]] * phase[p[some]]
            form = self.view.rows(k, j, np.where(up, 1.0, -1.0))
            return self.view.least(form, mine, (ends[0][0][p], ends[0][1][p]))

        return self.blocks(len(rows[0]), bounded)

    def record_verdicts(self, record: Record) -> None:
        """For every unit of IN whether it is inactive (0), active (1), unstable (2: there are
        points of the domain with z < 0 and with z > 0), or nothing is claimed (3)."""
        self.advance(max(self.last, self.end))
        points = record.arrays["points"].astype(np.float64)
        require(points.ndim == 2 and self.box.contains(points), "all points are in the domain")
        found = self.view.at(points, self.end)
        for k in (k for k in range(1, self.end) if self.nodes[k].relu):
            z, error = found[k]
            both = (z > error).any(axis=0) & (z < -error).any(axis=0)
            shown = self.upper[k] <= 0, self.lower[k] >= 0, both, np.ones_like(both)
            states = record.ints(f"states{k}")
            require(states.shape == both.shape, f'"states{k}" has a state of each unit')
            good = np.choose(states, shown)
            require(good.all(), f"{self.nodes[k].name}: the state of unit {np.argmin(good)}")
            for state, name in enumerate(self.counts):
                self.counts[name] += int((states == state).sum())

    def record_match(self, record: Record) -> None:
        """Units of a node, and their partners: units of IN with nearly a multiple of their z. If
        |z - f z_j| <= e, then |h - f h_j| <= e for f > 0; for f < 0, |h - z + f h_j| <= e, as
        h = z + max(-z, 0)."""
        k, of, view = int(record.values["node"]), int(record.values["of"]), self.view
        self.advance(max(self.last, self.end, k))
        require((k == self.last or 0 < k < self.end) and 0 < of < self.end, "nodes can match")
        require(self.nodes[of].relu is self.nodes[k].relu, "both nodes, or none, have a ReLU")
        units, partners = record.ints("pairs", 2)
        factor = record.arrays["factors"].astype(np.float64)
        self.matched[k] = np.concatenate([self.matched.get(k, units[:0]), units])
        single = len(np.unique(self.matched[k])) == len(self.matched[k])
        good = factor.shape == units.shape and np.isfinite(factor).all() and factor.all()
        require(good and single, "each unit has one partner, and a factor")
        low, high = self.bounds((k, units, np.ones(len(units))), (of, partners, -factor))
        ends = np.stack([end[of][partners] * factor for end in (self.lower, self.upper)])
        found = np.full((2, self.widths[k]), np.nan)
        found[0, units] = np.nextafter(np.nextafter(ends.min(axis=0), -np.inf) + low, -np.inf)
        found[1, units] = np.nextafter(np.nextafter(ends.max(axis=0), np.inf) + high, np.inf)
        self.tighten(k, *found)
        error = np.maximum(np.abs(low), np.abs(high))
        # what is active is its own z, and so is what has no ReLU: others stand for it if exactly
        use = (self.nodes[k].relu & (self.lower[k][units] < 0)) | ((error == 0) & (factor > 0))
        use = np.flatnonzero(use & np.isfinite(error))
        units, partners, factor, error = (part[use] for part in (units, partners, factor, error))
        size, opposite = np.abs(factor), 1.0 * (factor < 0)
        mass = size * view.scale(of)[0][partners] + opposite * view.scale(k)[0][units]
        plain = (factor == 1) & (len(np.unique(partners)) == len(units)) & (k != of)
        rounded = (self.math.gamma(len(units)) * mass + self.math.tiny(1.0)) * ~plain
        matrix = (partners[:, None] == np.arange(self.widths[of])) * size[:, None]
        zero = self.math.number(np.zeros(len(units)))
        stand = Form({of: self.math.number(matrix)}, zero, MORE * (error + rounded))
        if opposite.any():
            stand = view.plus(stand, view.rows(k, units, opposite))
        view.matches.setdefault(k, []).append((units, stand))

    def record_outputs(self, record: Record) -> None:
        """OUT's outputs are IN's up to the stated deviation of each element of each cut."""
        found = self.differences()
        stated = record.floats("deviation", found.shape)
        require(np.all(found <= stated), "the outputs are as close as stated")
        self.deviation = stated

    def differences(self) -> Array:
        """Bounds of |OUT - IN| of all cuts, side by side."""
        old, new, found = self.old, self.new or self.old, [np.zeros(0)]
        require(old.skeleton == new.skeleton, "the models are equal outside their dense ReLU parts")
        require(new.nodes[: self.end] == old.nodes, "OUT is read after IN")
        self.advance(len(self.nodes))
        for one, other in zip(old.cuts, new.cuts, strict=True):
            require(one == other or 0 not in (one, other), "the input stays the input")
            units, ones = np.arange(self.widths[one]), np.ones(self.widths[one])
            pair = (other, units, ones), (one, units, -ones)
            found.append(np.abs(self.bounds(*pair)).max(axis=0) if one != other else 0.0 * ones)
        return np.concatenate(found)


def check_records(old: Net, new: Net, records: Iterator[Record], box: Box | None = None,
                  exact: bool = False, jobs: int = 1) -> Checker:  # fmt: skip
    """Establish every claim of a proof about two models, on the user's domain (None: the proof's
    own). Raises Fails at the first claim that does not hold."""
    begin = next(records, Record("", {}))
    try:
        require(begin.kind == "begin" and begin.values["version"] == VERSION, f"version {VERSION}")
        for net, name in ((old, "in"), (new, "out")):
            require(net.sha256 == begin.values[name], f'the proof is about the file "{name}"')
        a, groups = begin.arrays, range(begin.values["groups"])
        tables = tuple((begin.ints(f"members{g}"), a[f"values{g}"].astype(float)) for g in groups)
        known = Box(a["lower"].astype(float), a["upper"].astype(float), a["integer"] != 0, tables)
        finite = np.isfinite(known.upper - known.lower).all()
        require(finite and np.all(known.lower <= known.upper), "the domain is finite, not empty")
    except MALFORMED as error:
        raise Unreadable(f"the proof has no proper beginning: {error}") from None
    checker = Checker(old, new, known, Arithmetic(exact), jobs)
    require(box is None or known.covers(box), "the proof is about all of the given domain")
    for record in records:
        checker.apply(record)
    require(checker.deviation is not None, "the outputs are compared")
    return checker


if __name__ == "__main__":
    from leo_cli.proof.standalone import main

    raise SystemExit(main())
