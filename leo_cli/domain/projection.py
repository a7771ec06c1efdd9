"""Points on the float type's grid with everything right but linear constraints: random ones, and
the nearest to given ones, which are also moved towards the linear constraints.

Constraints are approached by alternating projections: each violated half-space in turn, then the
box.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from leo_cli.arrays import Bools, Floats
from leo_cli.domain.grid import grid_down, grid_up, on_grid
from leo_cli.domain.halfspaces import HalfSpaces, continuous

if TYPE_CHECKING:
    from leo_cli.domain.domain import Domain

_SWEEPS = 20  # over all half-spaces
_BATCH = 1024  # points projected at a time


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
    choose_hot(domain, points, rng)
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


def choose_hot(domain: Domain, points: Floats, rng: np.random.Generator) -> None:
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
