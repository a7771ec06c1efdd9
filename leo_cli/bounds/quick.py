"""The search for slopes and multipliers in float32, without rounding errors taken off.

The same ascent as bounds/slopes.py, for domains that are boxes. Nothing here is a bound: what looks
proved is evaluated by bounds/linear.py in float64 with the slopes and multipliers that were found.
Half the bytes and no error terms make it several times faster. Over a box with centre m and radius
r, the minimum of a form a x is a m - |a| r, at m - r sign(a).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints, Singles
from leo_cli.bounds.adam import BETA1, BETA2
from leo_cli.bounds.dual import Dual, Phases
from leo_cli.bounds.linear import Relaxed, Signed
from leo_cli.bounds.slopes import DECAY, ELSEWHERE, RATE, Optimised

NOISE = 2.0e-6  # of the sum of magnitudes in z: what float32 makes of a bound
EPSILON, ZERO = np.float32(1e-12), np.float32(0.0)
LARGEST = 2**24  # numbers in the matrices of a problem that is copied


@dataclass
class _Layer:
    """terms: (source, matrix). free: units whose slope can be chosen, None without a ReLU."""

    terms: list[tuple[int, Singles]]
    bias: Singles
    free: Bools | None
    slope: Singles
    intercept: Singles


class Quick:
    """A problem in float32. Raises nothing: ask `suits` first."""

    @staticmethod
    def suits(problem: Relaxed) -> bool:
        sizes = sum(
            t.map.in_features * t.map.out_features
            for layer in problem.network.layers
            for t in layer.terms
        )
        largest = max(float(m.sums.max(initial=0.0)) for m in problem.magnitudes)
        return not problem.domain.one_hot and sizes <= LARGEST and largest < 1e30

    def __init__(self, problem: Relaxed) -> None:
        self.target = problem.target
        domain = problem.domain
        self.centre = _single(0.5 * domain.lower + 0.5 * domain.upper)
        self.radius = _single(0.5 * domain.upper - 0.5 * domain.lower)
        self.noise = NOISE * problem.magnitudes[-1].sums
        self.layers: list[_Layer] = []
        for k, layer in enumerate(problem.network.layers):
            relaxation = problem.relaxations[k]
            none = np.zeros(0, dtype=np.float32)
            self.layers.append(
                _Layer(
                    [(t.source, _single(t.map.rows(slice(None)))) for t in layer.terms],
                    _single(layer.bias),
                    None if relaxation is None else (problem.lower[k] < 0) & (problem.upper[k] > 0),
                    none if relaxation is None else _single(relaxation.slope),
                    none if relaxation is None else _single(relaxation.intercept),
                )
            )

    def climb(self, asked: Signed, start: Dual, steps: int) -> Optimised:
        """Raise the bounds of sign * z of the target's units over slopes and multipliers.

        The bounds that come back are what was found, proved by nothing. Rows that are above the
        noise are not improved further."""
        rows, enough = _Rows(self, asked.unit, _single(asked.sign), start), self.noise[asked.unit]
        rows.evaluate()
        rows.keep_best(np.ones(len(asked), dtype=bool))
        for step in range(steps):
            if not rows.narrow(enough):
                break
            rows.step(step + 1, np.float32(RATE * DECAY**step))
            rows.evaluate()
            rows.keep_best(rows.bound > rows.best[rows.position])
        return rows.result()


@dataclass
class _Slopes:
    """The free variables of the ReLUs of one layer, (m, width) each. first, second: mean and mean
    square of the gradient of slopes and of multipliers."""

    alpha: Singles
    extra: Singles
    slope: Singles
    intercept: Singles
    phase: Singles
    moments: tuple[Singles, Singles, Singles, Singles]

    @staticmethod
    def start(layer: _Layer, alpha: Floats, phase: Phases | None, extra: Floats | None) -> _Slopes:
        sign = np.zeros(alpha.shape, np.float32) if phase is None else _single(phase)
        fixed, on = sign != 0, np.maximum(sign, ZERO)
        return _Slopes(
            np.where(fixed, on, _single(alpha)),
            np.zeros(alpha.shape, np.float32) if extra is None else _single(extra),
            np.where(fixed, on, layer.slope),
            np.where(fixed, ZERO, layer.intercept),
            sign,
            (*(np.zeros(alpha.shape, np.float32) for _ in range(4)),),  # type: ignore[arg-type]
        )

    def take(self, rows: Bools) -> _Slopes:
        first, second, third, fourth = self.moments
        return _Slopes(
            self.alpha[rows],
            self.extra[rows],
            self.slope[rows],
            self.intercept[rows],
            self.phase[rows],
            (first[rows], second[rows], third[rows], fourth[rows]),
        )

    def backward(self, a: Singles) -> tuple[Singles, Singles]:
        """Coefficients of z from those of h, and the constant that the upper lines add."""
        negative = np.minimum(a, ZERO)
        p = (a - negative) * self.alpha
        p += negative * self.slope
        p += self.extra
        return p, np.einsum("ij,ij->i", negative, self.intercept)

    def forward(self, z: Singles, a: Singles) -> Singles:
        return np.where(a >= 0, self.alpha * z, self.slope * z + self.intercept)

    def step(self, z: Singles, a: Singles, free: Bools, count: int, rate: np.float32) -> None:
        """One step of Adam on slopes, and on multipliers of phases."""
        fixed = self.phase != 0
        gradient = np.maximum(a, ZERO) * z
        gradient *= free & ~fixed
        self.alpha = np.clip(
            self.alpha + rate * _direction(*self.moments[:2], gradient, count),
            ZERO,
            np.float32(1.0),
        )
        if fixed.any():
            scale = rate * np.abs(a).mean(axis=1, keepdims=True)
            moved = self.extra + scale * _direction(*self.moments[2:], z * fixed, count)
            # z >= 0 takes multipliers <= 0, z <= 0 takes multipliers >= 0
            self.extra = -self.phase * np.maximum(-self.phase * moved, ZERO)


class _Rows:
    """The rows that are still climbing, and the best of all rows."""

    def __init__(self, quick: Quick, unit: Ints, sign: Singles, start: Dual) -> None:
        self.quick, self.start = quick, start
        self.unit, self.sign = unit, sign
        self.every_unit, self.every_sign = unit, sign
        count = len(unit)
        self.position = np.arange(count)
        self.slopes: list[_Slopes | None] = [
            None if alpha is None else _Slopes.start(layer, alpha, phase, extra)
            for layer, alpha, phase, extra in zip(
                quick.layers[:-1], start.alphas, start.phases, start.multipliers, strict=True
            )
        ]
        self.a: list[Singles | None] = []
        self.z: list[Singles] = []
        self.bound, self.x = np.zeros(count), np.zeros((count, len(quick.centre)), np.float32)
        self.best, self.best_x = np.full(count, -np.inf), self.x.copy()
        self.best_slopes = [
            None if s is None else (s.alpha.copy(), s.extra.copy()) for s in self.slopes
        ]
        widths = [len(layer.bias) for layer in quick.layers[:-1]]
        self.best_a = [np.zeros((count, width), np.float32) for width in widths]
        self.best_z = [a.copy() for a in self.best_a]
        self.read = [False] * len(widths)

    def evaluate(self) -> None:
        """The bound, its minimiser, and z of the relaxation there."""
        quick = self.quick
        pending: list[Singles | None] = [None] * (quick.target + 2)
        last = quick.layers[quick.target]
        constant = self.sign * last.bias[self.unit]
        for source, matrix in last.terms:
            pending[source] = _add(pending[source], matrix[self.unit] * self.sign[:, None])
        self.a = pending[1:-1]
        for k in range(quick.target - 1, -1, -1):
            layer, slopes, a = quick.layers[k], self.slopes[k], pending[k + 1]
            self.a[k] = a
            if a is None:
                continue
            p = a
            if slopes is not None:
                p, lift = slopes.backward(a)
                constant += lift
            constant += p @ layer.bias
            for source, matrix in layer.terms:
                pending[source] = _add(pending[source], p @ matrix)
        form = pending[0]
        if form is None:
            form = np.zeros((len(self.unit), len(quick.centre)), np.float32)
        bound = constant + form @ quick.centre - np.abs(form) @ quick.radius
        self.bound = bound.astype(np.float64)
        self.x = quick.centre - np.copysign(quick.radius, form)
        self.z = self._forward(self.x)

    def _forward(self, x: Singles) -> list[Singles]:
        """z of each layer before the target, through what the signs of the coefficients chose."""
        values, out = [x], []
        for k, layer in enumerate(self.quick.layers[:-1]):
            z = np.broadcast_to(layer.bias, (len(x), len(layer.bias)))
            for source, matrix in layer.terms:
                z = z + values[source] @ matrix.T
            a, slopes = self.a[k], self.slopes[k]
            out.append(z)
            if layer.free is None:
                values.append(z)
            elif a is None or slopes is None:  # nobody reads it
                values.append(np.maximum(z, ZERO))
            else:
                values.append(slopes.forward(z, a))
        return out

    def keep_best(self, better: Bools) -> None:
        at = self.position[better]
        self.best[at], self.best_x[at] = self.bound[better], self.x[better]
        for k, a in enumerate(self.a):
            slopes, best = self.slopes[k], self.best_slopes[k]
            if a is not None:
                self.read[k] = True
                self.best_a[k][at], self.best_z[k][at] = a[better], self.z[k][better]
            if slopes is not None and best is not None:
                best[0][at], best[1][at] = slopes.alpha[better], slopes.extra[better]

    def narrow(self, enough: Floats) -> bool:
        """Go on with rows that are not good enough; whether there are any."""
        keep = self.best[self.position] < enough[self.position]
        if not keep.all():
            self.position = self.position[keep]
            self.unit, self.sign = self.unit[keep], self.sign[keep]
            self.slopes = [None if s is None else s.take(keep) for s in self.slopes]
            self.a = [None if a is None else a[keep] for a in self.a]
            self.z = [z[keep] for z in self.z]
        return len(self.position) > 0

    def step(self, count: int, rate: np.float32) -> None:
        for k, layer in enumerate(self.quick.layers[:-1]):
            a, slopes = self.a[k], self.slopes[k]
            if a is not None and slopes is not None and layer.free is not None:
                slopes.step(self.z[k], a, layer.free, count, rate)

    def result(self) -> Optimised:
        """The best of all rows. Slopes of units without a choice stay as they were."""
        start = self.start
        alphas, extras = list(start.alphas), list(start.multipliers)
        gaps: list[Floats | None] = []
        for k, layer in enumerate(self.quick.layers[:-1]):
            best, alpha, phase = self.best_slopes[k], start.alphas[k], start.phases[k]
            if best is None or alpha is None or layer.free is None:
                gaps.append(None)
                continue
            free = np.broadcast_to(layer.free, alpha.shape)
            free = free if phase is None else free & (phase == 0)
            alphas[k] = np.where(free, best[0].astype(np.float64), alpha)
            if extras[k] is not None:
                extras[k] = best[1].astype(np.float64)
            gaps.append(self._gap(k, best[0], free))
        return Optimised(
            self.best,
            Dual(start.phases, tuple(alphas), tuple(extras)),
            self.best_x.astype(np.float64),
            tuple(gaps),
            tuple(
                (a if read else a[:, :0]).astype(np.float64)
                for a, read in zip(self.best_a, self.read, strict=True)
            ),
        )

    def _gap(self, k: int, alpha: Singles, free: Bools) -> Floats | None:
        """What the relaxation of each free unit costs at the minimiser (slopes.py)."""
        layer, a, z = self.quick.layers[k], self.best_a[k], self.best_z[k]
        if not self.read[k]:
            return None
        h = np.where(a >= 0, alpha * z, layer.slope * z + layer.intercept)
        cost = np.abs(a * (h - np.maximum(z, ZERO)))
        cost += np.float32(ELSEWHERE) * np.abs(a) * layer.intercept
        return np.where(free, cost, ZERO).astype(np.float64)


def _direction(mean: Singles, square: Singles, gradient: Singles, count: int) -> Singles:
    mean += np.float32(1 - BETA1) * (gradient - mean)
    square += np.float32(1 - BETA2) * (gradient * gradient - square)
    scale = np.sqrt(square * np.float32(1 / (1 - BETA2**count)))
    scale += EPSILON
    return np.asarray(mean * np.float32(1 / (1 - BETA1**count)) / scale)


def _add(known: Singles | None, more: Singles) -> Singles:
    return more if known is None else known + more


def _single(values: Floats | Phases) -> Singles:
    return np.ascontiguousarray(values, dtype=np.float32)
