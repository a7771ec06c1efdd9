"""Networks in rational arithmetic: evaluation without any rounding.

Values of all nodes are kept in one vector, node 0 (the input) first; a coefficient names its
place there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from random import Random

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.network import Layer, Network

Row = dict[int, Fraction]  # coefficients that are not 0, by place
Point = tuple[Fraction, ...]


@dataclass(frozen=True)
class ExactLayer:
    rows: tuple[Row, ...]
    bias: tuple[Fraction, ...]
    relu: bool

    @property
    def width(self) -> int:
        return len(self.bias)


@dataclass(frozen=True)
class ExactNetwork:
    inputs: int
    layers: tuple[ExactLayer, ...]
    outputs: tuple[int, ...] = ()

    @property
    def offsets(self) -> tuple[int, ...]:
        """The place of the first value of each node."""
        return tuple(accumulate((self.inputs, *(layer.width for layer in self.layers)), initial=0))

    @property
    def output_places(self) -> list[int]:
        """The places of the components of the concatenated outputs."""
        starts = self.offsets
        return [p for node in self.outputs for p in range(starts[node], starts[node + 1])]

    def pre_activations(self, x: Sequence[Fraction]) -> list[list[Fraction]]:
        """z of every layer at one point."""
        values, result = list(x), []
        for layer in self.layers:
            z = [
                sum((c * values[i] for i, c in row.items()), start=bias)
                for row, bias in zip(layer.rows, layer.bias, strict=True)
            ]
            result.append(z)
            values += [max(v, Fraction(0)) for v in z] if layer.relu else z
        return result

    def evaluate(self, x: Sequence[Fraction]) -> list[Fraction]:
        """The concatenated outputs at one point."""
        values = list(x)
        for layer, z in zip(self.layers, self.pre_activations(x), strict=True):
            values += [max(v, Fraction(0)) for v in z] if layer.relu else z
        return [values[i] for i in self.output_places]


def exact(network: Network, errors: Random | None = None) -> ExactNetwork:
    """The network as stored, or, with `errors`, one of the real networks that it may stand for.

    Layers with a weight_error e hold coefficients within e of the real ones, relative to either
    of the two: real = stored * (1 + d) with |d| <= e / (1 + e) is within both readings.
    """
    layers = []
    starts = [0]
    for node in range(len(network.layers)):
        starts.append(starts[-1] + network.width(node))
        layers.append(_exact_layer(network.layers[node], starts, errors))
    return ExactNetwork(network.inputs, tuple(layers), network.outputs)


def _exact_layer(layer: Layer, starts: Sequence[int], errors: Random | None) -> ExactLayer:
    relative = Fraction(layer.weight_error) / (1 + Fraction(layer.weight_error))

    def real(coefficient: float) -> Fraction:
        stored = Fraction(coefficient)
        if errors is None or not relative:
            return stored
        return stored * (1 + relative * errors.choice((-1, 0, 1, Fraction(1, 2))))

    rows: list[Row] = [{} for _ in range(layer.width)]
    for term in layer.terms:
        for row, weights in zip(rows, term.map.rows(slice(None)).tolist(), strict=True):
            for i, weight in enumerate(weights):
                if weight:
                    place = starts[term.source] + i
                    row[place] = row.get(place, Fraction(0)) + real(weight)
    bias = [Fraction(b) for b in layer.bias.tolist()]
    if errors is not None and layer.bias_error is not None:
        bias = [
            b + Fraction(e) * errors.choice((-1, 0, 1))
            for b, e in zip(bias, layer.bias_error.tolist(), strict=True)
        ]
    return ExactLayer(tuple(rows), tuple(bias), layer.relu)


def difference(first: ExactNetwork, second: ExactNetwork) -> ExactNetwork:
    """The network that evaluates both on the same input; its last layer is first - second,
    component by component of the concatenated outputs."""
    if len(first.output_places) != len(second.output_places):
        raise ValueError("the two networks have different numbers of outputs")
    inputs, shift = first.inputs, first.offsets[-1] - first.inputs

    def moved(place: int) -> int:
        return place if place < inputs else place + shift

    copies = tuple(
        ExactLayer(
            tuple({moved(i): c for i, c in row.items()} for row in layer.rows),
            layer.bias,
            layer.relu,
        )
        for layer in second.layers
    )
    rows = []
    for ours, theirs in zip(first.output_places, second.output_places, strict=True):
        row: Row = {ours: Fraction(1)}
        row[moved(theirs)] = row.get(moved(theirs), Fraction(0)) - 1
        rows.append({i: c for i, c in row.items() if c})
    last = ExactLayer(tuple(rows), (Fraction(0),) * len(rows), relu=False)
    return ExactNetwork(
        inputs, (*first.layers, *copies, last), (len(first.layers) + len(copies) + 1,)
    )


def rational(points: Floats) -> list[Point]:
    """Floats as they are, without rounding: (n, inputs) to n points."""
    return [
        tuple(Fraction(v) for v in point) for point in np.asarray(points, dtype=np.float64).tolist()
    ]
