"""Exact evaluation of a network at points, in the arithmetic of leo_cli/dyadic.py.

Weights, biases and points are dyadic, and a ReLU keeps or clears a number, so the value of every
node at a point is dyadic. Claim: what these functions return is the real-arithmetic value of the
Network as stored. For tests, and for the few points where a sign or a bound is in doubt.
"""

from __future__ import annotations

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.dyadic import Dyadic
from leo_cli.network import LinearMap, Network

__all__ = ["Dyadic", "exact_outputs", "exact_pre_activations"]


def exact_pre_activations(network: Network, points: Floats) -> list[Dyadic]:
    """z of every layer at the points (n, inputs), exactly; a list of (n, width).

    Raises ValueError where a point or a weight is not finite."""
    values = [Dyadic.of(points)]
    out: list[Dyadic] = []
    for layer in network.layers:
        z = Dyadic.of(np.broadcast_to(layer.bias, (len(points), layer.width)))
        for term in layer.terms:
            z = z + _apply(term.map, values[term.source])
        out.append(z)
        values.append(z.relu() if layer.relu else z)
    return out


def exact_outputs(network: Network, points: Floats) -> Dyadic:
    """The concatenated network outputs at the points (n, inputs), exactly: (n, components)."""
    z = exact_pre_activations(network, points)
    parts = []
    for node in network.outputs:
        if node == 0:
            parts.append(Dyadic.of(points))
        else:
            value = z[node - 1]
            parts.append(value.relu() if network.layers[node - 1].relu else value)
    if not parts:
        return Dyadic(np.zeros((len(points), 0), dtype=object), 0)
    exponent = min(part.exponent for part in parts)
    return Dyadic(np.concatenate([part.shifted(exponent) for part in parts], axis=1), exponent)


def _apply(linear: LinearMap, x: Dyadic) -> Dyadic:
    """(n, in) -> (n, out); columns of zeros in W or x are skipped, which changes nothing."""
    rows = linear.rows(slice(None))
    live = np.flatnonzero(np.any(rows != 0, axis=0) & np.any(x.numerators != 0, axis=0))
    weights = Dyadic.of(rows[:, live])
    if len(live) == 0:
        return Dyadic(np.zeros((x.shape[0], len(rows)), dtype=object), 0)
    product = x.numerators[:, live] @ weights.numerators.T
    return Dyadic(product, x.exponent + weights.exponent)
