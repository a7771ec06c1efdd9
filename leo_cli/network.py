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
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints, frozen


class LinearMap(Protocol):
    """A linear map, whatever its storage. All arrays are float64."""

    @property
    def in_features(self) -> int: ...
    @property
    def out_features(self) -> int: ...
    @property
    def depth(self) -> int:
        """Largest number of products summed for one entry of `apply` (for rounding bounds)."""
        ...

    @property
    def depth_transposed(self) -> int:
        """The same for `apply_transposed`."""
        ...

    @property
    def connections(self) -> int:
        """Number of stored matrix entries, the papers' measure of size."""
        ...

    @property
    def smallest(self) -> float:
        """Smallest magnitude of a non-zero entry (infinite if there is none), to rule out
        underflow.
        """
        ...

    def apply(self, x: Floats) -> Floats:
        """(..., in) -> (..., out): W x, in plain float64 arithmetic."""
        ...

    def apply_transposed(self, y: Floats) -> Floats:
        """(..., out) -> (..., in): y W, in plain float64 arithmetic."""
        ...

    def rows(self, index: Ints | slice) -> Floats:
        """The dense (len, in) rows of W."""
        ...

    def magnitude(self) -> LinearMap:
        """The map |W|."""
        ...

    def parts(self) -> tuple[LinearMap, LinearMap]:
        """(max(W, 0), min(W, 0)), entry by entry."""
        ...

    def take(self, rows: Ints | None = None, columns: Ints | None = None) -> LinearMap:
        """The map restricted to some outputs and inputs (None: all)."""
        ...


def _smallest(entries: Floats) -> float:
    sizes = np.abs(entries)
    return float(np.min(sizes, initial=np.inf, where=sizes > 0))


@dataclass(frozen=True)
class Dense:
    """A stored matrix (out, in)."""

    matrix: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", frozen(self.matrix))
        if self.matrix.ndim != 2:
            raise ValueError(f"a matrix has two axes, not {self.matrix.ndim}")

    @property
    def in_features(self) -> int:
        return int(self.matrix.shape[1])

    @property
    def out_features(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def depth(self) -> int:
        return self.in_features

    @property
    def depth_transposed(self) -> int:
        return self.out_features

    @property
    def connections(self) -> int:
        return int(self.matrix.size)

    @cached_property
    def smallest(self) -> float:
        return _smallest(self.matrix)

    @cached_property
    def _magnitude(self) -> Dense:
        return Dense(np.abs(self.matrix))

    @cached_property
    def _parts(self) -> tuple[Dense, Dense]:
        return Dense(np.maximum(self.matrix, 0.0)), Dense(np.minimum(self.matrix, 0.0))

    def apply(self, x: Floats) -> Floats:
        return x @ self.matrix.T

    def apply_transposed(self, y: Floats) -> Floats:
        return y @ self.matrix

    def rows(self, index: Ints | slice) -> Floats:
        return self.matrix[index]

    def magnitude(self) -> Dense:
        return self._magnitude

    def parts(self) -> tuple[Dense, Dense]:
        return self._parts

    def take(self, rows: Ints | None = None, columns: Ints | None = None) -> Dense:
        matrix = self.matrix if rows is None else self.matrix[rows]
        return Dense(matrix if columns is None else matrix[:, columns])


@dataclass(frozen=True)
class Scaled:
    """A scaled selection: out[i] = scale[i] * x[index[i]].

    Normalisations, identities, slices and permutations, without a matrix of mostly zeros.
    """

    index: Ints
    scale: Floats
    in_features: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", frozen(self.scale))

    @property
    def out_features(self) -> int:
        return len(self.index)

    @property
    def depth(self) -> int:
        return 1

    @cached_property
    def depth_transposed(self) -> int:
        return int(np.bincount(self.index, minlength=1).max(initial=1))

    @property
    def connections(self) -> int:
        return 0

    @cached_property
    def smallest(self) -> float:
        return _smallest(self.scale)

    def apply(self, x: Floats) -> Floats:
        return x[..., self.index] * self.scale

    def apply_transposed(self, y: Floats) -> Floats:
        out = np.zeros((*y.shape[:-1], self.in_features))
        np.add.at(np.moveaxis(out, -1, 0), self.index, np.moveaxis(y * self.scale, -1, 0))
        return out

    def rows(self, index: Ints | slice) -> Floats:
        picked = np.arange(self.out_features)[index]
        out = np.zeros((len(picked), self.in_features))
        out[np.arange(len(picked)), self.index[picked]] = self.scale[picked]
        return out

    def magnitude(self) -> Scaled:
        return replace(self, scale=np.abs(self.scale))

    def parts(self) -> tuple[Scaled, Scaled]:
        return (
            replace(self, scale=np.maximum(self.scale, 0.0)),
            replace(self, scale=np.minimum(self.scale, 0.0)),
        )

    def take(self, rows: Ints | None = None, columns: Ints | None = None) -> LinearMap:
        kept = (
            self if rows is None else replace(self, index=self.index[rows], scale=self.scale[rows])
        )
        if columns is None:
            return kept
        position = np.full(self.in_features, -1)
        position[columns] = np.arange(len(columns))
        index = position[kept.index]
        if np.any((index < 0) & (kept.scale != 0)):
            return Dense(kept.rows(slice(None))[:, columns])
        if len(columns) == 0:
            return Dense(np.zeros((kept.out_features, 0)))
        return Scaled(np.maximum(index, 0), np.where(index < 0, 0.0, kept.scale), len(columns))


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
        z = np.broadcast_to(self.bias, (*values[0].shape[:-1], self.width)).copy()
        for term in self.terms:
            z += term.map.apply(values[term.source])
        return z

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
