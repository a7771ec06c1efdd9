"""The points at which two models are compared.

Given points come first: witnesses lie near the kinks of the network, where a wrong rewrite shows,
and samples of the user are what the models will meet. The rest of the number asked for is random
points and corners of the domain, half each (bounds are attained at corners).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.domain import Domain
from leo_cli.errors import InputError

ORIGINS = ("given", "random", "corner", "search")


@dataclass(frozen=True)
class Points:
    """values: (n, inputs), numbers of the inputs' type inside the domain. origin: (n,) index into
    ORIGINS. outside: how many given points were left out because the domain does not contain
    them."""

    values: Floats
    origin: Ints
    outside: int = 0

    def __len__(self) -> int:
        return len(self.values)

    def extended(self, values: Floats, origin: str) -> Points:
        """The same points and more."""
        tag = np.full(len(values), ORIGINS.index(origin))
        return Points(
            np.concatenate([self.values, values]), np.concatenate([self.origin, tag]), self.outside
        )


def verification_points(
    domain: Domain, count: int, rng: np.random.Generator, given: Floats | None = None
) -> Points:
    """All `given` points (m, inputs) of the domain, and random points and corners up to `count` in
    all.

    Raises InputError where given points have another number of features.
    """
    parts: list[tuple[str, Floats]] = []
    outside = 0
    if given is not None:
        if given.ndim != 2 or given.shape[1] != domain.inputs:
            raise InputError(
                f"points of shape {list(given.shape)} do not fit a domain of {domain.inputs} "
                f"features; give one row of {domain.inputs} numbers for each point"
            )
        inside = domain.contains(given)
        parts.append(("given", given[inside]))
        outside = int(np.sum(~inside))
    missing = max(0, count - sum(len(values) for _, values in parts))
    corners = missing // 2
    if missing:
        parts.append(("random", domain.sample(missing - corners, rng)))
    if corners:
        parts.append(("corner", domain.corners(corners, rng)))
    return Points(
        np.concatenate([values for _, values in parts] or [np.zeros((0, domain.inputs))]),
        np.concatenate([np.full(len(v), ORIGINS.index(o)) for o, v in parts] or [np.zeros(0, int)]),
        outside,
    )
