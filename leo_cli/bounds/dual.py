"""The free variables of a backward linear bound: phases, lower slopes and multipliers of each row.

Any slopes in [0, 1] and any multipliers of the right sign give a valid bound (bounds/linear.py);
what is kept here is only which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.bounds.linear import Relaxed
from leo_cli.bounds.relaxation import Relaxation

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

    @property
    def nbytes(self) -> int:
        arrays = (*self.phases, *self.alphas, *self.multipliers)
        return sum(0 if a is None else a.nbytes for a in arrays)

    def assume(self, rows: Ints, where: Ints, phase: int, a: Floats) -> None:
        """Assume a phase of one unit in each of some rows (in place), with the multiplier with
        which the bound is no worse than without.

        where: (m, 2) layers and units. a: (m,) coefficients of h there. Where a > 0, h was replaced
        by alpha z; now it is z or 0, and the multiplier makes up for the rest."""
        for k in np.unique(where[:, 0]).tolist():
            phases, alphas, multipliers = self.phases[k], self.alphas[k], self.multipliers[k]
            if phases is None or alphas is None or multipliers is None:
                raise ValueError(f"no room for phases in layer {k}")
            here = where[:, 0] == k
            at = rows[here], where[here, 1]
            phases[at] = phase
            share = alphas[at] - (1.0 if phase > 0 else 0.0)
            multipliers[at] = np.maximum(a[here], 0.0) * share

    def overwrite(self, rows: Bools | Ints, other: Dual) -> None:
        """Overwrite some rows, phases included."""
        self.put(rows, other)
        for mine, theirs in zip(self.phases, other.phases, strict=True):
            if mine is not None and theirs is not None:
                mine[rows] = theirs

    def put(self, rows: Bools | Ints, other: Dual) -> None:
        """Overwrite slopes and multipliers of some rows."""
        for mine, theirs in zip(self.alphas, other.alphas, strict=True):
            if mine is not None and theirs is not None:
                mine[rows] = theirs
        for mine, theirs in zip(self.multipliers, other.multipliers, strict=True):
            if mine is not None and theirs is not None:
                mine[rows] = theirs


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


def join(parts: Sequence[Dual]) -> Dual:
    """The rows of all parts, in order."""
    return Dual(
        tuple(stack(a) for a in zip(*(part.phases for part in parts), strict=True)),
        tuple(stack(a) for a in zip(*(part.alphas for part in parts), strict=True)),
        tuple(stack(a) for a in zip(*(part.multipliers for part in parts), strict=True)),
    )


def stack(arrays: Sequence[Array | None]) -> Array | None:
    """The arrays on top of each other; None if there are none."""
    kept = [a for a in arrays if a is not None]
    return np.concatenate(kept) if kept else None
