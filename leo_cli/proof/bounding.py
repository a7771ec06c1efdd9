"""The checker's arithmetic: lower bounds of linear forms of a network's values over a domain.

`View.least` walks from the last node to the first. It replaces z by W h + b, and the value h of a
ReLU with z in [l, u] by a line on the safe side:
    a h >= a alpha z       for a >= 0, any alpha in [0, 1] (1 where l >= 0, 0 where u <= 0)
    a h >= a (s z + t)     for a < 0, any s in [0, 1], t >= max(-s l, (1 - s) u) (relu is convex)
What remains over the input has its minimum over the domain in closed form. docs/what-is-proved.md
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
Lines = tuple[Array, ...]  # alpha, s, t of the docstring, and perhaps what is added to A z
_fraction = np.frompyfunc(Fraction, 1, 1)


@dataclass(frozen=True)
class Box:
    """The domain. groups: disjoint sets of features, with the values, (choices, features), that
    they can have together (one-hot ones, for example)."""

    lower: Array
    upper: Array
    integer: Array
    groups: tuple[tuple[Array, Array], ...] = ()

    def contains(self, points: Array) -> bool:
        """Whether all points, (m, inputs), are in the domain."""
        inside = (self.lower <= points) & (points <= self.upper)
        inside &= ~self.integer | (points == np.floor(points))
        for members, values in self.groups:
            inside &= (points[:, None, members] == values).all(axis=2).any(axis=1)[:, None]
        return bool(inside.all())

    def covers(self, inner: Box) -> bool:
        """Whether all points of another are in this domain, as far as descriptions show."""
        if self.lower.shape != inner.lower.shape or np.any(self.integer & ~inner.integer):
            return False
        known = [(members.tolist(), values.tolist()) for members, values in inner.groups]
        inside = (self.lower <= inner.lower) & (inner.upper <= self.upper)
        return bool(inside.all()) and all((m.tolist(), v.tolist()) in known for m, v in self.groups)


@dataclass(frozen=True)
class Form:
    """Rows, each constant + the sum over nodes k of parts[k] h_k, up to error."""

    parts: dict[int, Array]
    constant: Array
    error: Array

    def both(self) -> Form:
        """The rows, and then their negatives, without parts that vanish."""
        parts = {k: np.concatenate([a, -a]) for k, a in self.parts.items() if a.any()}
        return Form(parts, np.append(self.constant, -self.constant), np.tile(self.error, 2))


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
    written by the owner. matches: node -> units, and what stands for h of each. scales: known ones,
    which stay valid when bounds get better."""

    nodes: list[Node]
    box: Box
    math: Arithmetic
    lower: dict[int, Array]
    upper: dict[int, Array]
    matches: dict[int, list[tuple[Array, Form]]] = field(default_factory=dict)
    scales: dict[int, tuple[Array, float]] = field(default_factory=dict)

    def range(self, k: int) -> tuple[Array, Array]:
        """Bounds of h."""
        low, high = self.lower[k], self.upper[k]
        return (np.fmax(low, 0.0), np.maximum(high, 0.0)) if self.nodes[k].relu else (low, high)

    def height(self, k: int) -> Array:
        """H: a bound of |h|."""
        return np.maximum(*map(np.abs, self.range(k)))

    def scale(self, k: int) -> tuple[Array, float]:
        """m: a bound of the sum of the sizes of the terms of z; and of what underflow takes from
        each term of a product with z."""
        if k not in self.scales:
            size, mass = np.abs(self.nodes[k].bias), 1.0
            for s, w in self.nodes[k].terms.items():
                size = size + np.abs(w) @ self.height(s) + w.shape[1] * TINY  # the last: underflow
                mass += float(self.height(s).sum())
            mass += float(size.sum())
            slack = 16.0 * TINY * mass if self.nodes[k].slack else 0.0
            self.scales[k] = size * MORE + TINY, self.math.tiny(mass) + slack
        return self.scales[k]

    def rows(self, k: int, units: Array, factor: Array) -> Form:
        """factor * z of some units."""
        (size, tiny), node, math = self.scale(k), self.nodes[k], self.math
        rounded = math.gamma(0) * (np.abs(factor) != 1.0) + 2.0 * node.slack
        error = rounded * np.abs(factor) * size[units] + tiny * (rounded > 0) * (factor != 0)
        scale = math.number(factor)
        parts = {s: scale[:, None] * math.number(w[units]) for s, w in node.terms.items()}
        return Form(parts, scale * math.number(node.bias[units]), error)

    def product(self, k: int, p: Array) -> Form:
        """p z of a node."""
        (size, tiny), node, math, width = self.scale(k), self.nodes[k], self.math, p.shape[1]
        lost, used = math.gamma(width) + 2.0 * node.slack, p.any(axis=0)
        # in this order, as p may be large where sizes are so small that products with them vanish
        error = (np.abs(p).astype(float, copy=False) * lost) @ size + width * tiny * p.any(axis=1)
        p = p[:, used]
        parts = {s: p @ math.number(w[used]) for s, w in node.terms.items()}
        return Form(parts, p @ math.number(node.bias[used]), error)

    def plus(self, one: Form, other: Form) -> Form:
        """The sum of two forms. Only sums of two numbers are rounded, and not if they are 0."""
        parts, error = {**one.parts, **other.parts}, one.error + other.error
        pairs = [(k, one.parts[k], other.parts[k]) for k in one.parts if k in other.parts]
        for k, a, b in pairs:
            parts[k] = a + b
            lost = self.math.gamma(0) * np.abs(parts[k]).astype(float) * ((a != 0) & (b != 0))
            error = error + lost @ self.height(k)
        a, b = one.constant, other.constant
        lost = self.math.gamma(0) * np.abs(a + b).astype(float) * ((a != 0) & (b != 0))
        return Form(parts, a + b, error + lost)

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

    def least(self, form: Form, lines: Any = None, box: tuple[Array, Array] | None = None) -> Array:
        """(m,) lower bounds of a form over the domain, or over the part of it that is in `box`:
        the best of what the ranges of all values give before each step, and in the end.

        lines: node -> (m, width) lines instead of the default ones. box: (m, inputs) ends."""
        math, best = self.math, np.full(len(form.error), -np.inf)
        for k in range(max(form.parts, default=0), 0, -1):
            if k not in form.parts:
                continue
            if not lines:
                best = np.maximum(best, self._ranged(form, None))
            for units, stand in self.matches.get(k, ()):
                form = self._replaced(form, k, units, stand)
            p, rest = form.parts[k], {s: a for s, a in form.parts.items() if s != k}
            form = Form(rest, form.constant, form.error)
            if self.nodes[k].relu:
                chosen = lines[k] if lines else lines_of(self.lower[k], self.upper[k])
                alpha, slope, lift, *more = (math.number(part) for part in chosen)
                raised = (np.minimum(p, 0) * lift).sum(axis=1)
                error = math.gamma(p.shape[1]) * np.abs(raised).astype(float)
                # which underflow may hide; without default lines exact zeros do not matter
                bent = lines is not None or ((p != 0) & (lift != 0)).any(axis=1)
                error = error + p.shape[1] * self.scale(k)[1] * bent
                form = self.plus(form, Form({}, raised, error))
                p = sum(more, p * np.where(p > 0, alpha, slope))
            form = self.plus(form, self.product(k, p))
        return np.asarray(np.maximum(best, self._ranged(form, box)))

    def _replaced(self, form: Form, k: int, units: Array, stand: Form) -> Form:
        """A form without h of some units, for which others stand."""
        a, rest = form.parts[k][:, units], form.parts[k].copy()
        rest[:, units] = self.math.number(0)
        size = np.abs(a).astype(float, copy=False)
        # the error is computed in floats even where numbers are exact
        mass = 1.0 + sum(float(self.height(s).sum()) for s in stand.parts)
        tiny = 16.0 * TINY * len(units) * mass * size[:, stand.error > 0].any(axis=1)
        moved = {s: a @ part for s, part in stand.parts.items()}
        left = Form({**form.parts, k: rest}, form.constant, form.error)
        return self.plus(left, Form(moved, a @ stand.constant, size @ stand.error + tiny))

    def _ranged(self, form: Form, box: tuple[Array, Array] | None) -> Array:
        """Lower bounds by the ranges of all values; exactly the constant where all else is 0."""
        math, count, total = self.math, 4, form.constant
        size, touched = np.abs(total), np.zeros(len(total), dtype=bool)
        for k, a in form.parts.items():
            low, high = box if box and k == 0 else self.range(k)
            for members, values in self.box.groups if k == 0 else ():
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
            total, size = total + terms.sum(axis=1), size + np.abs(terms).sum(axis=1)
            touched |= ((a != 0) & (ends != 0)).any(axis=1)
            count += a.shape[1] + 2
        rounding = math.gamma(count) * size.astype(float) + math.tiny(count + 4.0)
        return math.down(total, MORE * form.error + touched * rounding)
