"""The checker's arithmetic: lower bounds of linear forms of a network's values over a domain.

A form is the sum over nodes k of A_k h_k + B_k z_k: one row a bound. `View.least` walks from the
last node to the first. It replaces z by W h + b, and the value h of a ReLU with z in [l, u] by a
line on the safe side:
    a h >= a alpha z       for a >= 0, any alpha in [0, 1] (1 where l >= 0, 0 where u <= 0)
    a h >= a (s z + t)     for a < 0, any s in [0, 1], t >= max(-s l, (1 - s) u) (relu is convex)
What remains over the input has its minimum over the domain in closed form. A unit i may have a
partner j, |z_i - f z_j| <= e or |z_i + f z_j| <= e with f > 0: then also | |z_i| - f |z_j| | <= e,
and h_i is z_i / 2 + f (h_j - z_j / 2) up to e / 2, as h = (z + |z|) / 2. docs/what-is-proved.md
explains each error term (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from leo_cli.proof.graph import Array, Node

UNIT, TINY = 2.0**-53, 2.0**-1074
MORE = 1.0 + 2.0**-20  # covers the rounding of a float sum of up to 2**31 non-negative numbers
Form = dict[int, Array]  # 2 k: coefficients of z of node k, (rows, width); 2 k + 1: of h
Lines = tuple[Array, Array, Array]  # alpha, s, t of the docstring
Match = tuple[Array, Form, Array]  # units; what stands for h of each, in rows; up to what error
_fraction = np.frompyfunc(Fraction, 1, 1)


@dataclass(frozen=True)
class Box:
    """The domain. groups: disjoint sets of features, with the values, (choices, features), that
    they can have together (one-hot ones, for example)."""

    lower: Array
    upper: Array
    integer: Array
    groups: tuple[tuple[Array, Array], ...] = ()


@dataclass(frozen=True)
class Arithmetic:
    """Float64 with error terms, or exact fractions. strict: factor of all error terms."""

    exact: bool = False
    strict: float = 1.0

    def number(self, values: Any) -> Array:
        if not self.exact:
            return np.asarray(values, np.float64)
        values = np.asarray(values)
        return values if values.dtype == object else np.asarray(_fraction(values), dtype=object)

    def gamma(self, n: int) -> float:
        """2 (n + 2) u, at least twice n u / (1 - n u)."""
        return 0.0 if self.exact else 2.0 * (n + 2) * UNIT * self.strict

    def tiny(self, n: float) -> float:
        return 0.0 if self.exact else 4.0 * n * TINY * self.strict

    def plus(self, a: Array, b: Array) -> tuple[Array, Array]:
        """a + b, and what rounding may lose of each sum."""
        total = a + b
        some = (a != 0) & (b != 0)
        return total, 0.0 * some if self.exact else self.gamma(0) * np.abs(total) * some

    def down(self, values: Array, error: Array) -> Array:
        """Float64 numbers below values - error, the values where that is 0; -inf for NaN."""
        moved = values - self.number(error)
        found = moved.astype(np.float64)
        over = self.number(found) > moved if self.exact else error != 0
        found = np.where(over, np.nextafter(found, -np.inf), found)
        return np.where(np.isnan(found), -np.inf, found)


def lines_of(lower: Array, upper: Array) -> Lines:
    """Valid lines: s = u / (u - l), alpha = 1 where u is larger than -l by more than rounding could
    tell, else 0; exact where the phase is fixed, t rounded up."""
    low, high = np.minimum(lower, 0.0), np.maximum(upper, 0.0)
    wide, on, off = high - low, lower >= 0.0, upper <= 0.0
    slope = np.clip(np.divide(high, wide, out=np.zeros_like(high), where=wide > 0), 0.0, 1.0)
    alpha = high > -low * (1.0 + 2.0**-20)
    alpha, slope = (np.where(off, 0.0, np.where(on, 1.0, part)) for part in (alpha, slope))
    lift = np.maximum(-slope * lower, (1.0 - slope) * upper) * (1.0 + 16.0 * UNIT) + 4.0 * TINY
    return alpha, slope, np.where(on | off, 0.0, lift)


@dataclass(frozen=True)
class View:
    """A network as far as it is bounded. lower, upper: node -> bounds of z (of x for node 0),
    written by the owner. matches: node -> units that have partners. sizes: known ones, which stay
    valid when bounds get better."""

    nodes: list[Node]
    box: Box
    math: Arithmetic
    lower: dict[int, Array]
    upper: dict[int, Array]
    matches: dict[int, list[Match]] = field(default_factory=dict)
    sizes: dict[int, Array] = field(default_factory=dict)

    def range(self, key: int) -> tuple[Array, Array]:
        """Bounds of z or h, by a key of a form."""
        low, high, relu = self.lower[key // 2], self.upper[key // 2], self.nodes[key // 2].relu
        return (np.fmax(low, 0.0), np.maximum(high, 0.0)) if key % 2 and relu else (low, high)

    def size(self, key: int) -> Array:
        """m of z, or H of h."""
        if key % 2:
            return np.maximum(*map(np.abs, self.range(key)))
        if key not in self.sizes:
            total = np.abs(self.nodes[key // 2].bias)
            for s, w in self.nodes[key // 2].terms.items():
                total = total + np.abs(w) @ self.size(2 * s + 1)
            self.sizes[key] = total * MORE
        return self.sizes[key]

    def rows(self, key: int, units: Array, sign: Any = 1.0) -> Form:
        """sign * z or h of some units."""
        matrix = np.zeros((len(units), len(self.nodes[key // 2].bias)))
        matrix[np.arange(len(units)), units] = sign
        return {key: self.math.number(matrix)}

    def at(self, points: Array, count: int) -> dict[int, tuple[Array, Array]]:
        """z of the first nodes at points, (m, width), and what it may be off by."""
        math, found = self.math, {0: (self.math.number(points), np.zeros(points.shape))}
        for k, node in enumerate(self.nodes[1:count], 1):
            z = math.number(np.zeros((len(points), 1)) + node.bias)
            size, error, width = np.abs(node.bias), np.zeros((len(points), 1)), 4
            for s, w in node.terms.items():
                h = np.maximum(found[s][0], 0) if self.nodes[s].relu else found[s][0]
                z, width = z + h @ math.number(w.T), width + w.shape[1]
                size = size + np.abs(h).astype(float) @ np.abs(w.T)
                error = error + found[s][1] @ np.abs(w.T)
            error = error + (math.gamma(width) + 2.0 * node.slack) * (size + error)
            found[k] = z, MORE * error + math.tiny(width * (1.0 + k))
        return found

    def least(
        self, form: Form, lines: dict[int, Lines], box: tuple[Array, Array] | None = None
    ) -> Array:
        """(m,) lower bounds of a form over the domain, or over the part of it that is in `box`:
        the best of what the ranges of all values give before each step, and in the end.

        lines: node -> (m, width) lines instead of the default ones, for rows that are z of one unit
        of the last node each. box: (m, inputs) ends."""
        math, form, start = self.math, dict(form), max(form)
        error = np.zeros(len(form[start]))
        constant, best = math.number(error), np.full(len(error), -np.inf)
        bent = np.zeros(len(error), dtype=bool)
        for key in (key for key in range(start, 1, -1) if key in form):
            if key < start and key % 2 and not lines:
                best = np.maximum(best, self._ranged(form, constant, error, None))
            k, p = key // 2, form.pop(key)
            width = p.shape[1]
            if key % 2:
                for units, moves, size in self.matches.get(k, ()):
                    a, form[key] = p[:, units], p.copy()
                    form[key][:, units] = math.number(0)
                    error = error + np.abs(a).astype(float) @ size
                    # which is computed in floats even where numbers are exact
                    tiny = 16.0 * TINY * len(units) * (1.0 + sum(self.size(s).sum() for s in moves))
                    error = error + (a[:, size > 0] != 0).any(axis=1) * tiny
                    for s, matrix in moves.items():
                        error = error + self._add(form, s, a @ matrix)
                    p = form.pop(key)
                if self.nodes[k].relu:
                    chosen = lines.get(k) or lines_of(self.lower[k], self.upper[k])
                    alpha, slope, lift = (math.number(part) for part in chosen)
                    raised = (np.minimum(p, 0) * lift).sum(axis=1)
                    constant, lost = math.plus(constant, raised)
                    error = error + lost + math.gamma(width) * np.abs(raised).astype(float)
                    if not lines:
                        bent = ((p != 0) & (lift != 0)).any(axis=1)  # rounded, which counts below
                    p = p * np.where(p > 0, alpha, slope)
                error = error + self._add(form, key - 1, p)
                continue
            node, sizes, used = self.nodes[k], np.abs(p).astype(float, copy=False), slice(None)
            single, weight = np.full(len(p), key == start), sizes @ self.size(key)
            if not lines:  # else rows start as one unit each, and are looked at no closer
                some = p != 0
                count, used = some.sum(axis=1), some.any(axis=0)
                single = ~bent & (count <= 1) & (sizes.sum(axis=1) == count)
                bent = bent & False
            mass = 1.0 + sum(self.size(s).sum() for s in (key, *(2 * s + 1 for s in node.terms)))
            rounding = math.gamma(width) * weight + math.tiny(width * float(mass))
            slack = 2.0 * node.slack * weight + 16.0 * TINY * sizes.any(axis=1) * bool(node.slack)
            if single.all():  # there is nothing to add
                pick = sizes.argmax(axis=1)
                own = p[np.arange(len(p)), pick][:, None]
            p = p[:, used]
            constant, lost = math.plus(constant, p @ math.number(node.bias)[used])
            error = error + lost + ~single * rounding + slack
            for s, w in node.terms.items():
                moved = own * math.number(w[pick]) if single.all() else p @ math.number(w[used])
                error = error + self._add(form, 2 * s + 1, moved)
        return np.asarray(np.maximum(best, self._ranged(form, constant, error, box)))

    def _add(self, form: Form, key: int, values: Array) -> Array | float:
        """Add to coefficients; (m,) what that loses."""
        if key not in form:
            form[key] = values
            return 0.0
        form[key], lost = self.math.plus(form[key], values)
        return np.asarray(lost @ self.size(key))

    def _ranged(self, form: Form, constant: Array, error: Array, box: tuple[Array, Array] | None
                ) -> Array:  # fmt: skip
        """Lower bounds by the ranges of all values; exactly the constant where all else is 0."""
        math, count, total = self.math, 4, constant
        size, touched = np.abs(constant), np.zeros(len(constant), dtype=bool)
        for key, a in form.items():
            low, high = box if box and key == 1 else self.range(key)
            for members, values in self.box.groups if key == 1 else ():
                least, most = low[..., None, members], high[..., None, members]
                inside = ((least <= values) & (values <= most)).all(axis=-1)
                inside = inside | ~inside.any(axis=-1, keepdims=True)  # a part without points
                choices, part = math.number(values.T), a[:, members]
                total = total + np.where(inside, part @ choices, np.inf).min(axis=1)
                size = size + (np.abs(part) @ np.abs(choices)).max(axis=1)
                touched |= (part != 0).any(axis=1)
                low, high = low.copy(), high.copy()
                low[..., members] = high[..., members] = 0.0
            ends = np.where(a > 0, low, high)
            terms = a * math.number(ends)
            total, sizes = total + terms.sum(axis=1), np.abs(terms).sum(axis=1)
            size, touched = size + sizes, touched | (sizes != 0)
            rest = np.flatnonzero(~touched)  # 0, or lost to underflow
            touched[rest] = ((a[rest] != 0) & (ends[rest] != 0)).any(axis=1)
            count += a.shape[1] + 2
        rounding = math.gamma(count) * size.astype(float) + math.tiny(count + 4.0)
        return math.down(total, MORE * error + touched * rounding)
