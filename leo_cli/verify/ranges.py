"""Ranges of all values of a network over a domain, for rounding bounds.

Verification derives its own ranges, interval arithmetic sharpened by backward linear bounds
(bounds/), from the network that it has read from a file, so that a fault in classification cannot
also loosen the check of its result. Ranges that the caller has proved are intersected with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.bounds.interval import post_activation, propagate
from leo_cli.bounds.linear import backward, relaxed
from leo_cli.domain import Domain
from leo_cli.network import Network

MOST_PRODUCTS = 4e9  # scalar products that the linear bounds of one layer may cost
MOST_ENTRIES = 2**23  # entries of one block of coefficient rows


@dataclass(frozen=True)
class Ranges:
    """lower, upper: for each layer, (width,) proved bounds of its pre-activation over the domain.
    low, high: for each node, (width,) the same of its value (node 0: the input)."""

    lower: tuple[Floats, ...]
    upper: tuple[Floats, ...]
    low: tuple[Floats, ...]
    high: tuple[Floats, ...]


def value_ranges(
    network: Network,
    domain: Domain,
    lower: Sequence[Floats] | None = None,
    upper: Sequence[Floats] | None = None,
    linear: bool = True,
) -> Ranges:
    """lower, upper: for each layer, (width,) bounds that are proved already (None: nothing is
    known). linear: whether to sharpen by linear bounds; for a single point intervals are as
    good."""
    with np.errstate(over="ignore", invalid="ignore"):
        lows, highs = _pre_activations(network, domain, lower, upper, linear)
    values = [(domain.lower, domain.upper)]
    values += [post_activation(layer, lows[k], highs[k]) for k, layer in enumerate(network.layers)]
    return Ranges(
        tuple(lows), tuple(highs), tuple(v[0] for v in values), tuple(v[1] for v in values)
    )


def _pre_activations(
    network: Network,
    domain: Domain,
    lower: Sequence[Floats] | None,
    upper: Sequence[Floats] | None,
    linear: bool,
) -> tuple[list[Floats], list[Floats]]:
    """Bounds of z for each layer; infinite where they overflow."""
    lows: list[Floats] = []
    highs: list[Floats] = []
    for k, layer in enumerate(network.layers):
        low, high = propagate(layer, domain, lows, highs, network.layers[:k])
        low, high = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
        if lower is not None and upper is not None:
            low, high = np.maximum(low, lower[k]), np.minimum(high, upper[k])
        lows.append(low)
        highs.append(high)
        if linear and k > 0 and _worthwhile(network, k, lows, highs):
            units = np.flatnonzero(high > 0) if layer.relu else np.arange(layer.width)
            tight_low, tight_high = _linear(network, domain, lows, highs, k, units)
            low[units] = np.fmax(low[units], tight_low)
            high[units] = np.fmin(high[units], tight_high)
    return lows, highs


def _worthwhile(network: Network, k: int, lows: Sequence[Floats], highs: Sequence[Floats]) -> bool:
    """Linear bounds are affordable, and what they start from is finite."""
    cost = (
        2.0 * network.layers[k].width * sum(layer.connections for layer in network.layers[: k + 1])
    )
    finite = all(
        np.isfinite(a).all() and np.isfinite(b).all() for a, b in zip(lows, highs, strict=True)
    )
    return cost <= MOST_PRODUCTS and finite


def _linear(
    network: Network,
    domain: Domain,
    lows: Sequence[Floats],
    highs: Sequence[Floats],
    k: int,
    units: Ints,
) -> tuple[Floats, Floats]:
    """(len(units),) bounds of z of some units of layer k; the others, never positive, have the
    value 0 anyway."""
    problem = relaxed(network, domain, lows, highs, k)
    width = network.layers[k].width
    widest = max(network.inputs, *(layer.width for layer in network.layers[: k + 1]))
    block = max(1, MOST_ENTRIES // widest)
    low, high = np.empty(len(units)), np.empty(len(units))
    for start in range(0, len(units), block):
        part = slice(start, start + block)
        objective = np.zeros((len(units[part]), width))
        objective[np.arange(len(objective)), units[part]] = 1.0
        low[part] = backward(problem, objective).bound
        high[part] = -backward(problem, -objective).bound
    return low, high
