"""Ascent from region to region, for hard questions: exact where gradients are not.

Where every ReLU keeps its phase, z of a unit is an affine function of the input, and its maximum
over that region of the box is a linear program of few variables. It is climbed by affine scaling
(Dikin 1967; Barnes, Math. Programming 36, 1986), all starts in one batch: a step to most of the way
to the border along H^-1 g, with H the Hessian of the logarithmic barrier. From the maximum of a
region, points nearby and beyond show whether a neighbouring region leads higher. Unlike
sign-gradient steps this follows ridges, where phases change all the time. Like any search it only
proposes points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.domain import Domain
from leo_cli.network import Network
from leo_cli.stability.budget import Budget

REGIONS = 64  # on the way of one walk
STEPS, SHARE = 16, 0.9  # of affine scaling in one region, and of the way to its border
ROOM = 1e-6  # that a start has at least to each border, relative to the box
BEYOND = (1.0, 1.001, 1.05, 1.3, 2.0)  # of the way from a start to the maximum of its region
NEARBY, SPREADS = 8, (1e-5, 1e-3, 1e-2, 1e-1)  # points around it, for each of these distances
BETTER = 1e-9  # gain, relative to the size of z, for which a walk goes on


def walk(
    network: Network,
    domain: Domain,
    units: Ints,
    signs: Floats,
    x: Floats,
    rng: np.random.Generator,
    budget: Budget,
) -> Floats:
    """Points where sign * z of the last layer's `units` is positive in float arithmetic.

    x: (len(units), inputs) where each walk starts; signs: (len(units),). Walks that fail give no
    point."""
    found = [np.zeros((0, network.inputs))]
    best = _values(network, units, signs, x[:, None])[:, 0]
    for _ in range(REGIONS):
        if len(units) == 0 or budget.expired():
            break
        top = _top(_regions(network, units, signs, x), domain, x)
        points = domain.project(_around(domain, x, top, rng).reshape(-1, network.inputs))
        points = points.reshape(len(units), -1, network.inputs)
        values = _values(network, units, signs, points)
        chosen = values.argmax(axis=1)
        rows = np.arange(len(units))
        value, there = values[rows, chosen], points[rows, chosen]
        found.append(there[value > 0])
        # one walk that arrives answers the question of all
        answered = np.isin(units * signs + signs, (units * signs + signs)[value > 0])
        going = (value > best + BETTER * np.abs(best)) & ~answered
        units, signs, x, best = units[going], signs[going], there[going], value[going]
    points = np.vstack(found)
    return points[domain.contains(points)] if len(points) else points


def starts(network: Network, unit: int, sign: float, points: Floats, count: int) -> Floats:
    """The `count` points at which sign * z of a unit of the last layer is largest."""
    z = network.pre_activations(points)[-1][:, unit] * sign
    return np.asarray(points[np.argsort(-z, kind="stable")[:count]])


@dataclass(frozen=True)
class _Regions:
    """max goal x subject to rows x <= limits: (m, n), (m, r, n), (m, r)."""

    goal: Floats
    rows: Floats
    limits: Floats


def _values(network: Network, units: Ints, signs: Floats, points: Floats) -> Floats:
    """(m, p) sign * z at points (m, p, inputs)."""
    z = network.pre_activations(points.reshape(-1, network.inputs))[-1]
    rows = np.arange(len(units))
    own: Floats = z.reshape(len(units), -1, z.shape[-1])[rows, :, units]
    return np.multiply(own, signs[:, None])


def _regions(network: Network, units: Ints, signs: Floats, x: Floats) -> _Regions:
    """The linear programs of the regions around the points x."""
    inputs = network.inputs
    here = network.pre_activations(x)
    # rows of affine maps of the input, the constant last: (m or 1, inputs + 1, width)
    values: list[Floats] = [np.eye(inputs + 1, inputs)[None]]
    rows, limits = [np.zeros((len(x), 0, inputs))], [np.zeros((len(x), 0))]
    last = len(network.layers) - 1
    for k, layer in enumerate(network.layers):
        z = np.zeros((1, inputs + 1, layer.width))
        z[:, -1] = layer.bias
        for term in layer.terms:
            z = z + term.map.apply(values[term.source])
        if k == last:
            break
        if not layer.relu:
            values.append(z)
            continue
        on = here[k] > 0
        side = np.where(on, -1.0, 1.0)[:, None, :]
        rows.append(np.swapaxes(side * z[:, :-1], 1, 2))
        limits.append(-(side * z[:, -1:])[:, 0])
        values.append(z * on[:, None, :])
    z = np.broadcast_to(z, (len(x), *z.shape[1:]))
    goal = z[np.arange(len(x)), :-1, units] * signs[:, None]
    return _Regions(goal, np.concatenate(rows, axis=1), np.concatenate(limits, axis=1))


def _top(regions: _Regions, domain: Domain, x: Floats) -> Floats:
    """(m, inputs) close to the maximum of each region, from the points x inside."""
    centre, radius = domain.lower / 2 + domain.upper / 2, domain.upper / 2 - domain.lower / 2
    with np.errstate(all="ignore"):  # what is not finite goes nowhere
        rows, goal = regions.rows * radius, regions.goal * radius
        size = np.sqrt((rows * rows).sum(axis=2))
        size = np.where((size > 0) & np.isfinite(size), size, 1.0)
        rows = rows / size[..., None]
        limits = (regions.limits - regions.rows @ centre) / size
        t = (x - centre) / np.where(radius > 0, radius, 1.0)
        t = np.clip(t, ROOM - 1.0, 1.0 - ROOM)
        slack = np.maximum(limits - _product(rows, t), ROOM)
        at = np.arange(t.shape[1])
        for _ in range(STEPS):
            hessian = np.swapaxes(rows / (slack * slack)[..., None], 1, 2) @ rows
            hessian[:, at, at] += (1.0 + t) ** -2 + (1.0 - t) ** -2
            try:
                move = np.linalg.solve(hessian, goal[..., None])[..., 0]
            except np.linalg.LinAlgError:  # singular to rounding: this is as far as it gets
                break
            speed = _product(rows, move)
            room = np.minimum(_room(slack, speed), _room(1.0 - t, move))
            step = SHARE * np.minimum(room, _room(1.0 + t, -move))
            step = np.where(np.isfinite(step), step, 0.0)[:, None]
            t, slack = t + step * np.nan_to_num(move), slack - step * np.nan_to_num(speed)
    return np.clip(centre + radius * t, domain.lower, domain.upper)


def _around(domain: Domain, x: Floats, top: Floats, rng: np.random.Generator) -> Floats:
    """(m, p, inputs) points to look at: beyond the maximum of a region, and around it."""
    ray = x[:, None] + np.array(BEYOND)[:, None] * (top - x)[:, None]
    spread = np.repeat(SPREADS, NEARBY)[:, None] * (domain.upper - domain.lower)
    near = top[:, None] + rng.normal(size=(len(x), *spread.shape)) * spread
    points: Floats = np.concatenate([ray, near], axis=1)
    return np.clip(points, domain.lower, domain.upper)


def _product(matrices: Floats, vectors: Floats) -> Floats:
    return np.asarray((matrices @ vectors[..., None])[..., 0])


def _room(distance: Floats, speed: Floats) -> Floats:
    """(m,) how long until a border is reached."""
    time = np.where(speed > 0, distance / np.where(speed > 0, speed, 1.0), np.inf)
    return np.asarray(time.min(axis=1, initial=np.inf))
