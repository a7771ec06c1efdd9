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
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.bounds.linear import Backward, Relaxed, backward
from leo_cli.bounds.relaxation import Relaxation
from leo_cli.parallel import map_blocks

# decay rates and guard of Adam (Kingma & Ba, arXiv 1412.6980, algorithm 1)
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-12
ELSEWHERE = 1e-6  # weight of what a relaxation may cost away from the minimiser
BLOCK = 256  # rows optimised together
RATE, DECAY = 0.2, 0.95  # step size of slopes, and its factor a step

Array = TypeVar("Array", Floats, NDArray[np.int8])
Phases = NDArray[np.int8]  # 1: z >= 0, -1: z <= 0, 0: open


@dataclass(frozen=True)
class Dual:
    """What a bound is made of, for m rows. For each layer before the target, (m, width) or None
    without a ReLU: phases that a row assumes, lower slopes, and multipliers (None: all zero)."""

    phases: tuple[Phases | None, ...]
    alphas: tuple[Floats | None, ...]
    multipliers: tuple[Floats | None, ...]

    def take(self, rows: Bools | Ints) -> Dual:
        """A copy of some rows."""
        return Dual(
            tuple(None if a is None else a[rows] for a in self.phases),
            tuple(None if a is None else a[rows] for a in self.alphas),
            tuple(None if a is None else a[rows] for a in self.multipliers),
        )

    def put(self, rows: Bools | Ints, other: Dual) -> None:
        """Overwrite slopes and multipliers of some rows."""
        for mine, theirs in zip(self.alphas, other.alphas, strict=True):
            if mine is not None and theirs is not None:
                mine[rows] = theirs
        for mine, theirs in zip(self.multipliers, other.multipliers, strict=True):
            if mine is not None and theirs is not None:
                mine[rows] = theirs


@dataclass(frozen=True)
class Optimised:
    """bound: (m,) proved. dual: what gave it. form, coefficients, minimisers: of that bound (see
    Backward).
    """

    bound: Floats
    dual: Dual
    minimisers: Floats
    gaps: tuple[Floats | None, ...]


def initial(problem: Relaxed, rows: int, phased: bool = False) -> Dual:
    """Default slopes, no phases; with `phased`, room for phases and multipliers."""
    alphas = tuple(
        None if r is None else np.repeat(r.alpha[None], rows, axis=0)
        for r in problem.relaxations[:-1]
    )
    zeros = tuple(None if a is None or not phased else np.zeros_like(a) for a in alphas)
    phases = tuple(None if z is None else np.zeros(z.shape, dtype=np.int8) for z in zeros)
    return Dual(phases, alphas, zeros)


def relaxations_of(problem: Relaxed, dual: Dual) -> list[Relaxation | None]:
    """The relaxation of each row: its slopes, exact where a phase is assumed."""
    out: list[Relaxation | None] = []
    for default, alpha, phase in zip(
        problem.relaxations[:-1], dual.alphas, dual.phases, strict=True
    ):
        if default is None or alpha is None:
            out.append(default)
        elif phase is None:
            out.append(replace(default, alpha=alpha))
        else:
            fixed = phase != 0
            on = (phase > 0).astype(np.float64)
            out.append(
                Relaxation(
                    np.where(fixed, on, alpha),
                    np.where(fixed, on, default.slope),
                    np.where(fixed, 0.0, default.intercept),
                )
            )
    return out


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
    position = np.arange(len(objective))
    dual, ascent = start.take(position), _Ascent(start)
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
            gap = _gap(z[k], current.coefficients[k], chosen[k], free[k])
            known = gaps[k]
            if gap is not None and known is not None:
                known[rows] = gap[better]
    return Optimised(best, best_dual, best_x, tuple(gaps))


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
    return Optimised(
        np.concatenate([part.bound for part in parts]),
        join([part.dual for part in parts]),
        np.concatenate([part.minimisers for part in parts]),
        tuple(_stack(gap) for gap in zip(*(part.gaps for part in parts), strict=True)),
    )


def join(parts: Sequence[Dual]) -> Dual:
    """The rows of all parts, in order."""
    return Dual(
        tuple(_stack(a) for a in zip(*(part.phases for part in parts), strict=True)),
        tuple(_stack(a) for a in zip(*(part.alphas for part in parts), strict=True)),
        tuple(_stack(a) for a in zip(*(part.multipliers for part in parts), strict=True)),
    )


def _stack(arrays: Sequence[Array | None]) -> Array | None:
    kept = [a for a in arrays if a is not None]
    return np.concatenate(kept) if kept else None


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


@dataclass(frozen=True)
class _Moments:
    mean: Floats
    square: Floats

    def take(self, rows: Bools) -> _Moments:
        return _Moments(self.mean[rows], self.square[rows])


class _Ascent:
    """Adam on slopes, projected to [0, 1], and on multipliers, projected to the sign of their
    phase.
    """

    def __init__(self, dual: Dual) -> None:
        self.alphas = [_zeros(a) for a in dual.alphas]
        self.multipliers = [_zeros(a) for a in dual.multipliers]
        self.steps = 0

    def take(self, rows: Bools) -> _Ascent:
        self.alphas = [None if m is None else m.take(rows) for m in self.alphas]
        self.multipliers = [None if m is None else m.take(rows) for m in self.multipliers]
        return self

    def step(
        self,
        dual: Dual,
        z: Sequence[Floats],
        coefficients: Sequence[Floats],
        free: Sequence[Bools | None],
        rate: float,
    ) -> Dual:
        self.steps += 1
        alphas, multipliers = list(dual.alphas), list(dual.multipliers)
        for k, alpha in enumerate(dual.alphas):
            a, moments, may_move = coefficients[k], self.alphas[k], free[k]
            if alpha is None or moments is None or may_move is None or a.shape != z[k].shape:
                continue
            gradient = np.where(may_move, np.maximum(a, 0.0) * z[k], 0.0)
            move = rate * self._direction(moments, gradient)
            alphas[k] = np.clip(alpha + move, 0.0, 1.0)
            phase, extra, more = dual.phases[k], dual.multipliers[k], self.multipliers[k]
            if phase is None or extra is None or more is None:
                continue
            scale = np.abs(a).mean(axis=1, keepdims=True)
            move = rate * scale * self._direction(more, np.where(phase != 0, z[k], 0.0))
            moved = extra + move
            multipliers[k] = np.where(
                phase > 0, np.minimum(moved, 0.0), np.where(phase < 0, np.maximum(moved, 0.0), 0.0)
            )
        return Dual(dual.phases, tuple(alphas), tuple(multipliers))

    def _direction(self, moments: _Moments, gradient: Floats) -> Floats:
        mean, square = moments.mean, moments.square
        mean += (1 - BETA1) * (gradient - mean)
        square += (1 - BETA2) * (gradient * gradient - square)
        scale = np.sqrt(square / (1 - BETA2**self.steps)) + EPSILON
        return np.asarray(mean / (1 - BETA1**self.steps) / scale)


def _zeros(a: Floats | None) -> _Moments | None:
    return None if a is None else _Moments(np.zeros_like(a), np.zeros_like(a))
