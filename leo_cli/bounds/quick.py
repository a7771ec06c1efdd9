"""The search for slopes and multipliers in float32, without rounding errors taken off.

The same ascent as bounds/slopes.py, for domains that are boxes. Nothing here is a bound: what looks
proved is evaluated by bounds/linear.py in float64 with the slopes and multipliers that were found.
Half the bytes and no error terms make it several times faster.

Over a box with centre m and radius r, x = m + r s with s in [-1, 1], and the minimum of a form a s
is -sum |a|, at s = -sign(a). A unit has one variable v: its lower slope where it is free, its
multiplier where its phase is assumed. So h >= z alpha, with alpha = v or the slope of the phase.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints, Singles
from leo_cli.bounds.dual import Dual, Phases
from leo_cli.bounds.linear import Relaxed, Signed
from leo_cli.bounds.slopes import DECAY, ELSEWHERE, RATE, Optimised

NOISE = 2.0e-6  # of the sum of magnitudes in z: what float32 makes of a bound
EPSILON, ZERO, ONE = np.float32(1e-12), np.float32(0.0), np.float32(1.0)
LARGEST = 2**24  # numbers in the matrices of a problem that is copied
KEPT = 0.8  # share of the rows that still climb above which the others climb with them
MEMORY = np.float32(0.9)  # weight of the gradients of the step before
SIGN, UNIT = np.uint32(0x80000000), np.uint32(0x3F800000)  # bits of a float32: its sign; 1.0


@dataclass
class _Layer:
    """terms: (source, matrix), over s instead of x for the input. free: units whose slope can be
    chosen, None without a ReLU."""

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
        centre = 0.5 * domain.lower + 0.5 * domain.upper
        radius = 0.5 * domain.upper - 0.5 * domain.lower
        self.centre, self.radius = _single(centre), _single(radius)
        self.noise = NOISE * problem.magnitudes[-1].sums
        self.layers: list[_Layer] = []
        for k, layer in enumerate(problem.network.layers):
            relaxation = problem.relaxations[k]
            none = np.zeros(0, dtype=np.float32)
            terms, bias = [], layer.bias
            for t in layer.terms:
                matrix = t.map.rows(slice(None))
                if t.source == 0:
                    bias, matrix = bias + matrix @ centre, matrix * radius
                terms.append((t.source, _single(matrix)))
            self.layers.append(
                _Layer(
                    terms,
                    _single(bias),
                    None if relaxation is None else (problem.lower[k] < 0) & (problem.upper[k] > 0),
                    none if relaxation is None else _single(relaxation.slope),
                    none if relaxation is None else _single(relaxation.intercept),
                )
            )

    def climb(self, asked: Signed, start: Dual, steps: int, rate: float = RATE) -> Optimised:
        """Raise the bounds of sign * z of the target's units over slopes and multipliers.

        The bounds that come back are what was found, proved by nothing. Rows that are above the
        noise are not improved further."""
        rows, enough = _Rows(self, asked.unit, _single(asked.sign), start), self.noise[asked.unit]
        rows.evaluate()
        rows.keep_best(np.ones(len(asked), dtype=bool))
        for step in range(steps):
            if not rows.narrow(enough):
                break
            rows.step(step + 1, np.float32(rate * DECAY**step))
            rows.evaluate()
            rows.keep_best(rows.bound > rows.best[rows.position])
        return rows.result()


@dataclass
class _Slopes:
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
    def start(layer: _Layer, alpha: Floats, phase: Phases | None, extra: Floats | None) -> _Slopes:
        shape, may_move = alpha.shape, np.asarray(layer.free)
        value = _single(alpha)
        zeros = np.zeros(shape, np.float32)
        if phase is None or not phase.any():
            free = np.broadcast_to(may_move.astype(np.float32), shape)
            on = value * (ONE - free)
            slope, intercept = (np.broadcast_to(v, shape) for v in (layer.slope, layer.intercept))
            value = value * free
            return _Slopes(
                value, free, None, on, slope, intercept, ZERO, ONE, zeros, zeros.copy(), value + on
            )
        assumed = phase != 0
        fixed, positive = assumed.astype(np.float32), (phase > 0).astype(np.float32)
        free = (may_move & ~assumed).astype(np.float32)
        on = np.where(assumed, positive, value * (ONE - free))
        value = value * free if extra is None else value * free + _single(extra) * fixed
        # z >= 0 takes multipliers <= 0, z <= 0 takes multipliers >= 0
        return _Slopes(
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

    def take(self, rows: Bools) -> _Slopes:
        def part(a: Singles | np.float32 | None) -> Singles:
            return a[rows] if isinstance(a, np.ndarray) else a  # type: ignore[return-value]

        return _Slopes(*(part(getattr(self, name)) for name in self.__dataclass_fields__))

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
        """One step of Adam (bounds/adam.py) on all variables."""
        gradient = np.maximum(a, ZERO)
        gradient *= self.free
        if self.fixed is not None:
            gradient += self.fixed
        gradient *= z
        # Adam's means without their factors, which cancel but for a power of MEMORY
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


class _Rows:
    """The rows that are still climbing, and the best of all rows."""

    def __init__(self, quick: Quick, unit: Ints, sign: Singles, start: Dual) -> None:
        self.quick, self.start = quick, start
        self.unit, self.sign = unit, sign
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
        self.bound = np.zeros(count)
        self.side = np.zeros((count, len(quick.centre)), np.float32)  # -s of the minimiser
        self.best = np.full(count, -np.inf)
        self.best_value = [None if s is None else s.value.copy() for s in self.slopes]
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
        self.side = _signs(form)
        self.bound = (constant - np.einsum("ij,ij->i", form, self.side)).astype(np.float64)
        self.z = self._forward()

    def _forward(self) -> list[Singles]:
        """z of each layer before the target, through what the signs of the coefficients chose."""
        values, out = [self.side], []
        for k, layer in enumerate(self.quick.layers[:-1]):
            z = self._pre_activation(layer, values)
            a, slopes = self.a[k], self.slopes[k]
            out.append(z)
            if layer.free is None:
                values.append(z)
            elif a is None or slopes is None:  # nobody reads it
                values.append(np.maximum(z, ZERO))
            else:
                values.append(slopes.forward(z, a))
        return out

    def _pre_activation(self, layer: _Layer, values: list[Singles]) -> Singles:
        z: Singles | None = None
        for source, matrix in layer.terms:
            moved = values[source] @ matrix.T
            if source == 0:  # at s = -side
                np.negative(moved, out=moved)
            z = _add(z, moved)
        if z is None:
            return np.repeat(layer.bias[None], len(self.unit), axis=0)
        z += layer.bias
        return z

    def values(self) -> Singles:
        """sign * z of the target at the minimisers, through the network itself."""
        values, layers = [self.side], self.quick.layers
        for k, layer in enumerate(layers[:-1]):
            # what reads the input alone is not relaxed
            plain = all(source == 0 for source, _ in layer.terms)
            z = self.z[k] if plain else self._pre_activation(layer, values)
            values.append(z if layer.free is None else np.maximum(z, ZERO))
        z = self._pre_activation(layers[-1], values)
        return self.sign * z[np.arange(len(z)), self.unit]

    def keep_best(self, better: Bools) -> None:
        at = self.position[better]
        self.best[at] = self.bound[better]
        for k, a in enumerate(self.a):
            slopes, best = self.slopes[k], self.best_value[k]
            if a is not None:
                self.read[k] = True
                self.best_a[k][at], self.best_z[k][at] = a[better], self.z[k][better]
            if slopes is not None and best is not None:
                best[at] = slopes.value[better]

    def narrow(self, enough: Floats) -> bool:
        """Go on with rows that are not good enough; whether there are any."""
        keep = self.best[self.position] < enough[self.position]
        if keep.mean() <= KEPT:
            self.position, self.side = self.position[keep], self.side[keep]
            self.unit, self.sign = self.unit[keep], self.sign[keep]
            self.slopes = [None if s is None else s.take(keep) for s in self.slopes]
            self.a = [None if a is None else a[keep] for a in self.a]
            self.z = [z[keep] for z in self.z]
        return bool(keep.any())

    def result(self) -> Optimised:
        """The best of all rows. Slopes of units without a choice stay as they were; minimisers are
        those of the last step, of rows that were not above the noise then."""
        start, quick = self.start, self.quick
        alphas, extras = list(start.alphas), list(start.multipliers)
        gaps: list[Floats | None] = []
        for k, layer in enumerate(quick.layers[:-1]):
            best, alpha, phase = self.best_value[k], start.alphas[k], start.phases[k]
            if best is None or alpha is None or layer.free is None:
                gaps.append(None)
                continue
            free = np.broadcast_to(layer.free, alpha.shape)
            if phase is not None and extras[k] is not None:
                free = free & (phase == 0)
                extras[k] = np.where(phase != 0, best, ZERO).astype(np.float64)
            alphas[k] = np.where(free, best.astype(np.float64), alpha)
            gaps.append(self._gap(k, best, free))
        x = np.repeat(quick.centre[None], len(self.best), axis=0)
        x[self.position] -= quick.radius * self.side
        value = np.full(len(self.best), np.inf)
        value[self.position] = self.values()
        return Optimised(
            self.best,
            Dual(start.phases, tuple(alphas), tuple(extras)),
            x,
            tuple(gaps),
            tuple(
                (a if read else a[:, :0]).astype(np.float64)
                for a, read in zip(self.best_a, self.read, strict=True)
            ),
            value,
        )

    def step(self, count: int, rate: np.float32) -> None:
        for k in range(len(self.quick.layers) - 1):
            a, slopes = self.a[k], self.slopes[k]
            if a is not None and slopes is not None:
                slopes.step(self.z[k], a, count, rate)

    def _gap(self, k: int, alpha: Singles, free: Bools) -> Floats | None:
        """What the relaxation of each free unit costs at the minimiser (slopes.py)."""
        layer, a, z = self.quick.layers[k], self.best_a[k], self.best_z[k]
        if not self.read[k]:
            return None
        h = np.where(a >= 0, alpha * z, layer.slope * z + layer.intercept)
        cost = np.abs(a * (h - np.maximum(z, ZERO)))
        cost += np.float32(ELSEWHERE) * np.abs(a) * layer.intercept
        return np.where(free, cost, ZERO).astype(np.float64)


def _signs(form: Singles) -> Singles:
    """1 or -1 for each number."""
    bits = form.view(np.uint32) & SIGN
    bits |= UNIT
    return bits.view(np.float32)


def _add(known: Singles | None, more: Singles) -> Singles:
    return more if known is None else known + more


def _single(values: Floats | Phases) -> Singles:
    return np.ascontiguousarray(values, dtype=np.float32)
