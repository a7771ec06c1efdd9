"""A trained dense ReLU network as plain arrays, independent of PyTorch and of any file format.

    h_0 = (x - offset) * scale,   h_k = max(W_k h_{k-1} + b_k, 0),   output = W_n h_{n-1} + b_n

Everything is float32, as it is stored and run.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.train.dataset import Floats32


@dataclass(frozen=True, eq=False)
class Perceptron:
    """weights: (out, in) each; biases: (out,) each; offset, scale: (features,) or None, both."""

    weights: tuple[Floats32, ...]
    biases: tuple[Floats32, ...]
    offset: Floats32 | None = None
    scale: Floats32 | None = None

    def normalized(self, x: Floats32) -> Floats32:
        """(n, features) -> (n, features): what the first layer sees."""
        if self.offset is None or self.scale is None:
            return x
        return (x - self.offset) * self.scale

    def evaluate(self, x: Floats32) -> Floats32:
        """(n, features) -> (n, outputs), in float32."""
        h = self.normalized(x)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            h = np.maximum(h @ weight.T + bias, np.float32(0))
        return h @ self.weights[-1].T + self.biases[-1]

    @property
    def connections(self) -> int:
        return sum(weight.size for weight in self.weights)

    @property
    def nonzero(self) -> int:
        return sum(int(np.count_nonzero(weight)) for weight in self.weights)


@dataclass(frozen=True)
class Size:
    """What a network needs once units and inputs that do nothing are gone.

    units: ReLU units a layer that are not stably inactive by interval bounds, and whose value
    reaches the output. inputs: features with a non-zero weight. connections: of the dense layers
    that remain.
    """

    units: tuple[int, ...]
    inputs: int
    connections: int


def interval_bounds(
    model: Perceptron, lower: Floats32, upper: Floats32
) -> list[tuple[Floats, Floats]]:
    """Interval bounds of every hidden pre-activation over the box [lower, upper].

    In plain float64, for progress and penalties only: not rounded outward, so no proof of anything.
    """
    low = model.normalized(lower).astype(np.float64)
    high = model.normalized(upper).astype(np.float64)
    bounds = []
    for weight, bias in zip(model.weights[:-1], model.biases[:-1], strict=True):
        W = weight.astype(np.float64)
        positive, negative = np.maximum(W, 0), np.minimum(W, 0)
        z_low = positive @ low + negative @ high + bias
        z_high = positive @ high + negative @ low + bias
        bounds.append((z_low, z_high))
        low, high = np.maximum(z_low, 0), np.maximum(z_high, 0)
    return bounds


def stable_share(model: Perceptron, lower: Floats32, upper: Floats32) -> float:
    """Share of the hidden units that interval bounds show to be stable over [lower, upper]."""
    bounds = interval_bounds(model, lower, upper)
    units = sum(len(z_low) for z_low, _ in bounds)
    stable = sum(int(np.sum((z_high <= 0) | (z_low >= 0))) for z_low, z_high in bounds)
    return stable / units if units else 1.0


def size_estimate(model: Perceptron, lower: Floats32, upper: Floats32) -> Size:
    """An upper estimate of the size after compression, cheap enough to choose between models."""
    bounds = interval_bounds(model, lower, upper)
    matters = np.ones(len(model.biases[-1]), dtype=bool)
    varies = [z_high > np.maximum(z_low, 0) for z_low, z_high in bounds]
    units: list[int] = []
    masks = [matters]
    for k in range(len(bounds) - 1, -1, -1):
        matters = varies[k] & np.any(model.weights[k + 1][matters] != 0, axis=0)
        masks.insert(0, matters)
        units.insert(0, int(matters.sum()))
    inputs = int(np.any(model.weights[0][masks[0]] != 0, axis=0).sum())
    widths = (inputs, *units, len(model.biases[-1]))
    connections = sum(a * b for a, b in pairwise(widths))
    return Size(tuple(units), inputs, connections)
