"""From a solver's values to points of the domain, and what these show.

A solver's input is off by its tolerances. It is moved to the grid of the inputs' type, to integers
and hot members; where it then violates linear constraints, a little towards a point that satisfies
them. Only points that are in D, exactly, are used.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Bools, Floats
from leo_cli.domain import Domain
from leo_cli.errors import DomainError
from leo_cli.network import Network
from leo_cli.stability.replay import evaluate

NEAR = 1e-7  # of a feature's range: so near to an end of it, a solver means the end
# how far to go towards a feasible point: from a solver's tolerance to plainly elsewhere
STEPS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def inside(domain: Domain, point: Floats) -> Floats | None:
    """(inputs,) -> (inputs,) a point of D next to `point`, or None."""
    first = domain.project(point[None])
    if domain.contains(first)[0]:
        return np.asarray(first[0])
    if not domain.constraints:
        return None
    near = NEAR * (domain.upper - domain.lower)
    snapped = np.where(point <= domain.lower + near, domain.lower, point)
    snapped = np.where(point >= domain.upper - near, domain.upper, snapped)
    candidates = [domain.project(snapped[None])]
    with contextlib.suppress(DomainError):  # no feasible point is known
        anchor, steps = domain.feasible_point(), np.array(STEPS)[:, None]
        candidates += [domain.project(snapped * (1.0 - steps) + anchor * steps), anchor[None]]
    moved = np.vstack(candidates)
    allowed = np.flatnonzero(domain.contains(moved))
    return np.asarray(moved[allowed[0]]) if len(allowed) else None


@dataclass(frozen=True)
class Shown:
    """Signs of the pre-activations of one layer that points show beyond rounding: (width,) each."""

    positive: Bools
    negative: Bools

    def __or__(self, other: Shown) -> Shown:
        return Shown(self.positive | other.positive, self.negative | other.negative)

    def sees(self, unit: int, above: bool) -> bool:
        """Whether "z <= 0" (above) or "z >= 0" of the unit is refuted."""
        return bool(self.positive[unit] if above else self.negative[unit])


def shown(network: Network, point: Floats, layers: tuple[int, ...]) -> dict[int, Shown]:
    """What the point (inputs,) shows of each of the layers; the same rule as in replay.py."""
    z, error = evaluate(network, point[None], max(layers) + 1)
    return {
        k: Shown(np.asarray(z[k][0] > error[k][0]), np.asarray(z[k][0] < -error[k][0]))
        for k in layers
    }
