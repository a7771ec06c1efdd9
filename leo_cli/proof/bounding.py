"""The checker's arithmetic: lower bounds of linear forms of a network's values over a domain.

A form is  sum over nodes s of A_s h_s + c, one row a bound, known up to an error e >= 0.
`View.least` walks from the last node to the first and replaces each ReLU value h of a
pre-activation z in [l, u] by a line on the safe side:
    a h >= a alpha z       for a >= 0, any alpha in [0, 1] (1 where l >= 0, 0 where u <= 0)
    a h >= a (s z + t)     for a < 0, any s in [0, 1], t >= max(-s l, (1 - s) u), as relu(z) - s z
    is convex
and z by W h' + b. Where z <= 0 (z >= 0) is assumed, adding B z with B >= 0 (B <= 0) only lowers the
form. What remains over the input has its minimum over the domain in closed form.

Errors in float64 (u = 2**-53; Higham, Accuracy and Stability, section 3.1): a product p W of width
n, accumulated over terms, is off by at most gamma_n |p||W|. The form that goes on is the computed
one, so what was lost is at most gamma |p| m with m = sum |W| H + |b|, H >= |h| on all of the
domain; the rounding of p itself moves p z by as little. gamma() has a factor 2 in hand for the
float sums of the error terms, and `strict` another: proofs are written with strict = 4, so that
another order of summation cannot turn them. tiny() is what underflow can lose. With `exact` all of
these are 0: numbers are dyadic fractions, and only final bounds are rounded, outward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from leo_cli.proof.graph import Array, Net

UNIT, TINY = 2.0**-53, 2.0**-1074
MORE = 1.0 + 2.0**-20  # covers the rounding of a float sum of up to 2**31 non-negative numbers
NO_UNDERFLOW = (
    2.0**-960
)  # products of numbers whose smallest sizes multiply to this do not underflow
Lines = tuple[Array, Array, Array]  # alpha, s, t of the docstring
_fraction, _quotient = np.frompyfunc(Fraction, 1, 1), np.frompyfunc(Fraction, 2, 1)


@dataclass(frozen=True)
class Group:
    """Exactly one member has its value `hot`, all others `cold`."""

    members: Array
    cold: Array
    hot: Array


@dataclass(frozen=True)
class Box:
    """The domain: a box, features that are integers, disjoint one-hot groups."""

    lower: Array
    upper: Array
    integer: Array
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True)
class Arithmetic:
    """Float64 with error terms, or exact dyadic fractions. strict: factor of all error terms."""

    exact: bool = False
    strict: float = 1.0

    def number(self, values: Array) -> Array:
        values = np.asarray(values)
        if not self.exact:
            return np.asarray(values, np.float64)
        return values if values.dtype == object else np.asarray(_fraction(values), dtype=object)

    def gamma(self, n: int) -> float:
        """2 (n + 2) u, at least twice n u / (1 - n u)."""
        return 0.0 if self.exact else 2.0 * (n + 2) * UNIT * self.strict

    def tiny(self, n: float) -> float:
        return 0.0 if self.exact else 4.0 * n * TINY * self.strict

    def product(self, a: Array, b: Array) -> Array:
        """a @ b; where exact, as integers over powers of two."""
        if not self.exact:
            return np.asarray(a @ b)
        (x, e), (y, f) = _integers(a), _integers(b)
        return np.asarray(_quotient(np.asarray(x @ y, dtype=object), e * f), dtype=object)

    def down(self, values: Array) -> Array:
        """Float64 numbers below; minus infinity for NaN."""
        if not self.exact:
            moved = np.nextafter(values, -np.inf)
            return np.where(np.isnan(moved), -np.inf, moved)
        found = values.astype(np.float64)
        return np.where(self.number(found) > values, np.nextafter(found, -np.inf), found)


def _integers(a: Array) -> tuple[Array, int]:
    """(integers, power of two) whose quotients are the entries."""
    scale = max((v.denominator for v in a.ravel().tolist()), default=1)
    whole = [v.numerator * (scale // v.denominator) for v in a.ravel().tolist()]
    return np.array(whole, dtype=object).reshape(a.shape), scale


@dataclass(frozen=True)
class Form:
    """parts: node -> (m, width) coefficients of h of all units. constant: (m,). error: (m,) floats
    >= 0."""

    parts: Mapping[int, Array]
    constant: Array
    error: Array

    def take(self, rows: Array, negated: bool = False) -> Form:
        """Some rows, or what is 0 minus them."""
        sign = -1 if negated else 1  # an integer: a float would make floats of fractions
        parts = {s: sign * a[rows] for s, a in self.parts.items()}
        return Form(parts, sign * self.constant[rows], self.error[rows])


@dataclass(frozen=True)
class Link:
    """In one node, h[unit] = factor * h[partner] (+ z[unit] if opposite) up to `error`, factor >
    0."""

    unit: int
    partner: int
    factor: float
    opposite: bool
    error: float


def default_lines(lower: Array, upper: Array) -> Lines:
    """s = u / (u - l); alpha = 1 where u is larger than -l by more than rounding could tell, else
    0."""
    low, high = np.minimum(lower, 0.0), np.maximum(upper, 0.0)
    wide = high - low
    slope = np.divide(high, wide, out=np.zeros_like(high), where=wide > 0)
    alpha = (high > -low * (1.0 + 2.0**-20)).astype(np.float64)
    return lines_of(alpha, np.clip(slope, 0.0, 1.0), lower, upper)


def lines_of(alpha: Array, slope: Array, lower: Array, upper: Array) -> Lines:
    """Valid lines from any alpha and slope in [0, 1]: exact where the phase is fixed, t rounded
    up."""
    on, off = lower >= 0.0, upper <= 0.0
    alpha = np.where(off, 0.0, np.where(on, 1.0, alpha))
    slope = np.where(off, 0.0, np.where(on, 1.0, slope))
    lift = np.maximum(-slope * lower, (1.0 - slope) * upper) * (1.0 + 16.0 * UNIT) + 4.0 * TINY
    return alpha, slope, np.where(on | off, 0.0, lift)


@dataclass(frozen=True)
class View:
    """A network with bounds of z of its first nodes, without the units among these that are
    inactive.

    lower, upper: node -> bounds of z (of x for node 0), written by the owner before `extend` reads
    them. live: node -> units that are not inactive; terms, bias: restricted to these. reach, sums:
    H and m of the docstring.
    """

    net: Net
    box: Box
    math: Arithmetic
    lower: dict[int, Array]
    upper: dict[int, Array]
    live: list[Array] = field(default_factory=list)
    reach: list[Array] = field(default_factory=list)
    terms: list[dict[int, Array]] = field(default_factory=list)
    bias: list[Array] = field(default_factory=list)
    sums: list[Array] = field(default_factory=list)
    lines: list[Lines | None] = field(default_factory=list)

    def extend(self, count: int) -> None:
        """Take in all nodes before `count`; their bounds are final from here on."""
        for k in range(len(self.live), count):
            node, low, high = self.net.nodes[k], self.lower[k], self.upper[k]
            keep = np.flatnonzero(high > 0) if node.relu else np.arange(len(low))
            low, high = low[keep], high[keep]
            terms = {s: w[np.ix_(keep, self.live[s])] for s, w in node.terms.items()}
            bias = node.bias[keep] if k else np.zeros(len(keep))
            self.sums.append(self._size(terms, bias))
            self.live.append(keep)
            self.reach.append(np.maximum(0.0 if node.relu else np.abs(low), np.abs(high)))
            self.terms.append({s: self.math.number(w) for s, w in terms.items()})
            self.bias.append(self.math.number(bias))
            self.lines.append(default_lines(low, high) if node.relu else None)

    def _size(self, terms: Mapping[int, Array], bias: Array) -> Array:
        return sum((np.abs(w) @ self.reach[s] for s, w in terms.items()), np.abs(bias))

    def _loss(self, k: int, weight: Array) -> Array:
        """What a step at node k with coefficients of sizes `weight` loses."""
        width, slack = len(self.net.nodes[k].bias), self.net.nodes[k].slack
        if self.math.exact and not slack:
            return np.zeros(len(weight))
        relative = self.math.gamma(width + len(self.net.nodes) + 8) + 2.0 * slack
        mass = 1.0 + self.sums[k].sum() + sum(self.reach[s].sum() for s in self.terms[k])
        tiny = weight.any(axis=1) * self.math.tiny((width + 8.0) * float(mass))
        return np.asarray(relative * (weight @ self.sums[k]) + tiny)

    def range(self, s: int) -> tuple[Array, Array]:
        """Bounds of the values of the live units of a node."""
        low, high = self.lower[s][self.live[s]], self.upper[s][self.live[s]]
        return (np.maximum(low, 0.0), high) if self.net.nodes[s].relu else (low, high)

    def rows(self, k: int, units: Array, sign: float = 1.0) -> Form:
        """sign * z of some units of node k, all earlier nodes being taken in."""
        node = self.net.nodes[k]
        terms = {s: w[units] for s, w in node.terms.items()}
        live = {s: w[:, self.live[s]] for s, w in terms.items()}
        error = 2.0 * node.slack * self._size(live, node.bias[units])
        parts = {s: self.math.number(sign * w) for s, w in terms.items()}
        return Form(parts, self.math.number(sign * node.bias[units]), error)

    def interval(self, k: int, sign: float) -> Array:
        """Lower bounds of sign * z of all units of a node; without rounding where all products are
        0."""
        form = self.rows(k, np.arange(len(self.net.nodes[k].bias)), sign)
        live = {s: a[:, self.live[s]] for s, a in form.parts.items()}
        return self._ranged(live, form.constant, form.error)

    def least(
        self,
        form: Form,
        lines: Mapping[int, Lines] | None = None,
        multipliers: Mapping[int, Array] | None = None,
        box: tuple[Array, Array] | None = None,
        links: Mapping[int, tuple[Link, ...]] | None = None,
    ) -> Array:
        """(m,) lower bounds of a form over the domain, or over the part that multipliers and `box`
        describe.

        lines: node -> relaxations of live units, (width,) or (m, width), instead of the default
        ones. box: (m, inputs) ends. links: see Link; with them, bounds by the ranges of all values
        are tried at every node as well."""
        math = self.math
        parts = {s: math.number(a)[:, self.live[s]] for s, a in form.parts.items()}
        constant, error = math.number(form.constant), np.array(form.error, np.float64)
        best = np.full(len(constant), -np.inf)
        if (
            len(parts) > 1
        ):  # what is added to these coefficients later is rounded relative to them as well
            for s, a in parts.items():
                size = np.abs(a).astype(np.float64) @ self.reach[s]
                error = error + math.gamma(len(self.net.nodes)) * size
        for k in range(max(parts, default=0), 0, -1):
            if k not in parts:
                continue
            a = parts.pop(k)
            if not (a != 0).any():
                continue
            extra = (multipliers or {}).get(k)
            if links is not None:
                a, extra, error = self._linked(k, a, links.get(k, ()), error)
                best = np.maximum(best, self._ranged({**parts, k: a}, constant, error))
            chosen = (lines or {}).get(k, self.lines[k])
            p = a
            if chosen is not None:
                alpha, slope, lift = (math.number(part) for part in chosen)
                below = np.minimum(a, 0)
                p = np.maximum(a, 0) * alpha + below * slope
                raised = (below * lift).sum(axis=1)
                constant = constant + raised
                sizes = (a.shape[1] + 4) * np.abs(raised) + np.abs(constant)
                error = error + math.gamma(0) * sizes.astype(np.float64)
            weight = np.abs(p).astype(np.float64)
            if extra is not None:
                p = p + math.number(extra)
                weight = weight + np.abs(extra).astype(np.float64)
            error = error + self._loss(k, weight)
            used = np.flatnonzero((p != 0).any(axis=0))
            constant = constant + math.product(p[:, used], self.bias[k][used])
            error = error + math.gamma(0) * np.abs(constant).astype(np.float64)
            for s, w in self.terms[k].items():
                moved = math.product(p[:, used], w[used])
                parts[s] = parts[s] + moved if s in parts else moved
        return np.asarray(np.maximum(best, self._ranged(parts, constant, error, box)))

    def _linked(
        self, k: int, a: Array, links: tuple[Link, ...], error: Array
    ) -> tuple[Array, Array | None, Array]:
        """Coefficients with those of linked units moved to their partners, and what goes to z of
        opposite ones."""
        if not links:
            return a, None, error
        a, place = a.copy(), {int(j): i for i, j in enumerate(self.live[k])}
        given = self.math.number(np.zeros(a.shape))
        for link in links:
            i, j = place.get(link.unit), place.get(link.partner)
            if i is None or j is None:
                continue  # a unit that is 0 on the domain needs no partner
            size = np.abs(a[:, i]).astype(np.float64)
            if link.opposite:
                given[:, i] = given[:, i] + a[:, i]
            a[:, j] = a[:, j] + a[:, i] * self.math.number(np.array(link.factor))
            a[:, i] = 0 * a[:, i]
            moved = np.abs(a[:, j]).astype(np.float64) + 2.0 * size * link.factor
            error = error + MORE * size * link.error + self.math.gamma(4) * moved * self.reach[k][j]
        return a, given, error

    def _ranged(
        self,
        parts: Mapping[int, Array],
        constant: Array,
        error: Array,
        box: tuple[Array, Array] | None = None,
    ) -> Array:
        """Lower bounds by the ranges of all values; exactly the constant where all products are
        0."""
        math, count, least = self.math, 4, np.inf
        total, size = constant, np.abs(constant)
        touched = np.zeros(len(constant), dtype=bool)
        for k, a in parts.items():
            low, high = (self.box.lower, self.box.upper) if k == 0 else self.range(k)
            if k == 0 and box is not None:
                ends = a * math.number(np.where(a > 0, *box))
                value, weight = ends.sum(axis=1), np.abs(ends).sum(axis=1)
            elif k == 0:
                value, weight = minimum(math, a, self.box)
            else:
                value, weight = extreme(math, a, low, high)
            total, size, count = total + value, size + weight, count + a.shape[1] + 2
            touched |= weight != 0
            least = min(least, smallest(a) * min(smallest(low), smallest(high)))
        if not math.exact:
            error = MORE * error + math.gamma(count) * size * touched
            if box is not None or least < NO_UNDERFLOW:
                error = error + math.tiny(count + 4.0)
        moved = math.down(total - math.number(error))
        return np.where(error == 0, total.astype(np.float64), moved) if not math.exact else moved


def smallest(values: Array) -> float:
    sizes = np.abs(values).astype(np.float64)
    return float(np.min(sizes, initial=np.inf, where=sizes > 0))


def extreme(math: Arithmetic, a: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Sums of the lesser ends of a_j [low_j, high_j], and of their magnitudes: (m,) each."""
    plus, minus = np.maximum(a, 0), np.minimum(a, 0)
    low, high = math.number(low), math.number(high)
    size = math.product(plus, np.abs(low)) - math.product(minus, np.abs(high))
    return math.product(plus, low) + math.product(minus, high), size


def minimum(math: Arithmetic, a: Array, domain: Box) -> tuple[Array, Array]:
    """The minimum of a x over the domain, and the size of its sums: (m,) each.

    A one-hot group gives sum a cold + the least a_j (hot_j - cold_j) of the members that can be
    hot."""
    low, high = domain.lower.copy(), domain.upper.copy()
    for group in domain.groups:
        low[group.members] = high[group.members] = group.cold
    value, size = extreme(math, a, low, high)
    for group in domain.groups:
        low, high = domain.lower[group.members], domain.upper[group.members]
        cold = (low > group.cold) | (group.cold > high)  # members that cannot be cold
        can = (low <= group.hot) & (group.hot <= high) & (cold.sum() == cold)
        at = a[:, group.members[can]]
        hot, cold = at * math.number(group.hot[can]), at * math.number(group.cold[can])
        value = value + (hot - cold).min(axis=1)
        size = size + 4 * (np.abs(hot) + np.abs(cold)).max(axis=1)
    return value, size
