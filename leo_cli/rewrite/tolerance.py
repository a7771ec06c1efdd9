"""How far a run may move the outputs: `--tolerance`, and what it means for a given network.

    half-ulp  half an ulp, in the output's type, of the largest magnitude that the component attains at a replayed
              point of D: at most what storing that output once costs
    0         only what is exact in the stored type
    X         absolute
    Xr        X times the largest magnitude attained

Magnitudes are lower bounds, never upper ones: looser bounds must not buy tolerance. Each comes from a point of D
at which the network was evaluated; the a-priori error of that evaluation (rounding.gamma) is subtracted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.domain import Domain
from leo_cli.errors import DomainError, InputError
from leo_cli.network import Network
from leo_cli.rewrite.arithmetic import stored, ulp
from leo_cli.rounding import SMALLEST, gamma

HALF_ULP = "half-ulp"
_SAMPLES = 1_000  # points of each kind that are evaluated
_STARTS = 6  # best points of a component, for each sign, from which a search climbs
_STEPS = 60
_PARTS = (0.5, 0.3, 0.2, 0.1)  # part of the features that a step may change, in turn


@dataclass(frozen=True)
class Tolerance:
    """kind: "half-ulp", "absolute" or "relative" (of the largest magnitude attained). value: of the last two."""

    kind: str = HALF_ULP
    value: float = 0.0

    @property
    def is_zero(self) -> bool:
        return self.kind != HALF_ULP and self.value == 0.0

    def __str__(self) -> str:
        if self.kind == HALF_ULP:
            return HALF_ULP
        return f"{self.value:g}" + ("r" if self.kind == "relative" else "")


def parse_tolerance(text: str) -> Tolerance:
    """ "half-ulp", "0", "1e-6", "1e-5r". Raises InputError."""
    word = text.strip().lower()
    if word == HALF_ULP:
        return Tolerance()
    relative = word.endswith("r")
    try:
        value = float(word[:-1] if relative else word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise InputError(
            f'--tolerance: "{text}" is not "half-ulp", a number >= 0 such as 1e-6, or one with r '
            "(relative) such as 1e-5r"
        )
    return Tolerance("relative" if relative else "absolute", value)


def allowance(
    tolerance: Tolerance,
    network: Network,
    domain: Domain,
    points: Floats | None = None,
    seed: int = 0,
) -> Floats:
    """The allowed deviation of each output component of the network. points: (m, inputs) known points of D."""
    components = sum(network.width(node) for node in network.outputs)
    if tolerance.kind == "absolute":
        return np.full(components, tolerance.value)
    if tolerance.kind == "relative" and tolerance.value == 0.0:
        return np.zeros(components)
    size = attained_magnitude(network, domain, points, seed)
    # an output beyond its type has no magnitude to speak of: nothing is allowed there
    size = np.where(np.isfinite(stored(size, network.dtype)), size, 0.0)
    if tolerance.kind == "relative":
        return np.asarray(np.nextafter(size * tolerance.value, 0.0))
    return np.where(size > 0, 0.5 * ulp(size, network.dtype), 0.0)


def attained_magnitude(
    network: Network, domain: Domain, points: Floats | None = None, seed: int = 0
) -> Floats:
    """(components,) lower bounds of the largest |output| over D, each attained at a point of D."""
    rng = np.random.default_rng(seed)
    starts = [] if points is None or len(points) == 0 else [points[:_SAMPLES]]
    try:
        starts += [domain.sample(_SAMPLES, rng), domain.corners(_SAMPLES, rng)]
    except DomainError:
        if not starts:
            raise
    x = np.concatenate(starts)
    x = x[domain.contains(x)]
    best = _certain_magnitude(network, x).max(axis=0, initial=0.0)
    return np.asarray(np.maximum(best, _climb(network, domain, x, rng)))


def _certain_magnitude(network: Network, x: Floats) -> Floats:
    """(n, components) lower bounds of |output| at x: the float64 value less its evaluation's error."""
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


def _climb(network: Network, domain: Domain, x: Floats, rng: np.random.Generator) -> Floats:
    """Walk uphill on |output component| from the best points: towards the best corner of D for the gradient,
    in all features or in a random part of them, as long as that helps."""
    outputs = _outputs(network, x)
    components = outputs.shape[1]
    best = np.zeros(components)
    if components == 0 or len(x) == 0:
        return best
    order = np.concatenate([np.argsort(side * outputs, axis=0)[:_STARTS] for side in (1, -1)])
    owner = np.tile(np.arange(components), len(order))
    rows = np.arange(len(owner))
    point = x[order.ravel()]
    value = outputs[order.ravel(), owner]
    sign = np.where(np.repeat(np.arange(len(order)) < len(order) // 2, components), -1.0, 1.0)
    value = sign * value
    for step in range(_STEPS):
        corner = domain.minimiser(-sign[:, None] * _gradient(network, point, owner))
        if step:
            corner = np.where(rng.random(corner.shape) < _PARTS[step % len(_PARTS)], corner, point)
        corner = domain.project(corner)
        reached = sign * _outputs(network, corner)[rows, owner]
        better = (reached > value) & domain.contains(corner)
        point = np.where(better[:, None], corner, point)
        value = np.where(better, reached, value)
    certain = np.where(domain.contains(point), _certain_magnitude(network, point)[rows, owner], 0.0)
    np.maximum.at(best, owner, certain)
    return best


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
