"""The search for slopes and multipliers in float32, without rounding errors taken off.

The same ascent as bounds/slopes.py, for domains that are boxes. Nothing here is a bound: what looks
proved is evaluated by bounds/linear.py in float64 with the slopes and multipliers that were found.
Half the bytes and no error terms make it several times faster.
"""

from __future__ import annotations

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints, Singles
from leo_cli.bounds.dual import Dual
from leo_cli.bounds.linear import Signed
from leo_cli.bounds.quick_problem import ZERO, QuickProblem, add, single
from leo_cli.bounds.quick_slopes import QuickSlopes
from leo_cli.bounds.slopes import DECAY, ELSEWHERE, RATE, Optimised

KEPT = 0.8  # share of the rows that still climb above which the others climb with them
SIGN, UNIT = np.uint32(0x80000000), np.uint32(0x3F800000)  # bits of a float32: its sign; 1.0


def climb(
    problem: QuickProblem, asked: Signed, start: Dual, steps: int, rate: float = RATE
) -> Optimised:
    """Raise the bounds of sign * z of the target's units over slopes and multipliers.

    The bounds that come back are what was found, proved by nothing. Rows that are above the
    noise are not improved further."""
    rows, enough = _Rows(problem, asked.unit, single(asked.sign), start), problem.noise[asked.unit]
    rows.evaluate()
    rows.keep_best(np.ones(len(asked), dtype=bool))
    for step in range(steps):
        if not rows.narrow(enough):
            break
        rows.step(step + 1, np.float32(rate * DECAY**step))
        rows.evaluate()
        rows.keep_best(rows.bound > rows.best[rows.position])
    return rows.result()


class _Rows:
    """The rows that are still climbing, and the best of all rows."""

    def __init__(self, problem: QuickProblem, unit: Ints, sign: Singles, start: Dual) -> None:
        self.problem, self.start = problem, start
        self.unit, self.sign = unit, sign
        count = len(unit)
        self.position = np.arange(count)
        self.slopes: list[QuickSlopes | None] = [
            None if alpha is None else QuickSlopes.start(layer, alpha, phase, extra)
            for layer, alpha, phase, extra in zip(
                problem.layers[:-1], start.alphas, start.phases, start.multipliers, strict=True
            )
        ]
        self.a: list[Singles | None] = []
        self.z: list[Singles] = []
        self.bound = np.zeros(count)
        self.side = np.zeros((count, len(problem.centre)), np.float32)  # -s of the minimiser
        self.best = np.full(count, -np.inf)
        self.best_value = [None if s is None else s.value.copy() for s in self.slopes]
        widths = [len(layer.bias) for layer in problem.layers[:-1]]
        self.best_a = [np.zeros((count, width), np.float32) for width in widths]
        self.best_z = [a.copy() for a in self.best_a]
        self.read = [False] * len(widths)

    def evaluate(self) -> None:
        """The bound, its minimiser, and z of the relaxation there."""
        form, constant = self._backward()
        self.side = _signs(form)
        self.bound = (constant - np.einsum("ij,ij->i", form, self.side)).astype(np.float64)
        self.z = self._forward()

    def _backward(self) -> tuple[Singles, Singles]:
        """The form over s that is left of each bound, and its constant."""
        problem = self.problem
        pending: list[Singles | None] = [None] * (problem.target + 2)
        last = problem.layers[problem.target]
        constant = self.sign * last.bias[self.unit]
        for source, matrix in last.terms:
            pending[source] = add(pending[source], matrix[self.unit] * self.sign[:, None])
        self.a = pending[1:-1]
        for k in range(problem.target - 1, -1, -1):
            layer, slopes, a = problem.layers[k], self.slopes[k], pending[k + 1]
            self.a[k] = a
            if a is None:
                continue
            p = a
            if slopes is not None:
                p, lift = slopes.backward(a)
                constant += lift
            constant += p @ layer.bias
            for source, matrix in layer.terms:
                pending[source] = add(pending[source], p @ matrix)
        form = pending[0]
        if form is None:
            form = np.zeros((len(self.unit), len(problem.centre)), np.float32)
        return form, constant

    def _forward(self) -> list[Singles]:
        """z of each layer before the target, through what the signs of the coefficients chose."""
        values, out, count = [self.side], [], len(self.unit)
        for k, layer in enumerate(self.problem.layers[:-1]):
            z = layer.pre_activation(values, count)
            a, slopes = self.a[k], self.slopes[k]
            out.append(z)
            if layer.free is None:
                values.append(z)
            elif a is None or slopes is None:  # nobody reads it
                values.append(np.maximum(z, ZERO))
            else:
                values.append(slopes.forward(z, a))
        return out

    def values(self) -> Singles:
        """sign * z of the target at the minimisers, through the network itself."""
        values, layers, count = [self.side], self.problem.layers, len(self.unit)
        for k, layer in enumerate(layers[:-1]):
            # what reads the input alone is not relaxed
            plain = all(source == 0 for source, _ in layer.terms)
            z = self.z[k] if plain else layer.pre_activation(values, count)
            values.append(z if layer.free is None else np.maximum(z, ZERO))
        z = layers[-1].pre_activation(values, count)
        return self.sign * z[np.arange(len(z)), self.unit]

    def step(self, count: int, rate: np.float32) -> None:
        for k in range(len(self.problem.layers) - 1):
            a, slopes = self.a[k], self.slopes[k]
            if a is not None and slopes is not None:
                slopes.step(self.z[k], a, count, rate)

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
        start, problem = self.start, self.problem
        alphas, extras = list(start.alphas), list(start.multipliers)
        gaps: list[Floats | None] = []
        for k, layer in enumerate(problem.layers[:-1]):
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
        x = np.repeat(problem.centre[None], len(self.best), axis=0)
        x[self.position] -= problem.radius * self.side
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

    def _gap(self, k: int, alpha: Singles, free: Bools) -> Floats | None:
        """What the relaxation of each free unit costs at the minimiser (slopes.py)."""
        layer, a, z = self.problem.layers[k], self.best_a[k], self.best_z[k]
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
