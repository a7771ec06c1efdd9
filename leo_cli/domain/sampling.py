"""Points of a domain: uniform, and at its corners.

Without linear constraints every point is made right at once. With them, points are proposed, moved
by alternating projections, and kept only if they are feasible; what is missing then comes from
random walks from the points found. Whatever the constraints, the points returned lie in the
domain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain.halfspaces import HalfSpaces, continuous
from leo_cli.domain.projection import choose_hot, onto_grid, project, uniform
from leo_cli.domain.walk import walk

if TYPE_CHECKING:
    from leo_cli.domain.domain import Domain

_ROUNDS = 4  # of proposing as many points as are missing


def sample(domain: Domain, count: int, rng: np.random.Generator) -> Floats:
    """(count, inputs) points of the domain; see Domain.sample."""
    if not domain.constraints:
        return uniform(domain, count, rng)
    found: list[Floats] = []
    missing = count
    for _ in range(_ROUNDS):
        if missing <= 0:
            break
        proposed = uniform(domain, missing, rng)
        good = domain.contains(proposed)
        moved = project(domain, proposed[~good])
        found += [proposed[good], moved[domain.contains(moved)]]
        missing = count - sum(map(len, found))
    points = np.vstack([np.zeros((0, domain.inputs)), *found])
    if len(points) < count:
        points = walk(domain, points, count, rng)
    return points[:count]


def corners(domain: Domain, count: int, rng: np.random.Generator) -> Floats:
    """(count, inputs) extreme points of the domain; see Domain.corners."""
    upper = rng.random((count, domain.inputs)) < 0.5
    low, high = domain.grid_bounds
    points = np.where(upper, high, low)
    choose_hot(domain, points, rng)
    if not domain.constraints:
        return points
    inner = sample(domain, count, rng)
    moved = project(domain, points)
    good = domain.contains(moved)
    # otherwise: from an inner point as far towards the corner as the half-spaces allow
    spaces, moving = domain.half_spaces, continuous(domain)
    start = inner[~good]
    direction = np.where(moving, points[~good] - start, 0.0)
    reached = onto_grid(domain, start + _reach(spaces, start, direction)[:, None] * direction)
    inside = domain.contains(reached)
    moved[~good] = np.where(inside[:, None], reached, start)
    return moved


def _reach(spaces: HalfSpaces, start: Floats, direction: Floats) -> Floats:
    """(m,) the largest share t <= 1 of `direction` that keeps G x <= target from `start`."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        speed = direction @ spaces.G.T
        room = np.maximum(spaces.target - start @ spaces.G.T, 0.0)
        share = np.where(speed > 0, room / speed, 1.0)
    return np.asarray(np.clip(np.nan_to_num(share), 0.0, 1.0).min(axis=1, initial=1.0))
