"""What can be chosen about a classification, and the names of the deciders."""

from __future__ import annotations

from dataclasses import dataclass

from leo_cli.errors import InputError

DECIDERS = (
    "samples",
    "interval",
    "linear",
    "exact",
    "split",
    "ascent",
    "slopes",
    "identities",
    "branch",
    "milp",
)
PUBLISHED = ("milp",)  # LEO as published: MILPs alone


@dataclass(frozen=True)
class ClassifyOptions:
    """deciders: names from DECIDERS, None for all. formulation: "unit" or "network" (one MILP for
    all).
    """

    deciders: tuple[str, ...] | None = None
    solver: str = "cbc"
    formulation: str = "unit"
    trust_solver: bool = False
    seed: int = 0

    def names(self) -> tuple[str, ...]:
        """The deciders to use, in order. Raises InputError for a name that is none of theirs."""
        if self.deciders is None:
            return DECIDERS
        unknown = [name for name in self.deciders if name not in DECIDERS]
        if unknown:
            raise InputError(f"unknown decider {unknown[0]!r}; choose from {', '.join(DECIDERS)}")
        return self.deciders
