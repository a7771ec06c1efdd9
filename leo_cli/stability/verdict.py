"""Verdicts on units, and the evidence for them.

State of unit j of a ReLU layer with pre-activation z over the domain D (design: vocabulary):
inactive: max z <= 0; active: not inactive, and min z >= 0; unstable: both signs occur; undecided:
none of these was shown within the budget. Nothing here is computed; deciders make verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.stability.evidence import Evidence


class State(str, Enum):
    INACTIVE = "inactive"
    ACTIVE = "active"
    UNSTABLE = "unstable"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Verdict:
    """What is known of one unit.

    by: the decider that settled it ("" while undecided). lower, upper: proved bounds of z over D.
    witnesses: rows of `StabilityMap.witnesses` with z < 0 and with z > 0 (-1: none known).
    claim: what a solver claimed without proof, for example "solver claims inactive".
    trusted: the state is such a claim, or may rest on one of an earlier layer (only with
    --trust-solver), and is not proved.
    evidence: what to evaluate to see a stable state again; None for the others.
    """

    state: State
    by: str
    lower: float
    upper: float
    witnesses: tuple[int, int] = (-1, -1)
    claim: str = ""
    trusted: bool = False
    seconds: float = 0.0
    evidence: Evidence | None = None

    @property
    def margin(self) -> float:
        """Distance of the proved bound from 0 for a proved stable unit, else 0."""
        if self.trusted:
            return 0.0
        if self.state is State.INACTIVE:
            return -self.upper
        return self.lower if self.state is State.ACTIVE else 0.0


@dataclass(frozen=True)
class LayerStability:
    """Bounds of a layer's pre-activations, (width,) each, and for a ReLU layer the verdicts."""

    lower: Floats
    upper: Floats
    verdicts: tuple[Verdict, ...] = ()

    def units(self, state: State) -> Ints:
        """Indices of the units in `state`, ascending."""
        return np.array(
            [j for j, v in enumerate(self.verdicts) if v.state is state], dtype=np.int64
        )

    @cached_property
    def inactive(self) -> Ints:
        return self.units(State.INACTIVE)

    @cached_property
    def active(self) -> Ints:
        return self.units(State.ACTIVE)


@dataclass(frozen=True)
class StabilityMap:
    """One entry for each of `network.layers`; for layers without a ReLU only the bounds.

    witnesses: (m, inputs) points of D. notes: remarks for the report.
    """

    layers: tuple[LayerStability, ...]
    witnesses: Floats
    milps: int = 0
    notes: tuple[str, ...] = ()
    cost: dict[str, float] = field(default_factory=dict)  # seconds spent, by decider
