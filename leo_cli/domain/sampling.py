"""Points of a domain: uniform, at its corners, and the nearest to given ones.

Without linear constraints every point is made right at once. With them, points are proposed, moved
by alternating projections (each violated half-space in turn, then the box), and kept only if they
are feasible; what is missing then comes from random walks (hit and run: R. L. Smith, Operations
Research 32, 1984) from the points found. Whatever the constraints, points that are returned by
`sample` and `corners` lie in the domain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.domain.grid import grid_down, grid_up, on_grid
from leo_cli.domain.halfspaces import HalfSpaces, continuous

if TYPE_CHECKING:
    from leo_cli.domain.domain import Domain

_ROUNDS = 4  # of proposing as many points as are missing
_WALKERS, _STEPS = 64, 200
_SWEEPS = 20  # alternating projections over all half-spaces
_BATCH = 1024  # points projected at a time


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
        points = _walk(domain, points, count, rng)
    return points[:count]


def corners(domain: Domain, count: int, rng: np.random.Generator) -> Floats:
    """(count, inputs) extreme points of the domain; see Domain.corners."""
    upper = rng.random((count, domain.inputs)) < 0.5
    points = np.where(upper, domain.upper, domain.lower)
    _choose_hot(domain, points, rng)
    if not domain.constraints:
        return onto_grid(domain, points)
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


def uniform(domain: Domain, count: int, rng: np.random.Generator) -> Floats:
    """(count, inputs) uniform over the box, the integers and the one-hot choices."""
    points = rng.random((count, domain.inputs))
    with np.errstate(over="ignore"):
        width = domain.upper - domain.lower
    wide = ~np.isfinite(width)
    share = points[:, wide]
    points *= np.where(wide, 0.0, width)
    points += domain.lower
    points[:, wide] = domain.lower[wide] * (1 - share) + domain.upper[wide] * share
    whole = np.flatnonzero(domain.integer)
    if len(whole):
        low, high = domain.lower[whole], domain.upper[whole]
        points[:, whole] = np.floor(low + rng.random((count, len(whole))) * (high - low + 1))
    _choose_hot(domain, points, rng)
    return onto_grid(domain, points)


def project(domain: Domain, points: Floats) -> Floats:
    """(m, inputs) -> (m, inputs); see Domain.project."""
    moved = np.clip(points, domain.lower, domain.upper)
    unknown = np.isnan(moved)
    if unknown.any():
        moved = np.where(unknown, domain.lower / 2 + domain.upper / 2, moved)
    if domain.constraints and len(points):
        if len(points) > _BATCH:
            parts = [points[k : k + _BATCH] for k in range(0, len(points), _BATCH)]
            return np.vstack([project(domain, part) for part in parts])
        spaces = domain.half_spaces
        everything = np.ones(domain.inputs, dtype=bool)
        discrete = domain.integer.any() or bool(domain.one_hot)
        if discrete:
            _alternate(domain, spaces, moved, everything)
            _make_discrete(domain, moved)
        _alternate(domain, spaces, moved, continuous(domain))
    else:
        _make_discrete(domain, moved)
    return onto_grid(domain, moved)


def onto_grid(domain: Domain, points: Floats) -> Floats:
    """Rounded to the type and kept inside the box; a feature whose box holds no number of the type
    (after `sub_box`) keeps its bound."""
    rounded = on_grid(points, domain.dtype)
    np.clip(rounded, *domain.grid_bounds, out=rounded)
    for group, _ in domain.groups:
        rounded[:, group.members] = points[:, group.members]
    return rounded


def grid_bounds(domain: Domain) -> tuple[Floats, Floats]:
    """The bounds rounded inward to the type; both are the lower bound where that leaves nothing."""
    low, high = grid_up(domain.lower, domain.dtype), grid_down(domain.upper, domain.dtype)
    empty = low > high
    return np.where(empty, domain.lower, low), np.where(empty, domain.lower, high)


def _choose_hot(domain: Domain, points: Floats, rng: np.random.Generator) -> None:
    """A random choice for each one-hot group, in place."""
    rows = np.arange(len(points))
    for group, choices in domain.groups:
        hot = choices[rng.integers(len(choices), size=len(points))]
        points[:, group.members] = group.cold
        points[rows, group.members[hot]] = group.hot[hot]


def _make_discrete(domain: Domain, points: Floats) -> None:
    """Integers rounded, and in each group the allowed member nearest to its hot value made hot, in
    place."""
    whole = np.flatnonzero(domain.integer)
    points[:, whole] = np.rint(points[:, whole])
    rows = np.arange(len(points))
    for group, choices in domain.groups:
        members = group.members[choices]
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            scale = group.hot[choices] - group.cold[choices]
            score = (points[:, members] - group.cold[choices]) / scale
        best = choices[np.argmax(np.nan_to_num(score), axis=1)]
        points[:, group.members] = group.cold
        points[rows, group.members[best]] = group.hot[best]


def _alternate(domain: Domain, spaces: HalfSpaces, points: Floats, moving: Bools) -> None:
    """Alternating projections onto half-spaces and box over the `moving` features, in place.

    Half-spaces are aimed at their target, and left alone from half of the way to it on. A feature
    at a bound that it would have to cross stays.
    """
    rows = [(np.flatnonzero(row), row) for row in spaces.G * moving]
    enough = (spaces.h - spaces.target) / 2
    at = np.arange(len(points))
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        for _ in range(_SWEEPS):
            excess = points[at] @ spaces.G.T - spaces.target
            at = at[(excess > enough).any(axis=1)]
            if len(at) == 0:
                return
            x = points[at]
            for k, (used, row) in enumerate(rows):
                excess = x @ spaces.G[k] - spaces.target[k]
                over = np.flatnonzero(excess > 0)
                part, direction = x[np.ix_(over, used)], row[used]
                low, high = domain.lower[used], domain.upper[used]
                stuck = np.where(direction > 0, part <= low, part >= high)
                useful = np.where(stuck, 0.0, direction)
                step = excess[over] / (useful @ direction)
                part -= np.where(np.isfinite(step), step, 0.0)[:, None] * useful
                x[np.ix_(over, used)] = np.clip(part, low, high)
            points[at] = x


def _reach(spaces: HalfSpaces, start: Floats, direction: Floats) -> Floats:
    """(m,) the largest share t <= 1 of `direction` that keeps G x <= target from `start`."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        speed = direction @ spaces.G.T
        room = np.maximum(spaces.target - start @ spaces.G.T, 0.0)
        share = np.where(speed > 0, room / speed, 1.0)
    return np.asarray(np.clip(np.nan_to_num(share), 0.0, 1.0).min(axis=1, initial=1.0))


def _walk(domain: Domain, points: Floats, count: int, rng: np.random.Generator) -> Floats:
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
