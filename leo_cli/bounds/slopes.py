"""Backward linear bounds with optimised slopes and phase multipliers.

The bound of bounds/linear.py is a concave function of the lower slopes alpha and the multipliers B,
so projected (sub)gradient ascent improves it (alpha-CROWN, arXiv 2011.13824; beta-CROWN, arXiv
2103.06624). The gradient needs no automatic differentiation: at the minimiser x* of the last form,
walk forwards through the relaxation that the signs of the coefficients chose (h = alpha z where a
>= 0, s z + t where a < 0); then
    d bound / d alpha_j = max(a_j, 0) z_j,      d bound / d B_j = z_j.
Whatever the search does, each returned bound is evaluated by `backward` and valid by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints, Singles
from leo_cli.bounds.adam import Ascent
from leo_cli.bounds.dual import Dual, join, relaxations_of, stack
from leo_cli.bounds.linear import Backward, Relaxed, backward
from leo_cli.bounds.relaxation import Relaxation
from leo_cli.parallel import map_blocks

ELSEWHERE = 1e-6  # weight of what a relaxation may cost away from the minimiser
BLOCK = 256  # rows optimised together
RATE, DECAY = 0.2, 0.95  # step size of slopes, and its factor a step


@dataclass(frozen=True)
class Optimised:
    """bound: (m,) proved. dual: what gave it. coefficients, minimisers: of that bound (see
    Backward); the latter float64 or float32. values: (m,) of the objective at the minimisers, in
    floats, if known.
    """

    bound: Floats
    dual: Dual
    minimisers: Floats | Singles
    gaps: tuple[Floats | None, ...]
    coefficients: tuple[Floats, ...]
    values: Floats | None = None

    def take(self, rows: Bools | Ints) -> Optimised:
        """A copy of some rows."""
        gaps = tuple(None if gap is None else gap[rows] for gap in self.gaps)
        coefficients = tuple(a[rows] for a in self.coefficients)
        return Optimised(
            self.bound[rows],
            self.dual.take(rows),
            self.minimisers[rows],
            gaps,
            coefficients,
            None if self.values is None else self.values[rows],
        )


def join_optimised(parts: Sequence[Optimised]) -> Optimised:
    """The rows of all parts, in order."""
    return Optimised(
        np.concatenate([part.bound for part in parts]),
        join([part.dual for part in parts]),
        np.concatenate([part.minimisers for part in parts]),
        tuple(stack(gap) for gap in zip(*(part.gaps for part in parts), strict=True)),
        tuple(np.concatenate(a) for a in zip(*(part.coefficients for part in parts), strict=True)),
        stack([part.values for part in parts]),
    )


def optimise(
    problem: Relaxed, objective: Floats, start: Dual, steps: int, rate: float = RATE
) -> Optimised:
    """Raise the lower bounds of `objective` z over the slopes and multipliers of each row.

    objective: (m, width of the target). Rows whose bound has reached 0 are not improved further.
    """
    chosen = relaxations_of(problem, start)
    current = backward(problem, objective, chosen, start.multipliers)
    x = problem.domain.minimiser(current.form)
    best = current.bound.copy()
    best_dual, best_x = start.take(np.arange(len(objective))), x.copy()
    free = [_free(problem, start, k) for k in range(problem.target)]
    z = forward_relaxed(problem, x, current.coefficients, chosen)
    gaps = [_gap(z[k], current.coefficients[k], chosen[k], free[k]) for k in range(problem.target)]
    coefficients = tuple(a.copy() for a in current.coefficients)
    position = np.arange(len(objective))
    dual, ascent = start.take(position), Ascent(start)
    for step in range(steps):
        keep = best[position] < 0.0
        if not keep.any():
            break
        if not keep.all():
            position = position[keep]
            dual, ascent, x = dual.take(keep), ascent.take(keep), x[keep]
            free = [_free(problem, dual, k) for k in range(problem.target)]
            current = _rows(current, keep)
            z = [layer[keep] for layer in z]
        dual = ascent.step(dual, z, current.coefficients, free, rate * DECAY**step)
        chosen = relaxations_of(problem, dual)
        current = backward(problem, objective[position], chosen, dual.multipliers)
        x = problem.domain.minimiser(current.form)
        z = forward_relaxed(problem, x, current.coefficients, chosen)
        better = current.bound > best[position]
        rows = position[better]
        best[rows], best_x[rows] = current.bound[better], x[better]
        best_dual.put(rows, dual.take(better))
        for k in range(problem.target):
            if coefficients[k].size:
                coefficients[k][rows] = current.coefficients[k][better]
            gap = _gap(z[k], current.coefficients[k], chosen[k], free[k])
            known = gaps[k]
            if gap is not None and known is not None:
                known[rows] = gap[better]
    return Optimised(best, best_dual, best_x, tuple(gaps), coefficients)


def optimise_blocks(
    problem: Relaxed,
    objective: Floats,
    start: Dual,
    steps: int,
    jobs: int = 1,
    rate: float = RATE,
) -> Optimised:
    """`optimise`, in blocks of rows on `jobs` threads."""
    rows = [np.arange(i, min(i + BLOCK, len(objective))) for i in range(0, len(objective), BLOCK)]
    if len(rows) <= 1:
        return optimise(problem, objective, start, steps, rate)
    parts = map_blocks(
        lambda block: optimise(problem, objective[block], start.take(block), steps, rate),
        rows,
        jobs,
    )
    return join_optimised(parts)


def forward_relaxed(
    problem: Relaxed,
    x: Floats,
    coefficients: Sequence[Floats],
    relaxations: Sequence[Relaxation | None],
) -> list[Floats]:
    """(m, width) pre-activations of each layer before the target, through the relaxation that each
    row chose.
    """
    values, out = [x], []
    for k, layer in enumerate(problem.network.layers[:-1]):
        z = layer.pre_activation(values)
        out.append(z)
        chosen, a = relaxations[k], coefficients[k]
        if chosen is None or a.shape != z.shape:  # no ReLU, or nobody reads it
            values.append(layer.activate(z))
        else:
            values.append(np.where(a >= 0, chosen.alpha * z, chosen.slope * z + chosen.intercept))
    return out


def _free(problem: Relaxed, dual: Dual, k: int) -> Bools | None:
    """(width,) or (m, width) units whose slope can be chosen."""
    if problem.relaxations[k] is None:
        return None
    free: Bools = (problem.lower[k] < 0) & (problem.upper[k] > 0)
    phase = dual.phases[k]
    return free if phase is None else free & (phase == 0)


def _gap(z: Floats, a: Floats, chosen: Relaxation | None, free: Bools | None) -> Floats | None:
    """(m, width) what the relaxation of each free unit costs at the minimiser: |a| |relaxed h -
    relu(z)|.

    Where it costs nothing there, a tiny share of |a t|, which it may cost elsewhere."""
    if chosen is None or free is None or a.shape != z.shape:
        return None
    relaxed_h = np.where(a >= 0, chosen.alpha * z, chosen.slope * z + chosen.intercept)
    cost = np.abs(a * (relaxed_h - np.maximum(z, 0.0)))
    return np.where(free, cost + ELSEWHERE * np.abs(a) * chosen.intercept, 0.0)


def _rows(result: Backward, keep: Bools) -> Backward:
    return Backward(
        result.bound[keep],
        result.form[keep],
        tuple(a[keep] if len(a) else a for a in result.coefficients),
    )
