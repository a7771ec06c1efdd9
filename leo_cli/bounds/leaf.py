"""Multipliers for a node whose ReLU phases are all fixed.

There every pre-activation is affine in x, and the bound is the dual of a linear program over a box:
    max over y >= 0 of  phi(y) = c0 - g y + sum_j min over x_j in [l_j, u_j] of (c + y G)_j x_j
for min c x + c0 subject to G x <= g. Subgradients stall at the kinks of phi; a barrier does not
(Boyd & Vandenberghe, Convex Optimization, section 11.3). Over [-1, 1], with weight mu, each inner
minimum becomes
    min over |t| < 1 of  d t - mu log(1 - t^2)   at   t = -d / (mu + q),  q = sqrt(mu^2 + d^2),
smooth in y, and Newton's method follows y(mu) as mu falls. Where the phases exclude each other phi
is unbounded, and the walk stops at a bound of 0. What comes out is only a suggestion, evaluated by
bounds/linear.py like any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.bounds.dual import Dual
from leo_cli.bounds.linear import Relaxed

FALL = 0.2  # factor of mu from one round to the next
ROUNDS, NEWTON_STEPS, HALVINGS = 18, 12, 30


@dataclass(frozen=True)
class LeafProgram:
    """min objective x subject to rows x <= limits over a box: (n,), (m, n), (m,), (n,), (n,)."""

    objective: Floats
    constant: float
    rows: Floats
    limits: Floats
    lower: Floats
    upper: Floats


@dataclass(frozen=True)
class LeafSolution:
    """multipliers: (m,) >= 0. points: (rounds, n) on the way to a minimiser, if there is one: well
    inside the constraints at first, closer to the minimum later."""

    multipliers: Floats
    points: Floats


def solve_leaf(program: LeafProgram) -> LeafSolution:
    """Multipliers that make the dual bound as large as possible, or at least 0."""
    centre = 0.5 * program.lower + 0.5 * program.upper
    radius = 0.5 * program.upper - 0.5 * program.lower
    # the same program over [-1, 1], with a cost and rows of size 1
    with np.errstate(all="ignore"):  # what is not finite is not used
        cost, rows = program.objective * radius, program.rows * radius
        limits = program.limits - program.rows @ centre
        cost_size, row_size = _size(np.abs(cost).sum()), _size(np.abs(rows).sum(axis=1))
        unit = _Unit(cost / cost_size, rows / row_size[:, None], limits / row_size)
        constant = float(program.constant + program.objective @ centre) / float(cost_size)
        y = np.ones(len(limits))
        mu, points = 1.0, []
        for _ in range(ROUNDS):
            for _ in range(NEWTON_STEPS):
                before, y = y, _newton(unit, y, mu)
                # at once: where the phases exclude each other the next step may overflow
                proved = constant + unit.bound(y) > 0.0
                if proved or np.allclose(y, before, rtol=1e-4, atol=0.0):
                    break
            points.append(unit.inner(y, mu)[0])
            if proved:
                break
            mu *= FALL
        multipliers = y * (cost_size / row_size)
    multipliers = np.where(np.isfinite(multipliers), multipliers, 0.0)
    return LeafSolution(multipliers, centre + radius * np.nan_to_num(np.array(points)))


@dataclass(frozen=True)
class _Unit:
    """min cost t subject to rows t <= limits, t in [-1, 1]^n."""

    cost: Floats
    rows: Floats
    limits: Floats

    def inner(self, y: Floats, mu: float) -> tuple[Floats, Floats]:
        """The minimiser t of the smoothed inner problem, and q of the module docstring."""
        d = self.cost + y @ self.rows
        q = np.hypot(mu, d)
        return -d / (mu + q), q

    def bound(self, y: Floats) -> float:
        """The dual bound, not smoothed."""
        return float(-self.limits @ y - np.abs(self.cost + y @ self.rows).sum())

    def smooth(self, y: Floats, mu: float) -> float:
        t, q = self.inner(y, mu)
        room = 2.0 * mu / (mu + q)  # 1 - t^2, without cancellation
        inner = (self.cost + y @ self.rows) @ t - mu * np.log(room).sum()
        return float(inner - self.limits @ y + mu * np.log(y).sum())


def _size(sizes: Floats) -> Floats:
    return np.where((sizes > 0) & np.isfinite(sizes), sizes, 1.0)


def _newton(unit: _Unit, y: Floats, mu: float) -> Floats:
    """One damped Newton step of the smoothed dual."""
    t, q = unit.inner(y, mu)
    gradient = unit.rows @ t - unit.limits + mu / y
    hessian = (unit.rows * (mu / (q * (mu + q)))) @ unit.rows.T + np.diag(mu / y**2)
    if not (np.isfinite(hessian).all() and np.isfinite(gradient).all()):
        return y
    try:
        move = np.linalg.solve(hessian, gradient)
    except np.linalg.LinAlgError:  # singular to rounding: the last y is as good as it gets
        return y
    shrinking = move < 0
    room = float(np.min(-y[shrinking] / move[shrinking], initial=np.inf))
    here, step = unit.smooth(y, mu), min(1.0, 0.9 * room)
    for _ in range(HALVINGS):
        new = y + step * move
        if (new > 0).all() and unit.smooth(new, mu) > here:
            return new
        step *= 0.5
    return y


def leaf_program(
    problem: Relaxed, objective: Floats, dual: Dual, path: tuple[tuple[int, int], ...]
) -> LeafProgram:
    """The linear program of a node whose phases are all fixed: objective z over the part of the
    domain's box in which the units of `path` have their phases. objective: (width of the target,).
    """
    inputs = problem.network.inputs
    # rows of [M | m] with h = M x + m, for each node
    values = [np.hstack([np.eye(inputs), np.zeros((inputs, 1))])]
    pre: list[Floats] = []
    for k, layer in enumerate(problem.network.layers):
        z = np.zeros((layer.width, inputs + 1))
        z[:, -1] = layer.bias
        for term in layer.terms:
            z += term.map.apply(values[term.source].T).T
        pre.append(z)
        relaxation, phase = (
            (problem.relaxations[k], dual.phases[k]) if k < problem.target else (None, None)
        )
        if relaxation is None:
            values.append(z)
            continue
        on = relaxation.slope >= 1.0
        if phase is not None:
            on = np.where(phase[0] != 0, phase[0] > 0, on)
        values.append(z * on[:, None])
    rows, limits = [], []
    for k, unit in path:
        phase = dual.phases[k]
        sign = -1.0 if phase is not None and phase[0, unit] > 0 else 1.0  # sign * z <= 0
        rows.append(sign * pre[k][unit, :-1])
        limits.append(-sign * pre[k][unit, -1])
    form = objective @ pre[problem.target]
    shape = (len(path), inputs)
    return LeafProgram(
        form[:-1],
        float(form[-1]),
        np.reshape(rows, shape),
        np.array(limits),
        problem.domain.lower,
        problem.domain.upper,
    )
