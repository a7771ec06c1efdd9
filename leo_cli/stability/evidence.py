"""What a stable verdict rests on, in a form that can be evaluated again.

Any slopes in [0, 1] and any non-negative multipliers give a valid bound (bounds/linear.py), so
evidence is data for an evaluation, never a claim to be believed. Bounds on pre-activations of
earlier layers that an evaluation uses are those of the verdicts of these layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

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
class PhaseSplitEvidence:
    """Leaves of a binary tree over ReLU phases that together cover the domain."""

    leaves: tuple[PhaseLeaf, ...]


@dataclass(frozen=True)
class IdentityEvidence:
    """A bound of an equal network in which units that compute the same function are one
    (stability/canonical.py). The proof checker has no record for it."""


@dataclass(frozen=True)
class TightenedEvidence:
    """A bound by branch and bound for the sake of later layers (stability/tighten.py), whose leaves
    are not kept. The proof checker has no record for it."""


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
