"""Interval bounds of pre-activations, rounded outward.

For z = W h + b and h in [l, u]:  min z = W+ l + W- u + b  with W+ = max(W, 0), W- = min(W, 0)
(Moore, interval arithmetic). The rounding term is taken at the minimising point, gamma (W+ |l| +
|W-| |u| + |b|), so that it vanishes with the terms: a unit that touches 0 exactly at a corner with
zero coordinates keeps the bound 0. Maps that read the input use the closed-form minimum over the
domain (one-hot groups, integers).
"""

from __future__ import annotations

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, LinearMap
from leo_cli.rounding import SMALLEST, gamma

# products of numbers whose smallest magnitudes multiply to this or more do not underflow
NO_UNDERFLOW = 2.0**-960


def post_activation(layer: Layer, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
    """Bounds of h from bounds of z."""
    if layer.relu:
        return np.maximum(lower, 0.0), np.maximum(upper, 0.0)
    return lower, upper


def _extremes(
    linear: LinearMap, lower: Floats, upper: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """min and max of W h over the box, and sum |w h| at the minimiser and the maximiser."""
    plus, minus = linear.parts()
    low = plus.apply(lower) + minus.apply(upper)
    high = plus.apply(upper) + minus.apply(lower)
    size_low = plus.apply(np.abs(lower)) - minus.apply(np.abs(upper))
    size_high = plus.apply(np.abs(upper)) - minus.apply(np.abs(lower))
    return low, high, size_low, size_high


def layer_interval(
    layer: Layer, domain: Domain, boxes: list[tuple[Floats, Floats]]
) -> tuple[Floats, Floats]:
    """(lower, upper), (width,) each, of the layer's pre-activation over the domain.

    boxes: bounds of h for each node before the layer, node 0 first (its box is the domain's).
    """
    low, high = layer.bias, layer.bias
    size_low, size_high = np.abs(layer.bias), np.abs(layer.bias)
    fuzz = np.zeros(layer.width) if layer.bias_error is None else layer.bias_error
    underflow = 0.0
    for term in layer.terms:
        if term.source == 0 and isinstance(term.map, Dense) and domain.one_hot:
            # already rounded outward by the domain; its size only enters the sum's own rounding
            least = domain.minimum(term.map.matrix)
            most = -domain.minimum(-term.map.matrix)
            reach = term.map.magnitude().apply(domain.magnitude)
            sizes = (reach, reach)
        else:
            least, most, *rest = _extremes(term.map, *boxes[term.source])
            sizes = (rest[0], rest[1])
        low, high = low + least, high + most
        if term.map.smallest * _smallest(boxes[term.source]) < NO_UNDERFLOW:
            underflow += 4.0 * term.map.depth * SMALLEST
        size_low, size_high = size_low + sizes[0], size_high + sizes[1]
    relative = gamma(2 * layer.depth + 4) + 2.0 * layer.weight_error
    lower = _outward(low, -(relative * size_low + 2.0 * fuzz + underflow))
    upper = _outward(high, relative * size_high + 2.0 * fuzz + underflow)
    # where float64 overflows (infinite, or NaN), nothing is known
    return np.where(np.isfinite(lower), lower, -np.inf), np.where(np.isfinite(upper), upper, np.inf)


def _smallest(box: tuple[Floats, Floats]) -> float:
    sizes = np.abs(np.concatenate(box))
    return float(np.min(sizes, initial=np.inf, where=sizes > 0))


def _outward(value: Floats, error: Floats) -> Floats:
    """value + error, rounded the way of the error; the value itself where the error is 0."""
    moved = np.nextafter(value + error, np.where(error > 0, np.inf, -np.inf))
    return np.where(error == 0.0, value, moved)


def propagate(
    layer: Layer,
    domain: Domain,
    lower: list[Floats],
    upper: list[Floats],
    layers: tuple[Layer, ...],
) -> tuple[Floats, Floats]:
    """Interval bounds of `layer` from the pre-activation bounds of all layers before it."""
    boxes = [(domain.lower, domain.upper)]
    boxes += [
        post_activation(before, low, high)
        for before, low, high in zip(layers, lower, upper, strict=False)
    ]
    return layer_interval(layer, domain, boxes)
