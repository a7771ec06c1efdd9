"""What a stable verdict rests on, in a form that can be evaluated again.

Any slopes in [0, 1] and any non-negative multipliers give a valid bound (bounds/linear.py), so
evidence is data for an evaluation, never a claim to be believed. Bounds on pre-activations of
earlier layers that an evaluation uses are those of the verdicts of these layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from leo_cli.arrays import Bools, Floats, Ints, Singles


@dataclass(frozen=True)
class IntervalEvidence:
    """Interval arithmetic through the layer, from the bounds of the layers before it."""


@dataclass(frozen=True)
class LinearEvidence:
    """A backward linear bound. slopes: for each earlier layer, the (width,) lower slopes of its
    relaxation, or None where the default rule of bounds/linear.py was used."""

    slopes: tuple[Floats | None, ...] = ()


@dataclass(frozen=True)
class InputSplitEvidence:
    """A tree of boxes that covers the domain (stability/split.py), shared by all units it settled.

    axis: (nodes,) input feature that is split, -1 at a leaf; cut: (nodes,) where; child: (nodes,
    2).
    """

    axis: Ints
    cut: Floats
    child: Ints


@dataclass(frozen=True)
class PhaseLeaf:
    """A leaf of a tree over ReLU phases: units (layer, index), their phases (True: z >= 0), the
    slopes of each earlier layer, and the non-negative multipliers of the phase constraints.
    """

    layers: Ints
    units: Ints
    phases: Bools
    slopes: tuple[Floats | Singles | None, ...]
    multipliers: Floats


@dataclass(frozen=True)
class PhaseLeaves:
    """Many leaves in arrays, a row for each: there may be a million.

    layers, units, phases, multipliers: (n, depth) as in PhaseLeaf; layers is -1 after the end of a
    path. slopes: for each earlier layer the slopes of its units `live`, (n, live), or None.
    """

    layers: NDArray[np.int32]
    units: NDArray[np.int32]
    phases: Bools
    multipliers: Floats
    slopes: tuple[NDArray[np.floating] | None, ...]
    live: tuple[NDArray[np.int32], ...]

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def nbytes(self) -> int:
        arrays = (self.layers, self.units, self.phases, self.multipliers, *self.slopes)
        return sum(0 if a is None else a.nbytes for a in arrays)

    def leaf(self, row: int, widths: Sequence[int]) -> PhaseLeaf:
        """widths: of the layers of the full network."""
        depth = int((self.layers[row] >= 0).sum())
        slopes: list[Floats | Singles | None] = []
        for values, live, width in zip(self.slopes, self.live, widths, strict=False):
            full = None
            if values is not None:
                full = np.zeros(width, values.dtype)
                full[live] = values[row]
            slopes.append(full)
        return PhaseLeaf(
            self.layers[row, :depth].astype(np.int64),
            self.units[row, :depth].astype(np.int64),
            self.phases[row, :depth],
            tuple(slopes),
            self.multipliers[row, :depth],
        )


@dataclass(frozen=True)
class PhaseSplitEvidence:
    """Leaves of a binary tree over ReLU phases that together cover the domain."""

    parts: tuple[PhaseLeaves, ...]

    def leaves(self, widths: Sequence[int]) -> list[PhaseLeaf]:
        """The leaves one by one. widths: of the layers of the network."""
        return [part.leaf(row, widths) for part in self.parts for row in range(len(part))]


@dataclass(frozen=True)
class IdentityEvidence:
    """A bound of an equal network in which units that compute the same function are one
    (stability/canonical.py). The proof checker has no record for it."""


@dataclass(frozen=True)
class TightenedEvidence:
    """A bound by branch and bound whose leaves are not kept: for the sake of later layers
    (stability/tighten.py), or because they are too many (stability/branch.py). The proof checker
    has no record for it."""


@dataclass(frozen=True)
class SolverClaim:
    """No proof: a MILP solver said so and the user chose to trust it."""

    solver: str


Evidence: TypeAlias = (
    IntervalEvidence
    | LinearEvidence
    | InputSplitEvidence
    | PhaseSplitEvidence
    | IdentityEvidence
    | TightenedEvidence
    | SolverClaim
)
