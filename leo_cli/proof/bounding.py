"""The checker's arithmetic: lower bounds of linear forms of a network's values over a domain.

A form is the sum over nodes k of A_k h_k + B_k z_k: one row a bound. `View.least` walks from the
last node to the first. It replaces z by W h + b, and the value h of a ReLU with z in [l, u] by a
line on the safe side:
    a h >= a alpha z       for a >= 0, any alpha in [0, 1] (1 where l >= 0, 0 where u <= 0)
    a h >= a (s z + t)     for a < 0, any s in [0, 1], t >= max(-s l, (1 - s) u) (relu is convex)
What remains over the input has its minimum over the domain in closed form. A unit i may have a
partner j: where |z_i - f z_j| <= e or |z_i + f z_j| <= e, f > 0, also | |z_i| - f |z_j| | <= e, and
h_i = z_i / 2 + f (h_j - z_j / 2) up to e / 2, as h = (z + |z|) / 2; h_i = f h_j if z_i = f z_j.

Errors in float64 (u = 2**-53; Higham, Accuracy and Stability, section 3.1): a sum or product of two
numbers is off by at most u times the result. A product p W of width n is off by at most
gamma_n |p||W|; what is lost of the form is at most gamma |p| m with m = sum |W| H + |b|, H >= |h|
on all of the domain, and nothing where a row of p is a single 1 or -1. gamma() has a factor 2 in
hand for the float sums of the error terms, and `strict` another: proofs are written with strict =
4, so that another order of summation cannot turn them. tiny() is what underflow can lose. With
`exact` all are 0: numbers are fractions, and only final bounds are rounded, outward.
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
_fraction = np.frompyfunc(Fraction, 1, 1)


@dataclass(frozen=True)
class Box:
    """The domain: a box, features that are integers, and disjoint groups of features with the
    values, (choices, features), that they can have together (one-hot ones, for example)."""

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
        values = np.asarray(values)
        if not self.exact:
            return np.asarray(values, np.float64)
        return values if values.dtype == object else np.asarray(_fraction(values), dtype=object)

    def gamma(self, n: int) -> float:
        """2 (n + 2) u, at least twice n u / (1 - n u)."""
        return 0.0 if self.exact else 2.0 * (n + 2) * UNIT * self.strict

    def tiny(self, n: float) -> float:
        return 0.0 if self.exact else 4.0 * n * TINY * self.strict

    def plus(self, a: Array, b: Array) -> tuple[Array, Array]:
        """a + b, and what rounding may lose of each sum."""
        total = a + b
        if self.exact:
            return total, np.zeros(total.shape)
        return total, self.gamma(0) * np.abs(total) * ((a != 0) & (b != 0))

    def down(self, values: Array, error: Array) -> Array:
        """Float64 numbers below values - error, the values where that is 0; -inf for NaN."""
        moved = values - self.number(error)
        found = moved.astype(np.float64)
        over = self.number(found) > moved if self.exact else error != 0
        found = np.where(over, np.nextafter(found, -np.inf), found)
        return np.where(np.isnan(found), -np.inf, found)


@dataclass(frozen=True)
class Match:
    """Units of a node, and their partners among those of `node`. size: e / 2 of the docstring;
    plain: z_i = f z_j."""

    units: Array
    node: int
    partners: Array
    factor: Array
    size: Array
    plain: Array


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
    """A network as far as it is taken in. lower, upper: node -> bounds of z (of x for node 0),
    written by the owner. sizes: as in Form, bounds m of |z| and H of |h|. matches: node -> known
    partners."""

    nodes: list[Node]
    box: Box
    math: Arithmetic
    lower: dict[int, Array]
    upper: dict[int, Array]
    sizes: list[Array] = field(default_factory=list)
    terms: list[dict[int, Array]] = field(default_factory=list)
    bias: list[Array] = field(default_factory=list)
    lines: list[Lines | None] = field(default_factory=list)
    matches: dict[int, list[Match]] = field(default_factory=dict)

    def open(self, k: int) -> None:
        """Take in z of node k, all before being closed."""
        node, size = self.nodes[k], np.abs(self.nodes[k].bias)
        for s, w in node.terms.items():
            size = size + np.abs(w) @ self.sizes[2 * s + 1]
        self.sizes.append(size * MORE)
        self.terms.append({s: self.math.number(w) for s, w in node.terms.items()})
        self.bias.append(self.math.number(node.bias))

    def close(self, k: int) -> None:
        """Take in h of node k; its bounds are final."""
        low, high = self.range(2 * k + 1)
        self.sizes.append(np.maximum(np.abs(low), np.abs(high)))
        relu = self.nodes[k].relu
        self.lines.append(lines_of(self.lower[k], self.upper[k]) if relu else None)

    def range(self, key: int) -> tuple[Array, Array]:
        """Bounds of z or h."""
        low, high = self.lower[key // 2], self.upper[key // 2]
        relu = key % 2 and self.nodes[key // 2].relu
        return (np.fmax(low, 0.0), np.maximum(high, 0.0)) if relu else (low, high)

    def rows(self, key: int, units: Array, sign: Any = 1.0) -> Form:
        """sign * z or h of some units."""
        matrix = np.zeros((len(units), len(self.nodes[key // 2].bias)))
        matrix[np.arange(len(units)), units] = sign
        return {key: self.math.number(matrix)}

    def least(
        self, form: Form, lines: dict[int, Lines], box: tuple[Array, Array] | None = None
    ) -> Array:
        """(m,) lower bounds of a form over the domain, or over the part of it that is in `box`:
        the best of what the ranges of all values give before each step, and in the end.

        lines: node -> (m, width) lines instead of the default ones. box: (m, inputs) ends."""
        math, form, start = self.math, dict(form), max(form)
        error = np.zeros(len(form[start]))
        constant, best = math.number(error), np.full(len(error), -np.inf)
        for key in (key for key in range(start, 1, -1) if key in form):
            if key < start and not lines:
                best = np.maximum(best, self._ranged(form, constant, error, None))
            k, p = key // 2, form.pop(key)
            if key % 2:
                for match in self.matches.get(k, ()):
                    p, lost = self._partners(form, k, p, match)
                    error = error + lost
                chosen, q = lines.get(k, self.lines[k]), p
                if chosen is not None:
                    alpha, slope, lift = (math.number(part) for part in chosen)
                    below = np.minimum(p, 0)
                    q, raised = np.maximum(p, 0) * alpha + below * slope, (below * lift).sum(axis=1)
                    constant, lost = math.plus(constant, raised)
                    error = error + lost + math.gamma(q.shape[1]) * np.abs(raised).astype(float)
                    rounded = (q != p) & (lift != 0)  # a fixed phase is exact
                    size = (rounded * np.abs(q)).astype(float) @ self.sizes[key - 1]
                    tiny = math.tiny(1.0 + 2.0 * self.sizes[key - 1].sum())
                    error = error + math.gamma(0) * size + rounded.any(axis=1) * tiny
                error = error + self._add(form, key - 1, q)
                continue
            single = ((p != 0).sum(axis=1) <= 1) & ((p == 0) | (np.abs(p) == 1)).all(axis=1)
            weight, width = np.abs(p).astype(float) @ self.sizes[key], p.shape[1]
            mass = 1.0 + sum(self.sizes[2 * s + 1].sum() for s in self.terms[k])
            rounding = math.gamma(width) * weight + math.tiny(width * float(mass))
            used, pick = np.flatnonzero((p != 0).any(axis=0)), np.abs(p).argmax(axis=1)
            constant, lost = math.plus(constant, p[:, used] @ self.bias[k][used])
            error = error + lost + ~single * rounding + 2.0 * self.nodes[k].slack * weight
            for s, w in self.terms[k].items():
                copied = single.all()  # then there is nothing to add
                moved = (
                    w[pick] * p[np.arange(len(p)), pick][:, None]
                    if copied
                    else p[:, used] @ w[used]
                )
                error = error + self._add(form, 2 * s + 1, moved)
        return np.asarray(np.maximum(best, self._ranged(form, constant, error, box)))

    def _add(self, form: Form, key: int, values: Array) -> Array | float:
        """Add to coefficients; (m,) what that loses."""
        if key not in form:
            form[key] = values
            return 0.0
        form[key], lost = self.math.plus(form[key], values)
        return np.asarray(lost @ self.sizes[key])

    def _partners(self, form: Form, k: int, p: Array, match: Match) -> tuple[Array, Array]:
        """Replace h of units of node k, with coefficients p, by that of partners: what is left of
        p, and (m,) what that loses."""
        there, number, half = 2 * match.node + 1, self.math.number, 0.5 * ~match.plain
        a, sizes = p[:, match.units], self.sizes[there - 1]
        p, own, theirs = p.copy(), 0 * p, number(np.zeros((len(p), len(sizes))))
        p[:, match.units], own[:, match.units] = number(0), a * number(half)
        theirs[:, match.partners] = a * number(match.factor)
        share = theirs.copy()
        share[:, match.partners] = share[:, match.partners] * number(-half)
        rounded = self.math.gamma(2) * (match.factor != 1.0) * match.factor * sizes[match.partners]
        lost = np.abs(a).astype(float) @ (MORE * (match.size + rounded))
        lost = lost + (lost > 0) * self.math.tiny(len(half) * (1.0 + sizes.sum()))
        if there == 2 * k + 1:
            p, more = self.math.plus(p, theirs)
            lost = lost + more @ self.sizes[there]
        else:
            lost = lost + self._add(form, there, theirs)
        if half.any():
            lost = lost + self._add(form, 2 * k, own) + self._add(form, there - 1, share)
        return p, lost

    def _ranged(self, form: Form, constant: Array, error: Array, box: tuple[Array, Array] | None
                ) -> Array:  # fmt: skip
        """Lower bounds by the ranges of all values; exactly the constant where all else is 0."""
        math, count, total = self.math, 4, constant
        size, touched = np.abs(constant), np.zeros(len(constant), dtype=bool)
        for key, a in form.items():
            low, high = box if box and key == 1 else self.range(key)
            for members, values in self.box.groups if key == 1 and not box else ():
                inside = (low[members] <= values) & (values <= high[members])
                choices, part = math.number(values[inside.all(axis=1)].T), a[:, members]
                total = total + (part @ choices).min(axis=1)
                size = size + (np.abs(part) @ np.abs(choices)).max(axis=1)
                touched |= (part != 0).any(axis=1)
                low, high = low.copy(), high.copy()
                low[members] = high[members] = 0.0
            ends = np.where(a > 0, low, high)
            terms = a * math.number(ends)
            total, size = total + terms.sum(axis=1), size + np.abs(terms).sum(axis=1)
            touched |= ((a != 0) & (ends != 0)).any(axis=1)
            count += a.shape[1] + 2
        rounding = math.gamma(count) * size.astype(float) + math.tiny(count + 4.0)
        return math.down(total, MORE * error + touched * rounding)
