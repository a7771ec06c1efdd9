"""Random walks from points of a domain with linear constraints to others.

Hit and run (R. L. Smith, Operations Research 32, 1984): along a random direction within the flats
of equalities to a uniform point between the bounds and half-spaces; now and then another choice
for an integer or a one-hot group, repaired by projection. A step that leaves the domain is not
taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.domain.halfspaces import HalfSpaces, continuous
from leo_cli.domain.projection import onto_grid, project, uniform

if TYPE_CHECKING:
    from leo_cli.domain.domain import Domain

_WALKERS, _STEPS = 64, 200


def walk(domain: Domain, points: Floats, count: int, rng: np.random.Generator) -> Floats:
    """(>= count, inputs): the points given and feasible points of random walks from them."""
    start = points if len(points) else domain.feasible_point()[None, :]
    spaces, moving = domain.half_spaces, continuous(domain)
    flat = _orthonormal(spaces.G[spaces.thin] * moving)
    found, total = [start], len(start)
    here = start[rng.integers(len(start), size=min(_WALKERS, count))]
    scale = np.where(moving, domain.upper / 2 - domain.lower / 2, 0.0)
    for step in range(_STEPS):
        if total >= count:
            break
        if step % 4 == 3 and not moving.all():
            there = _other_choice(domain, here, rng)
        else:
            direction = rng.standard_normal(here.shape) * scale
            direction -= (direction @ flat.T) @ flat
            forward = _room(domain, spaces, here, direction)
            backward = _room(domain, spaces, here, -direction)
            share = rng.random(len(here)) * (forward + backward) - backward
            there = onto_grid(domain, here + share[:, None] * direction)
        good = domain.contains(there)
        here = np.where(good[:, None], there, here)
        found.append(there[good])
        total += int(good.sum())
    pool = np.vstack(found)
    repeats = rng.integers(len(pool), size=max(0, count - len(pool)))
    return np.vstack([pool, pool[repeats]])


def _room(domain: Domain, spaces: HalfSpaces, here: Floats, direction: Floats) -> Floats:
    """(m,) how far a walk may go: to the box's bounds and the half-spaces that are not thin."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        bound = np.where(direction > 0, domain.upper, domain.lower)
        to_box = np.where(direction != 0, (bound - here) / direction, np.inf).min(
            axis=1, initial=np.inf
        )
        wide = ~spaces.thin
        speed = direction @ spaces.G[wide].T
        room = np.maximum(spaces.target[wide] - here @ spaces.G[wide].T, 0.0)
        to_space = np.where(speed > 0, room / speed, np.inf).min(axis=1, initial=np.inf)
    room_left = np.minimum(to_box, to_space)
    return np.where(np.isfinite(room_left), np.maximum(room_left, 0.0), 0.0)


def _other_choice(domain: Domain, here: Floats, rng: np.random.Generator) -> Floats:
    """New random values for one integer feature or one-hot group of each point, then projected."""
    fresh = uniform(domain, len(here), rng)
    parts: list[Ints] = [group.members for group, _ in domain.groups]
    whole = domain.integer.copy()
    for group in domain.one_hot:
        whole[group.members] = False
    parts += [np.array([i]) for i in np.flatnonzero(whole & (domain.lower < domain.upper))]
    there = here.copy()
    if parts:
        for row, pick in enumerate(rng.integers(len(parts), size=len(here))):
            there[row, parts[pick]] = fresh[row, parts[pick]]
    return project(domain, there)


def _orthonormal(rows: Floats) -> Floats:
    """(r, n) orthonormal rows with the same span, to rounding."""
    if len(rows) == 0 or not rows.any():
        return np.zeros((0, rows.shape[1]))
    _, sizes, basis = np.linalg.svd(rows, full_matrices=False)
    return np.asarray(basis[sizes > 1e-9 * sizes[0]])
