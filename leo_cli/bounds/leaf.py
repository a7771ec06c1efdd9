"""Multipliers for a node whose ReLU phases are all fixed.

There every pre-activation is affine in x, and the bound is the dual of a linear program over a box:
    max over y >= 0 of  phi(y) = c0 - g y + sum_j min over x_j in [l_j, u_j] of d_j x_j,   d = c + y G,
for min c x + c0 subject to G x <= g. Subgradients stall at the kinks of phi; a barrier does not
(Boyd & Vandenberghe, Convex Optimization, section 11.3): with weight mu, each inner minimum becomes smooth,
    min over |t| < r of  d t - mu log(r^2 - t^2)   at   t = -d r^2 / (mu + q),  q = sqrt(mu^2 + d^2 r^2),
and Newton's method follows y(mu) as mu falls. Where the phases exclude each other phi is unbounded, and the walk
stops at a bound of 0. What comes out is only a suggestion, evaluated by bounds/linear.py like any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats

FALL = 0.2  # factor of mu from one round to the next
ROUNDS, NEWTON_STEPS, HALVINGS = 20, 6, 30


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
    """multipliers: (m,) >= 0. point: (n,) close to a minimiser, if there is one."""

    multipliers: Floats
    point: Floats


def solve_leaf(program: LeafProgram) -> LeafSolution:
    """Multipliers that make the dual bound as large as possible, or at least 0."""
    size = np.maximum(np.abs(program.rows).sum(axis=1), np.finfo(np.float64).tiny)
    scaled = program.rows / size[:, None]
    limits = program.limits / size
    centre = 0.5 * (program.lower + program.upper)
    radius = 0.5 * (program.upper - program.lower)
    weight = max(float(np.abs(program.objective) @ radius), np.finfo(np.float64).tiny)
    y = np.full(len(limits), float(np.abs(program.objective).max(initial=0.0)) + 1e-12)
    mu = weight
    point = centre
    for _ in range(ROUNDS):
        for _ in range(NEWTON_STEPS):
            y, point = _newton(program.objective, scaled, limits, centre, radius, y, mu)
        d = program.objective + y @ scaled
        bound = program.constant - limits @ y + d @ centre - np.abs(d) @ radius
        if bound > 0.0:
            break
        mu *= FALL
    return LeafSolution(y / size, point)


def _newton(
    objective: Floats,
    rows: Floats,
    limits: Floats,
    centre: Floats,
    radius: Floats,
    y: Floats,
    mu: float,
) -> tuple[Floats, Floats]:
    """One damped Newton step of the smoothed dual; the new y, and the point x(y) before it."""
    d = objective + y @ rows
    q = np.sqrt(mu * mu + (d * radius) ** 2)
    t = -d * radius**2 / (mu + q)
    gradient = rows @ (centre + t) - limits + mu / y
    curvature = radius**2 * mu / (q * (mu + q))
    hessian = (rows * curvature) @ rows.T + np.diag(mu / y**2)
    move = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
    here = _smooth(objective, rows, limits, centre, radius, y, mu)
    step = 1.0
    for _ in range(HALVINGS):
        new = y + step * move
        if (new > 0).all() and _smooth(objective, rows, limits, centre, radius, new, mu) > here:
            return new, centre + t
        step *= 0.5
    return y, centre + t


def _smooth(
    objective: Floats,
    rows: Floats,
    limits: Floats,
    centre: Floats,
    radius: Floats,
    y: Floats,
    mu: float,
) -> float:
    d = objective + y @ rows
    q = np.sqrt(mu * mu + (d * radius) ** 2)
    t = -d * radius**2 / (mu + q)
    wide = radius > 0
    room = 2.0 * mu * radius[wide] ** 2 / (mu + q[wide])  # r^2 - t^2, without cancellation
    smooth = d @ (centre + t) - mu * float(np.log(room).sum())
    return float(smooth - limits @ y + mu * np.log(y).sum())
