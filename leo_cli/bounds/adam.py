"""Projected ascent on slopes and multipliers with Adam's step (arXiv 1412.6980, algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Bools, Floats
from leo_cli.bounds.dual import Dual

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-12  # decay rates and guard of the paper


@dataclass(frozen=True)
class Moments:
    mean: Floats
    square: Floats

    def take(self, rows: Bools) -> Moments:
        return Moments(self.mean[rows], self.square[rows])


class Ascent:
    """Adam on slopes, projected to [0, 1], and on multipliers, projected to the sign of their
    phase.
    """

    def __init__(self, dual: Dual) -> None:
        self.alphas = [zeros(a) for a in dual.alphas]
        self.multipliers = [zeros(a) for a in dual.multipliers]
        self.steps = 0

    def take(self, rows: Bools) -> Ascent:
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
            scale = np.abs(a).sum(axis=1, keepdims=True) / max(1, a.shape[1])
            move = rate * scale * self._direction(more, np.where(phase != 0, z[k], 0.0))
            moved = extra + move
            multipliers[k] = np.where(
                phase > 0, np.minimum(moved, 0.0), np.where(phase < 0, np.maximum(moved, 0.0), 0.0)
            )
        return Dual(dual.phases, tuple(alphas), tuple(multipliers))

    def _direction(self, moments: Moments, gradient: Floats) -> Floats:
        mean, square = moments.mean, moments.square
        mean += (1 - BETA1) * (gradient - mean)
        square += (1 - BETA2) * (gradient * gradient - square)
        scale = np.sqrt(square / (1 - BETA2**self.steps)) + EPSILON
        return np.asarray(mean / (1 - BETA1**self.steps) / scale)


def zeros(a: Floats | None) -> Moments | None:
    return None if a is None else Moments(np.zeros_like(a), np.zeros_like(a))
