"""The ReLUs of one layer in the float32 search: their free variables, and steps of ascent on them.

A unit has one variable v: its lower slope where it is free, its multiplier where its phase is
assumed. So h >= z alpha, with alpha = v or the slope of the phase. The gradients are those of
bounds/slopes.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Bools, Floats, Singles
from leo_cli.bounds.dual import Phases
from leo_cli.bounds.quick_problem import ONE, ZERO, QuickLayer, single

MEMORY = np.float32(0.9)  # weight of the gradients of the step before
EPSILON = np.float32(1e-12)


@dataclass
class QuickSlopes:
    """The ReLUs of one layer, (m, width) each. value: the variable of each unit. free, fixed: 1
    where it is a slope, or a multiplier. on: 1 where h = z. low, high: the variable's range. mean,
    square: of its gradients."""

    value: Singles
    free: Singles
    fixed: Singles | None
    on: Singles
    slope: Singles
    intercept: Singles
    low: Singles | np.float32
    high: Singles | np.float32
    mean: Singles
    square: Singles
    alpha: Singles

    @staticmethod
    def start(
        layer: QuickLayer, alpha: Floats, phase: Phases | None, extra: Floats | None
    ) -> QuickSlopes:
        shape, may_move = alpha.shape, np.asarray(layer.free)
        value = single(alpha)
        zeros = np.zeros(shape, np.float32)
        if phase is None or not phase.any():
            free = np.broadcast_to(may_move.astype(np.float32), shape)
            on = value * (ONE - free)
            slope, intercept = (np.broadcast_to(v, shape) for v in (layer.slope, layer.intercept))
            value = value * free
            return QuickSlopes(
                value, free, None, on, slope, intercept, ZERO, ONE, zeros, zeros.copy(), value + on
            )
        assumed = phase != 0
        fixed, positive = assumed.astype(np.float32), (phase > 0).astype(np.float32)
        free = (may_move & ~assumed).astype(np.float32)
        on = np.where(assumed, positive, value * (ONE - free))
        value = value * free if extra is None else value * free + single(extra) * fixed
        # z >= 0 takes multipliers <= 0, z <= 0 takes multipliers >= 0
        return QuickSlopes(
            value,
            free,
            fixed,
            on,
            np.where(assumed, positive, layer.slope),
            np.where(assumed, ZERO, layer.intercept),
            np.where(phase > 0, np.float32(-np.inf), ZERO),
            np.where(assumed, np.where(phase > 0, ZERO, np.float32(np.inf)), ONE),
            zeros,
            zeros.copy(),
            value * free + on,
        )

    def take(self, rows: Bools) -> QuickSlopes:
        def part(a: Singles | np.float32 | None) -> Singles:
            return a[rows] if isinstance(a, np.ndarray) else a  # type: ignore[return-value]

        return QuickSlopes(*(part(getattr(self, name)) for name in self.__dataclass_fields__))

    def backward(self, a: Singles) -> tuple[Singles, Singles]:
        """Coefficients of z from those of h, and the constant that the upper lines add."""
        negative = np.minimum(a, ZERO)
        p = a - negative
        p *= self.alpha
        p += negative * self.slope
        if self.fixed is not None:
            p += self.value * self.fixed
        return p, np.einsum("ij,ij->i", negative, self.intercept)

    def forward(self, z: Singles, a: Singles) -> Singles:
        h = self.slope * z
        h += self.intercept
        np.copyto(h, self.alpha * z, where=a >= 0)
        return h

    def step(self, z: Singles, a: Singles, count: int, rate: np.float32) -> None:
        """The `count`-th step of Adam (bounds/adam.py) on all variables, with the mean of all
        squares so far for the one that forgets."""
        gradient = np.maximum(a, ZERO)
        gradient *= self.free
        if self.fixed is not None:
            gradient += self.fixed
        gradient *= z
        # sums in place of the means; `share` has the factors that are left of both
        self.mean *= MEMORY
        self.mean += gradient
        gradient *= gradient
        self.square += gradient
        np.sqrt(self.square, out=gradient)
        gradient += EPSILON
        np.divide(self.mean, gradient, out=gradient)
        share = (1.0 - float(MEMORY)) / (1.0 - float(MEMORY) ** count) * np.sqrt(count)
        if self.fixed is None:
            gradient *= rate * np.float32(share)
        else:
            size = np.abs(a).mean(axis=1, keepdims=True)
            gradient *= (self.free + self.fixed * size) * (rate * np.float32(share))
        gradient += self.value
        np.maximum(gradient, self.low, out=gradient)
        np.minimum(gradient, self.high, out=gradient)
        self.value = gradient
        self.alpha = gradient * self.free
        self.alpha += self.on
