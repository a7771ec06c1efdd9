"""What a verification found: plain values, for the report and for whoever decides what to do."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from leo_cli.arrays import Floats


@dataclass(frozen=True)
class NearTie:
    """A label that differs because two scores, or a score and a threshold, are closer than the
    allowed difference.

    row: of the verification points. gap: the score gap that decided. allowed: what it is compared
    with."""

    output: str
    row: int
    labels: tuple[str, str]
    gap: float
    allowed: float


@dataclass(frozen=True)
class Labels:
    """Discrete output values: compared, how many differ, and how many of these are shown
    near-ties."""

    compared: int = 0
    flipped: int = 0
    near_ties: int = 0
    shown: tuple[NearTie, ...] = ()


@dataclass(frozen=True)
class OutputDifference:
    """One compared tensor. kind: "dense" (written by the rewritten part), "continuous" or
    "discrete". max_abs_diff: infinite for discrete values that differ, NaN and infinity against
    anything else."""

    name: str
    kind: str
    graph_output: bool
    bit_identical: float
    max_abs_diff: float
    max_ulp: int
    scaled_ulp: float


@dataclass(frozen=True)
class WorstPoint:
    """Where the difference is largest in proportion to what is allowed. point: (inputs,)."""

    point: Floats
    origin: str
    output: str
    component: int
    difference: float
    allowed: float


@dataclass(frozen=True)
class Verification:
    """samples: points compared, those of the search included; searched: how many these are.
    bit_identical: share of the points at which every graph output has the same bits in both models.
    max_abs_diff, max_ulp: native evaluations at the output of the rewritten part (without one: at
    the continuous graph outputs); scaled_ulp: in units in the last place of the largest number that
    a component takes. bound: (components,) allowed difference there. rounding_before,
    rounding_after: (components,) native rounding bounds, where computed (else empty). float64_diff,
    float64_bound: the same for float64 evaluations of both networks as read from their files.
    passed: whether all conditions hold; failure: else the first that does not, in one line.
    """

    passed: bool
    failure: str
    samples: int
    searched: int
    bit_identical: float
    max_abs_diff: float
    max_ulp: int
    scaled_ulp: float
    bound: Floats
    rounding_before: Floats
    rounding_after: Floats
    float64_diff: float
    float64_bound: Floats
    labels: Labels
    outputs: tuple[OutputDifference, ...]
    worst: WorstPoint | None = None
    notes: tuple[str, ...] = field(default=())

    def as_report(self) -> dict[str, object]:
        """The report's `verification` part: JSON values only."""
        report: dict[str, object] = {
            "samples": self.samples,
            "searched": self.searched,
            "bit_identical": self.bit_identical,
            "max_abs_diff": _number(self.max_abs_diff),
            "max_ulp": self.max_ulp,
            "scaled_ulp": self.scaled_ulp,
            "allowed_diff": _number(float(self.bound.max(initial=0.0))),
            "labels": {
                "compared": self.labels.compared,
                "flipped": self.labels.flipped,
                "near_ties": self.labels.near_ties,
            },
            "outputs": {
                output.name: {
                    "kind": output.kind,
                    "bit_identical": output.bit_identical,
                    "max_abs_diff": _number(output.max_abs_diff),
                    "max_ulp": output.max_ulp,
                    "scaled_ulp": output.scaled_ulp,
                }
                for output in self.outputs
            },
            "passed": self.passed,
        }
        if np.isfinite(self.float64_bound).all():
            report["float64_diff"] = _number(self.float64_diff)
            report["float64_allowed"] = float(self.float64_bound.max(initial=0.0))
        if self.failure:
            report["failure"] = self.failure
        if self.notes:
            report["notes"] = list(self.notes)
        return report


def _number(value: float) -> float | str:
    """JSON has no infinity."""
    return value if value < float("inf") else "inf"
