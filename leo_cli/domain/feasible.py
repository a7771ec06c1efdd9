"""Show that a domain is not empty: find a point of it.

Cheap attempts first (the middle and random points, projected). Then exact search: branch and bound
over one-hot groups and integers, with the linear constraints decided in rational arithmetic
(simplex.py). The first round asks for half-spaces shrunk by what rounding to the float type may
cost, so that the rational point can be rounded; the second asks for the constraints themselves. A
point counts only if `contains` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.domain import projection
from leo_cli.domain.halfspaces import HalfSpaces
from leo_cli.domain.parts import OneHot
from leo_cli.domain.simplex import LinearSystem, Row, SearchLimitError, Work
from leo_cli.errors import DomainError

if TYPE_CHECKING:
    from leo_cli.domain.domain import Domain

_TRIES = 64
_EMPTY = "the domain is empty: no input satisfies the linear constraints and the bounds together"
_EFFORT = 500_000  # tableau entries updated: some seconds

Values = dict[int, Fraction]


def search(domain: Domain) -> Floats:
    """(inputs,) a point of the domain. Raises DomainError if none can be shown."""
    points = projection.project(domain, (domain.lower / 2 + domain.upper / 2)[None, :])
    if domain.constraints and not domain.contains(points)[0]:
        random = projection.uniform(domain, _TRIES, np.random.default_rng(0))
        points = np.vstack([random, projection.project(domain, random), points])
    good = np.flatnonzero(domain.contains(points))
    return np.asarray(points[good[0]]) if len(good) else _exact_search(domain, points[-1])


def _exact_search(domain: Domain, start: Floats) -> Floats:
    """The point found; features that no constraint touches are those of `start`."""
    spaces = domain.half_spaces
    if (domain.minimum(spaces.G) > spaces.h).any():
        raise DomainError(_EMPTY)
    work = Work(_EFFORT)
    found: Values | None = None
    try:
        for limits in (spaces.target, spaces.h):
            found = _branch(domain, spaces, limits, work)
            if found is None:
                continue
            real = start.copy()
            for i, value in found.items():
                real[i] = float(value)
            rounded = projection.onto_grid(domain, real[None, :])
            points = np.vstack([rounded, projection.project(domain, rounded), real[None, :]])
            good = np.flatnonzero(domain.contains(points))
            if len(good):
                return np.asarray(points[good[0]])
    except SearchLimitError:
        raise DomainError(
            "no input was found that satisfies the linear constraints, so the domain may be empty; "
            "loosen them, or use fewer"
        ) from None
    if found is None:
        raise DomainError(_EMPTY)
    # real numbers satisfy them, and whether numbers of the type do was not decided
    raise DomainError(
        f"no point of type {domain.dtype} was found that satisfies the linear constraints exactly, "
        "though real numbers do; leave them some room: "
        'replace "==" by two inequalities, and loosen those that barely hold'
    )


@dataclass(frozen=True)
class _Node:
    """Bounds of the features that the constraints touch, after some choices."""

    lower: Values
    upper: Values

    def fixed(self, values: Values) -> _Node:
        return _Node({**self.lower, **values}, {**self.upper, **values})


def _branch(domain: Domain, spaces: HalfSpaces, limits: Floats, work: Work) -> Values | None:
    """Depth-first branch and bound; values of the features touched, or None: proved empty."""
    used: Bools = np.asarray(spaces.G.any(axis=0))
    groups = [pair for pair in domain.groups if used[pair[0].members].any()]
    member = np.zeros(domain.inputs, dtype=bool)
    for group in domain.one_hot:
        member[group.members] = True
    for group, _ in groups:
        used[group.members] = True
    whole = [int(i) for i in np.flatnonzero(used & domain.integer & ~member)]
    at_most = [
        ({int(i): _exact(row[i]) for i in np.flatnonzero(row)}, _exact(limit))
        for row, limit in zip(spaces.G, limits, strict=True)
    ]
    equal = [_relaxed(group) for group, _ in groups]
    touched = [int(i) for i in np.flatnonzero(used)]
    stack = [
        _Node(
            {i: _exact(domain.lower[i]) for i in touched},
            {i: _exact(domain.upper[i]) for i in touched},
        )
    ]
    while stack:
        node = stack.pop()
        values = LinearSystem(node.lower, node.upper, at_most, equal).solve(work)
        if values is not None:
            children = _children(node, values, groups, whole)
            if not children:
                return values
            stack.extend(children)
    return None


def _children(
    node: _Node, values: Values, groups: list[tuple[OneHot, Ints]], whole: list[int]
) -> list[_Node]:
    """Branches on something that is not yet as it must be, the most promising last; none if all
    is."""
    for group, choices in groups:
        settings = [_setting(group, int(j)) for j in choices]
        if not any(all(values[i] == v for i, v in setting.items()) for setting in settings):
            distance = [sum(abs(values[i] - v) for i, v in s.items()) for s in settings]
            order = sorted(range(len(settings)), key=lambda k: -distance[k])
            return [node.fixed(settings[k]) for k in order]
    for i in whole:
        if values[i].denominator != 1:
            floor = Fraction(values[i].__floor__())
            below = _Node(node.lower, {**node.upper, i: floor})
            above = _Node({**node.lower, i: floor + 1}, node.upper)
            return [above, below] if values[i] - floor < Fraction(1, 2) else [below, above]
    return []


def _setting(group: OneHot, hot: int) -> Values:
    """The values of all members when the one at position `hot` is hot."""
    chosen = group.cold.copy()
    chosen[hot] = group.hot[hot]
    return {int(i): _exact(v) for i, v in zip(group.members, chosen, strict=True)}


def _relaxed(group: OneHot) -> Row:
    """The shares of "hot", (x - cold) / (hot - cold), add up to 1."""
    coefficients, total = {}, Fraction(1)
    for i, cold, hot in zip(group.members, group.cold, group.hot, strict=True):
        scale = _exact(hot) - _exact(cold)
        coefficients[int(i)] = 1 / scale
        total += _exact(cold) / scale
    return coefficients, total


def _exact(value: float) -> Fraction:
    return Fraction(float(value))
