"""Batches of small linear programs over boxes, by an interior-point method.

    min c v + c0   subject to   G v <= g,   -1 <= v <= 1
with slacks s, multipliers y of the rows, and multipliers p, q of the two ends of the box.
Mehrotra's predictor-corrector steps (SIAM J. Optimization 2, 1992, 575-601) on the normal equations
    (diag(d) + G' diag(y / s) G) dv = r,   d = p / (1 + v) + q / (1 - v),
or on those of their Schur complement, diag(s / y) + G diag(1 / d) G', where there are fewer rows
than variables. Any y >= 0 gives a lower bound, c0 - g y - sum |c + y G|, which grows without limit
where the constraints exclude each other. What comes out is only a suggestion: bounds/linear.py
evaluates it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from leo_cli.arrays import Bools, Floats

ITERATIONS = 40
SAFE = 0.995  # share of the way to the border that a step may go
START = 0.1  # least slack at the start
# all relative to the size of the objective, or of a row
GAP = 1e-9  # where a program counts as solved
NEAR = 1e-3  # where a step that makes the bound worse is a sign of rounding
FEASIBLE = 1e-3  # how far a point may be outside the constraints
SURE = 0.1  # gap, relative to the value, at which a program is seen not to reach 0
REGULAR = 1e-13  # added to the diagonal of the equations, relative to it


@dataclass(frozen=True)
class Programs:
    """min objective v + constant subject to rows v <= limits, lower <= v <= upper.

    objective: (b, n). constant: (b,). rows: (b, m, n). limits: (b, m). lower, upper: (n,).
    """

    objective: Floats
    constant: Floats
    rows: Floats
    limits: Floats
    lower: Floats
    upper: Floats


@dataclass(frozen=True)
class Solutions:
    """multipliers: (b, m) >= 0 of the rows. lower: (b, n) >= 0 of the lower ends of the box.
    points: (b, n) minimisers, as good as they got."""

    multipliers: Floats
    lower: Floats
    points: Floats


def solve(programs: Programs) -> Solutions:
    """Multipliers that make the dual bound at least 0, or else a point that shows that none do.

    A program is left as soon as one of the two is seen."""
    centre = 0.5 * programs.lower + 0.5 * programs.upper
    radius = 0.5 * programs.upper - 0.5 * programs.lower
    with np.errstate(all="ignore"):  # what is not finite is not used
        cost, rows = programs.objective * radius, programs.rows * radius
        limits = programs.limits - programs.rows @ centre
        constant = programs.constant + programs.objective @ centre
        cost_size = _size(np.abs(cost).sum(axis=1))
        row_size = _size(np.sqrt((rows * rows).sum(axis=2)))
        search = _Search(
            _Unit(
                cost / cost_size[:, None],
                constant / cost_size,
                rows / row_size[..., None],
                limits / row_size,
            )
        )
        search.run()
        lower = search.p * cost_size[:, None] / np.where(radius > 0, radius, np.inf)
        return Solutions(
            # steps keep them positive; a proof relies on the sign, whatever rounding does
            np.maximum(np.nan_to_num(search.y * cost_size[:, None] / row_size, posinf=0.0), 0.0),
            np.nan_to_num(lower, posinf=0.0),
            centre + radius * np.clip(np.nan_to_num(search.v), -1.0, 1.0),
        )


@dataclass(frozen=True)
class _Unit:
    """Programs over [-1, 1]: c (b, n), c0 (b,), G (b, m, n), g (b, m)."""

    c: Floats
    c0: Floats
    G: Floats
    g: Floats

    def take(self, rows: Bools) -> _Unit:
        return _Unit(self.c[rows], self.c0[rows], self.G[rows], self.g[rows])


@dataclass(frozen=True)
class _Point:
    """v, p, q: (b, n); s, y: (b, m). A direction has the same parts."""

    v: Floats
    s: Floats
    y: Floats
    p: Floats
    q: Floats

    def take(self, rows: Bools) -> _Point:
        return _Point(*(getattr(self, f.name)[rows] for f in fields(self)))

    def gap(self) -> Floats:
        ends = (1.0 + self.v) * self.p + (1.0 - self.v) * self.q
        return np.asarray((self.s * self.y).sum(axis=1) + ends.sum(axis=1))

    def moved(self, by: _Point, first: Floats, second: Floats) -> _Point:
        """first, second: (b,) lengths of the step for v, s and for the multipliers."""
        a, b = first[:, None], second[:, None]
        return _Point(
            self.v + a * by.v,
            self.s + a * by.s,
            self.y + b * by.y,
            self.p + b * by.p,
            self.q + b * by.q,
        )

    def lengths(self, by: _Point) -> tuple[Floats, Floats]:
        """How far v, s and the multipliers can go until one of them reaches its border."""
        ends = np.minimum(_room(1.0 + self.v, by.v), _room(1.0 - self.v, -by.v))
        first = np.minimum(_room(self.s, by.s), ends)
        second = np.minimum(_room(self.y, by.y), _room(self.p, by.p))
        second = np.minimum(second, _room(self.q, by.q))
        return np.minimum(1.0, SAFE * first), np.minimum(1.0, SAFE * second)


class _Search:
    """The programs that are not done, where they are, and the best of all programs so far."""

    def __init__(self, unit: _Unit) -> None:
        count, m, n = unit.G.shape
        self.unit, self.rows = unit, np.arange(count)
        size = np.full((count, n), 1.0 / max(1, n))
        self.at = _Point(
            np.zeros((count, n)),
            np.maximum(unit.g, START),
            np.full((count, m), 1.0 / max(1, n)),
            size + np.maximum(unit.c, 0.0),
            size - np.minimum(unit.c, 0.0),
        )
        self.bound = np.full(count, -np.inf)
        self.y, self.p, self.v = np.zeros((count, m)), self.at.p.copy(), self.at.v.copy()

    def run(self) -> None:
        for _ in range(ITERATIONS):
            self._record()
            if len(self.rows) == 0:
                return
            self.at = _step(self.unit, self.at)
        self._record()

    def _record(self) -> None:
        """Keep what is better, drop what is done."""
        unit, at = self.unit, self.at
        form = unit.c + _transposed(unit.G, at.y)
        bound = unit.c0 - (unit.g * at.y).sum(axis=1) - np.abs(form).sum(axis=1)
        better = bound > self.bound[self.rows]
        rows = self.rows[better]
        self.bound[rows], self.y[rows], self.p[rows] = bound[better], at.y[better], at.p[better]
        value = unit.c0 + (unit.c * at.v).sum(axis=1)
        outside = np.maximum(_product(unit.G, at.v) - unit.g, 0.0).max(axis=1, initial=0.0)
        feasible = np.isfinite(value) & (outside < FEASIBLE)
        self.v[self.rows[feasible]] = at.v[feasible]
        gap = value - self.bound[self.rows]
        unreachable = (value < 0.0) & (gap < -SURE * value)
        solved = (np.abs(gap) <= GAP) | ((gap < NEAR) & ~better)
        done = (bound >= 0.0) | (feasible & (unreachable | solved)) | ~np.isfinite(bound)
        if done.any():
            self.rows = self.rows[~done]
            self.unit, self.at = unit.take(~done), at.take(~done)


def _step(unit: _Unit, at: _Point) -> _Point:
    """One predictor-corrector step of all programs."""
    below, above = 1.0 + at.v, 1.0 - at.v
    equations = _Normal(unit.G, at.y / at.s, at.p / below + at.q / above)
    dual = unit.c + _transposed(unit.G, at.y) - at.p + at.q
    primal = _product(unit.G, at.v) + at.s - unit.g

    def direction(s: Floats, p: Floats, q: Floats) -> _Point:
        """The Newton step that changes s y by s, (1 + v) p by p and (1 - v) q by q."""
        right = dual + _transposed(unit.G, (s + at.y * primal) / at.s)
        dv = equations.solve(p / below - q / above - right)
        ds = -primal - _product(unit.G, dv)
        dy = (s - at.y * ds) / at.s
        return _Point(dv, ds, dy, (p - at.p * dv) / below, (q + at.q * dv) / above)

    move = direction(-at.s * at.y, -below * at.p, -above * at.q)
    gap = at.gap()
    after = at.moved(move, *at.lengths(move)).gap()
    share = gap / (at.s.shape[1] + 2 * at.v.shape[1])
    mu = (np.clip(after / gap, 0.0, 1.0) ** 3 * share)[:, None]
    move = direction(
        mu - at.s * at.y - move.s * move.y,
        mu - below * at.p - move.v * move.p,
        mu - above * at.q + move.v * move.q,
    )
    return at.moved(move, *at.lengths(move))


class _Normal:
    """The equations (diag(d) + G' diag(w) G) v = r of each program of a batch."""

    def __init__(self, G: Floats, weight: Floats, diagonal: Floats) -> None:
        self.G, self.diagonal = G, diagonal
        self.fewer_rows = G.shape[1] < G.shape[2]
        if self.fewer_rows:
            self.matrix = (G / diagonal[:, None, :]) @ G.transpose(0, 2, 1)
            extra = 1.0 / weight
        else:
            self.matrix = (G.transpose(0, 2, 1) * weight[:, None, :]) @ G
            extra = diagonal
        at = np.arange(self.matrix.shape[1])
        self.matrix[:, at, at] += extra
        self.matrix[:, at, at] *= 1.0 + REGULAR

    def solve(self, right: Floats) -> Floats:
        if not self.fewer_rows:
            return _solved(self.matrix, right)
        scaled = right / self.diagonal
        inner = _solved(self.matrix, _product(self.G, scaled))
        return np.asarray(scaled - _transposed(self.G, inner) / self.diagonal)


def _solved(matrices: Floats, right: Floats) -> Floats:
    """The solution of each system, NaN where it has none."""
    try:
        return np.asarray(np.linalg.solve(matrices, right[..., None])[..., 0])
    except np.linalg.LinAlgError:  # one of them is singular
        return np.stack([_solved_alone(*pair) for pair in zip(matrices, right, strict=True)])


def _solved_alone(matrix: Floats, right: Floats) -> Floats:
    try:
        return np.asarray(np.linalg.solve(matrix, right))
    except np.linalg.LinAlgError:
        return np.full_like(right, np.nan)


def _product(matrices: Floats, vectors: Floats) -> Floats:
    return np.asarray((matrices @ vectors[..., None])[..., 0])


def _transposed(matrices: Floats, vectors: Floats) -> Floats:
    return np.asarray((vectors[..., None, :] @ matrices)[..., 0, :])


def _room(values: Floats, move: Floats) -> Floats:
    """(b,) how many times `move` takes a value of each program to 0."""
    steps = np.where(move < 0, -values / np.where(move < 0, move, -1.0), np.inf)
    return np.asarray(steps.min(axis=1, initial=np.inf))


def _size(sizes: Floats) -> Floats:
    return np.where((sizes > 0) & np.isfinite(sizes), sizes, 1.0)
