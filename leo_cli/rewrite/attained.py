"""How large the outputs get: lower bounds of max |output| over D, each attained at a point of D.

Candidates are samples and corners of D and the points given; from the best of each component a
search walks uphill towards the corner of D that the gradient points to, in all features at first,
then in random parts of them (the output is piecewise linear, so its maxima over a box are mostly at
corners). At the best points found the network is evaluated with the a-priori error of that
evaluation (rounding.gamma) subtracted.
"""

from __future__ import annotations

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.domain import Domain
from leo_cli.errors import DomainError
from leo_cli.network import Network
from leo_cli.rounding import SMALLEST, gamma

_SAMPLES = (
    1_000  # points of each kind, fewer where there are more than _NUMBERS / _SAMPLES features
)
_NUMBERS = 1_000_000
_WIDE, _NARROW = 6, 2  # points per component and sign from which to climb, at first and later
_STEPS, _WIDE_STEPS = 60, 12
_PARTS = (0.5, 0.3, 0.2, 0.1)  # part of the features that a step may change, in turn
_COMPONENTS = 64  # with more components than this, fewer points for each
_WORK = 1e10  # multiplications after which the search ends; wide outputs get fewer steps
_UNIT = 64  # multiplications that take as long as one unit's share of everything else


def attained_magnitude(
    network: Network, domain: Domain, points: Floats | None = None, seed: int = 0
) -> Floats:
    """(components,) lower bounds of the largest |output| over D. points: (m, inputs) known points
    of D."""
    rng = np.random.default_rng(seed)
    count = int(np.clip(_NUMBERS // max(domain.inputs, 1), 64, _SAMPLES))
    starts = [] if points is None or len(points) == 0 else [points[:count]]
    try:
        starts += [domain.sample(count, rng), domain.corners(count, rng)]
    except DomainError:
        if not starts:
            raise
    x = np.concatenate(starts)
    x = x[domain.contains(x)]
    values = _outputs(network, x)
    components = values.shape[1]
    if components == 0 or len(x) == 0:
        return np.zeros(components)
    starts_each = max(1, _WIDE * _COMPONENTS // max(components, _COMPONENTS))
    rows, owner, sign = _best(values, starts_each)
    point = _climb(network, domain, x[rows], owner, sign, range(_WIDE_STEPS), rng)
    values = _outputs(network, point)
    values = np.where(np.arange(components) == owner[:, None], values, 0.0)
    rows, owner, sign = _best(values, min(_NARROW, starts_each))
    more = range(_WIDE_STEPS, _WIDE_STEPS + _affordable(network, len(rows)))
    point = _climb(network, domain, point[rows], owner, sign, more, rng)
    found = np.where(domain.contains(point)[:, None], certain_magnitude(network, point), 0.0)
    return np.asarray(found.max(axis=0, initial=0.0))


def _affordable(network: Network, rows: int) -> int:
    """Steps that so many points may take: two evaluations and a gradient each."""
    widths = sum(layer.width for layer in network.layers)
    step = 3.0 * max(rows, 1) * (network.connections + _UNIT * widths + 1)
    return int(min(_STEPS - _WIDE_STEPS, _WORK // step))


def _best(values: Floats, count: int) -> tuple[Ints, Ints, Floats]:
    """The rows of the `count` largest and smallest values of each component, their component and
    sign."""
    components = values.shape[1]
    order = np.concatenate([np.argsort(-side * values, axis=0)[:count] for side in (1, -1)])
    owner = np.tile(np.arange(components), len(order))
    sign = np.repeat([1.0, -1.0], order.size // 2)
    return order.ravel(), owner, sign


def _climb(
    network: Network,
    domain: Domain,
    point: Floats,
    owner: Ints,
    sign: Floats,
    steps: range,
    rng: np.random.Generator,
) -> Floats:
    """Points with a larger sign * output[owner], one for each row of `point`."""
    rows = np.arange(len(owner))
    value = sign * _outputs(network, point)[rows, owner]
    for step in steps:
        corner = domain.minimiser(-sign[:, None] * _gradient(network, point, owner))
        if step:
            part = rng.random(corner.shape) < _PARTS[step % len(_PARTS)]
            corner = np.where(part, corner, point)
        corner = domain.project(corner)
        reached = sign * _outputs(network, corner)[rows, owner]
        better = (reached > value) & domain.contains(corner)
        point = np.where(better[:, None], corner, point)
        value = np.where(better, reached, value)
    return point


def certain_magnitude(network: Network, x: Floats) -> Floats:
    """(n, components) lower bounds of |output| at x: the float64 value less its evaluation's
    error."""
    values: list[Floats] = [x]
    errors: list[Floats] = [np.zeros_like(x)]
    for layer in network.layers:
        z = layer.pre_activation(values)
        size = np.broadcast_to(np.abs(layer.bias), z.shape)
        error = np.zeros(z.shape)
        for term in layer.terms:
            magnitude = term.map.magnitude()
            size = size + magnitude.apply(np.abs(values[term.source]) + errors[term.source])
            error = error + magnitude.apply(errors[term.source])
        fuzz = 0.0 if layer.bias_error is None else layer.bias_error
        # doubled: the bound is itself a float sum of non-negative numbers (rounding.gamma)
        error = 2.0 * (error + (gamma(layer.depth) + layer.weight_error) * size + fuzz)
        errors.append(error + 2.0 * layer.depth * SMALLEST)
        values.append(layer.activate(z))
    parts = [np.abs(values[node]) - errors[node] for node in network.outputs]
    return np.asarray(np.maximum(np.concatenate([np.zeros((len(x), 0)), *parts], axis=1), 0.0))


def _outputs(network: Network, x: Floats) -> Floats:
    """(n, components) of all output nodes, side by side."""
    return np.concatenate([np.zeros((len(x), 0)), *network.evaluate(x)], axis=1)


def _gradient(network: Network, x: Floats, component: Ints) -> Floats:
    """(n, inputs) gradient of output component `component[i]` at x[i]."""
    z = network.pre_activations(x)
    pending = [np.zeros((len(x), network.width(node))) for node in range(len(network.layers) + 1)]
    start = 0
    for node in network.outputs:
        width = network.width(node)
        mine = np.flatnonzero((component >= start) & (component < start + width))
        pending[node][mine, component[mine] - start] += 1.0
        start += width
    for k in range(len(network.layers) - 1, -1, -1):
        layer = network.layers[k]
        slope = pending[k + 1] * (z[k] > 0) if layer.relu else pending[k + 1]
        for term in layer.terms:
            pending[term.source] += term.map.apply_transposed(slope)
    return pending[0]
