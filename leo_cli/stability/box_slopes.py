"""Better slopes for a few bounds in boxes.

Where a box leaves few questions open, a few steps of projected ascent on the lower slopes of each
(bounds/slopes.py) often settle them, at the cost of a few rows; without it the box would be cut and
all layers bounded again in both halves. Slopes of the layers' own bounds stay the default ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.bounds.adam import Ascent
from leo_cli.bounds.dual import Dual
from leo_cli.bounds.linear import Relaxed, Signed, backward
from leo_cli.bounds.relaxation import Relaxation
from leo_cli.bounds.slopes import forward_relaxed

STEPS = 4
RATE, DECAY = 0.3, 0.8  # step size of slopes, and its factor a step


@dataclass(frozen=True)
class Improved:
    """bounds: (steps, m). slopes: of each step, for each layer before the target, (m, units)."""

    bounds: Floats
    slopes: tuple[tuple[Floats | None, ...], ...]

    @property
    def bound(self) -> Floats:
        """(m,) the best of all steps."""
        best: Floats = self.bounds.max(axis=0)
        return best

    @property
    def alphas(self) -> tuple[Floats | None, ...]:
        """The slopes of the best step, for each layer."""
        best = self.bounds.argmax(axis=0)
        rows = np.arange(len(best))
        return tuple(
            None if layer[0] is None else np.stack([a for a in layer if a is not None])[best, rows]
            for layer in zip(*self.slopes, strict=True)
        )


def improved(
    problem: Relaxed,
    objective: Signed,
    relaxations: Sequence[Relaxation | None],
    box: tuple[Floats, Floats],
) -> Improved:
    """Proved lower bounds of sign * z, each in its own box. relaxations: (m, units) of each layer
    before the target. box: (m, inputs) ends."""
    chosen = list(relaxations)
    free = [None if r is None else (r.slope > 0) & (r.slope < 1) for r in chosen]
    alphas = tuple(None if r is None else r.alpha for r in chosen)
    none = (None,) * len(alphas)
    dual = Dual(none, alphas, none)
    ascent = Ascent(dual)
    current = backward(problem, objective, chosen, box=box)
    bounds, slopes = [current.bound], [dual.alphas]
    for step in range(STEPS):
        x = np.where(current.form > 0, *box)
        z = forward_relaxed(problem, x, current.coefficients, chosen)
        dual = ascent.step(dual, z, current.coefficients, free, RATE * DECAY**step)
        chosen = [
            None if r is None or alpha is None else replace(r, alpha=alpha)
            for r, alpha in zip(chosen, dual.alphas, strict=True)
        ]
        current = backward(problem, objective, chosen, box=box)
        bounds.append(current.bound)
        slopes.append(dual.alphas)
    return Improved(np.stack(bounds), tuple(slopes))
