"""The intermediate representation: affine nodes with or without a ReLU, joined in a graph.

Node 0 is the input vector x (all model inputs, flattened and concatenated). Node k >= 1 belongs to
`layers[k - 1]`:

    z_k = sum over terms t of  t.map(h_{t.source})  + bias        (pre-activation)
    h_k = max(z_k, 0) if relu else z_k                            (post-activation)

A chain has one term a layer; a residual sum has two; a concatenation is one term for each part.
Terms point backwards only, so the order of `layers` is an order of evaluation. Everything is
float64 and holds the stored float16/32/64 weights exactly; where a coefficient is the result of an
inexact operation (a division by a standard deviation), `weight_error` and `bias_error` bound what
was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints, frozen
from leo_cli.linear_map import Dense, LinearMap, Scaled

__all__ = ["Dense", "Layer", "LinearMap", "Network", "Scaled", "Term"]


@dataclass(frozen=True)
class Term:
    """One summand of a pre-activation: `map` applied to the post-activation of node `source`."""

    source: int
    map: LinearMap


@dataclass(frozen=True)
class Layer:
    """An affine node, followed by a ReLU or not.

    name: the tensor of the ONNX file that holds its value (the ReLU's output where there is one).
    bias: (width,). origin: (width,) index of each unit in the layer of this name of the original
    network; -1 where a
        rewrite made the unit.
    weight_error: relative bound, for every coefficient of every term, on its distance from the
        model's real value. bias_error: (width,) the same for the bias, absolute.
    """

    name: str
    terms: tuple[Term, ...]
    bias: Floats
    relu: bool
    origin: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    weight_error: float = 0.0
    bias_error: Floats | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "bias", frozen(self.bias))
        if len(self.origin) == 0:
            object.__setattr__(self, "origin", np.arange(self.width))
        for term in self.terms:
            if term.map.out_features != self.width:
                raise ValueError(
                    f"{self.name}: a term has {term.map.out_features} rows, not {self.width}"
                )

    @property
    def width(self) -> int:
        return len(self.bias)

    @property
    def connections(self) -> int:
        return sum(term.map.connections for term in self.terms)

    @property
    def depth(self) -> int:
        """Number of summands of one pre-activation, the bias included."""
        return 1 + sum(term.map.depth for term in self.terms)

    def pre_activation(self, values: Sequence[Floats]) -> Floats:
        """(n, width) from the post-activations of earlier nodes, `values[s]`: (n, width of s)."""
        z = self.bias
        for term in self.terms:
            z = z + term.map.apply(values[term.source])
        return z if self.terms else np.tile(self.bias, (*values[0].shape[:-1], 1))

    def activate(self, z: Floats) -> Floats:
        return np.maximum(z, 0.0) if self.relu else z


@dataclass(frozen=True)
class Network:
    """The dense ReLU part of a model.

    inputs: number of features of node 0. outputs: the nodes whose values are read outside this
    network; their widths and values must be kept. dtype: the type that weights are stored in
    ("float32", ...).
    """

    inputs: int
    layers: tuple[Layer, ...]
    outputs: tuple[int, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for node, layer in enumerate(self.layers, start=1):
            for term in layer.terms:
                if not 0 <= term.source < node:
                    raise ValueError(
                        f"{layer.name}: reads node {term.source}, which is not before it"
                    )
                if term.map.in_features != self.width(term.source):
                    raise ValueError(
                        f"{layer.name}: a map of {term.map.in_features} inputs reads node "
                        f"{term.source} of width {self.width(term.source)}"
                    )

    def width(self, node: int) -> int:
        return self.inputs if node == 0 else self.layers[node - 1].width

    @property
    def relu_layers(self) -> tuple[int, ...]:
        """Positions in `layers` of the ReLU layers, in order."""
        return tuple(k for k, layer in enumerate(self.layers) if layer.relu)

    def prefix(self, layers: int) -> Network:
        """The first `layers` layers, ending in the last of them."""
        return Network(self.inputs, self.layers[:layers], (layers,), self.dtype)

    def consumers(self, node: int) -> tuple[int, ...]:
        """Positions in `layers` of the layers that read `node`."""
        return tuple(
            k for k, layer in enumerate(self.layers) if any(t.source == node for t in layer.terms)
        )

    @property
    def units(self) -> int:
        """Number of hidden ReLU units."""
        return sum(layer.width for layer in self.layers if layer.relu)

    @property
    def connections(self) -> int:
        return sum(layer.connections for layer in self.layers)

    @property
    def parameters(self) -> int:
        return self.connections + sum(layer.width for layer in self.layers)

    def used_inputs(self) -> Bools:
        """(inputs,) which input features have a non-zero coefficient somewhere."""
        used = np.zeros(self.inputs, dtype=bool)
        for layer in self.layers:
            for term in layer.terms:
                if term.source == 0:
                    used |= term.map.magnitude().apply_transposed(np.ones(layer.width)) > 0
        return used

    def pre_activations(self, x: Floats) -> list[Floats]:
        """z of every layer at the points x: (n, inputs), in plain float64; a list of (n, width)."""
        values: list[Floats] = [x]
        out: list[Floats] = []
        for layer in self.layers:
            z = layer.pre_activation(values)
            out.append(z)
            values.append(layer.activate(z))
        return out

    def evaluate(self, x: Floats) -> list[Floats]:
        """The values of the output nodes at x: (n, inputs), in plain float64."""
        z = self.pre_activations(x)
        return [x if k == 0 else self.layers[k - 1].activate(z[k - 1]) for k in self.outputs]
