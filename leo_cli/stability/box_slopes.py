"""Better slopes for a few bounds in boxes.

Where a box leaves few questions open, a few steps of projected ascent on the lower slopes of each
(bounds/slopes.py) often settle them, at the cost of a few rows; without it the box would be cut and
all layers bounded again in both halves. Slopes of the layers' own bounds stay the default ones.

The steps need only the coefficients of the bounds, so they go without their values and rounding
errors: what the search ends with is bounded once by bounds/linear.py. The slopes of all layers lie
side by side in one array, for rows are few and each operation costs more than its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.bounds.adam import BETA1, BETA2, EPSILON
from leo_cli.bounds.linear import Backward, Relaxed, Signed, backward
from leo_cli.bounds.relaxation import Relaxation
from leo_cli.bounds.slopes import forward_relaxed

STEPS = 4
RATE, DECAY = 0.5, 0.8  # step size of slopes, and its factor a step


@dataclass(frozen=True)
class Improved:
    """bound: (m,) proved. alphas: the lower slopes that gave it, for each layer before the target
    (m, units), None without a ReLU."""

    bound: Floats
    alphas: tuple[Floats | None, ...]


def improved(
    problem: Relaxed,
    objective: Signed,
    relaxations: Sequence[Relaxation | None],
    box: tuple[Floats, Floats],
    start: Backward | None = None,
) -> Improved:
    """Lower bounds of sign * z, each in its own box, no worse than with the given relaxations.

    relaxations: (m, units) of each layer before the target. box: (m, inputs) ends. start: the
    bounds with these relaxations, if they are known."""
    if start is None:
        start = backward(problem, objective, relaxations, box=box)
    if all(r is None for r in relaxations):
        return Improved(start.bound, (None,) * len(relaxations))
    slopes = _Slopes(relaxations)
    coefficients: Sequence[Floats] = start.coefficients
    form = start.form
    for step in range(STEPS):
        x = np.where(form > 0, *box)
        z = forward_relaxed(problem, x, coefficients, slopes.chosen)
        slopes.step(z, coefficients, step + 1, RATE * DECAY**step)
        if step + 1 < STEPS:
            coefficients, form = _coefficients(problem, objective, slopes.chosen)
    bound = backward(problem, objective, slopes.chosen, box=box).bound
    better = bound > start.bound
    alphas = tuple(
        None if old is None or new is None else np.where(better[:, None], new.alpha, old.alpha)
        for old, new in zip(relaxations, slopes.chosen, strict=True)
    )
    return Improved(np.where(better, bound, start.bound), alphas)


class _Slopes:
    """The lower slopes of all layers, (m, units of all layers), and the mean and mean square of
    their gradient. chosen: the relaxations with these slopes, which change with them."""

    def __init__(self, relaxations: Sequence[Relaxation | None]) -> None:
        kept = [(k, r) for k, r in enumerate(relaxations) if r is not None]
        ends = np.cumsum([0, *(r.alpha.shape[1] for _, r in kept)]).tolist()
        self.parts = {k: slice(i, j) for (k, _), i, j in zip(kept, ends, ends[1:], strict=False)}
        self.alpha = np.concatenate([r.alpha for _, r in kept], axis=1)
        slope = np.concatenate([r.slope for _, r in kept], axis=1)
        self.free = (slope > 0) & (slope < 1)
        self.mean, self.square = np.zeros_like(slope), np.zeros_like(slope)
        self.chosen = [
            None if r is None else Relaxation(self.alpha[:, self.parts[k]], r.slope, r.intercept)
            for k, r in enumerate(relaxations)
        ]

    def step(
        self, z: Sequence[Floats], coefficients: Sequence[Floats], count: int, rate: float
    ) -> None:
        """One step of Adam (bounds/adam.py), in place."""
        gradient = np.zeros_like(self.alpha)
        for k, part in self.parts.items():
            if coefficients[k].shape == z[k].shape:  # else nobody reads the layer
                np.multiply(np.maximum(coefficients[k], 0.0), z[k], out=gradient[:, part])
        gradient *= self.free
        self.mean += (1 - BETA1) * (gradient - self.mean)
        self.square += (1 - BETA2) * (gradient * gradient - self.square)
        scale = np.sqrt(self.square / (1 - BETA2**count)) + EPSILON
        self.alpha += rate / (1 - BETA1**count) * self.mean / scale
        np.clip(self.alpha, 0.0, 1.0, out=self.alpha)


def _coefficients(
    problem: Relaxed, objective: Signed, chosen: Sequence[Relaxation | None]
) -> tuple[list[Floats], Floats]:
    """The coefficients and the form of bounds/linear.py, without the bounds."""
    layers, target = problem.network.layers, problem.target
    pending: list[Floats | None] = [None] * (target + 1)
    for term in layers[target].terms:
        _add(pending, term.source, term.map.rows(objective.unit) * objective.sign[:, None])
    found = [np.zeros((len(objective), 0))] * target
    for k in range(target - 1, -1, -1):
        a, relaxation = pending[k + 1], chosen[k]
        if a is None:
            continue
        found[k] = p = a
        if relaxation is not None:
            p = np.where(a > 0, relaxation.alpha, relaxation.slope)
            p *= a
        for term in layers[k].terms:
            _add(pending, term.source, term.map.apply_transposed(p))
    form = pending[0]
    return found, np.zeros((len(objective), problem.network.inputs)) if form is None else form


def _add(pending: list[Floats | None], node: int, more: Floats) -> None:
    known = pending[node]
    pending[node] = more if known is None else known + more
