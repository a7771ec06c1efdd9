"""Cutting and joining networks: the steps that all rewrites are made of. Nothing here decides
anything.

Units are dropped from a layer together with the columns of every layer that reads it; layers that
nobody reads vanish, and nodes behind them are renumbered. Bounds are carried along row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.network import Dense, Layer, LinearMap, Network, Scaled, Term

Bounds = tuple[Floats, ...]


def dense(linear: LinearMap) -> Floats:
    """The (out, in) matrix of a map."""
    return linear.rows(slice(None))


def take_rows(layer: Layer, rows: Ints) -> Layer:
    """The layer with some of its units."""
    return replace(
        layer,
        terms=tuple(Term(t.source, t.map.take(rows)) for t in layer.terms),
        bias=layer.bias[rows],
        origin=layer.origin[rows],
        bias_error=None if layer.bias_error is None else layer.bias_error[rows],
    )


def take_columns(linear: LinearMap, columns: Ints) -> LinearMap:
    """The map on some of its inputs, the others being 0. A Scaled map stays one."""
    if not isinstance(linear, Scaled) or len(columns) == 0:
        return linear.take(None, columns)
    position = np.full(linear.in_features, -1)
    position[columns] = np.arange(len(columns))
    index = position[linear.index]
    return Scaled(np.maximum(index, 0), np.where(index < 0, 0.0, linear.scale), len(columns))


def read_columns(layer: Layer, node: int, columns: Ints) -> Layer:
    """The layer when only `columns` of the node are left; terms without columns vanish."""
    terms = []
    for term in layer.terms:
        if term.source != node:
            terms.append(term)
        elif len(columns):
            terms.append(Term(node, take_columns(term.map, columns)))
    return replace(layer, terms=tuple(terms))


def keep_units(network: Network, k: int, keep: Ints) -> Network:
    """Layer k with the units `keep` only; what reads it takes the others for 0. The layer stays, if
    only with width 0 (see `without_unread_layers`)."""
    layers = list(network.layers)
    layers[k] = take_rows(layers[k], keep)
    for c in network.consumers(k + 1):
        layers[c] = read_columns(layers[c], k + 1, keep)
    return replace(network, layers=tuple(layers))


def keep_bounds(bounds: Bounds, k: int, keep: Ints) -> Bounds:
    return (*bounds[:k], bounds[k][keep], *bounds[k + 1 :])


def unread_layers(network: Network) -> list[int]:
    """Layers that no layer reads and that are no outputs, directly or through such layers."""
    needed = set(network.outputs)
    for k in range(len(network.layers) - 1, -1, -1):
        if k + 1 in needed:
            needed |= {t.source for t in network.layers[k].terms if t.map.in_features}
    return [k for k in range(len(network.layers)) if k + 1 not in needed]


def without_unread_layers(
    network: Network, lower: Bounds, upper: Bounds
) -> tuple[Network, Bounds, Bounds]:
    """Remove the layers that nobody reads."""
    gone = set(unread_layers(network))
    if not gone:
        return network, lower, upper
    number = {0: 0}
    for k in range(len(network.layers)):
        if k not in gone:
            number[k + 1] = len(number)
    layers = tuple(
        replace(
            layer,
            terms=tuple(Term(number[t.source], t.map) for t in layer.terms if t.map.in_features),
        )
        for k, layer in enumerate(network.layers)
        if k not in gone
    )
    outputs = tuple(number[node] for node in network.outputs)
    kept = [k for k in range(len(network.layers)) if k not in gone]
    return (
        replace(network, layers=layers, outputs=outputs),
        tuple(lower[k] for k in kept),
        tuple(upper[k] for k in kept),
    )


def insert_layer(network: Network, at: int, layer: Layer) -> Network:
    """Put `layer` at position `at`; its terms name nodes as they are before, later nodes move up by
    one."""

    def moved(node: int) -> int:
        return node + 1 if node > at else node

    behind = tuple(
        replace(old, terms=tuple(Term(moved(t.source), t.map) for t in old.terms))
        for old in network.layers[at:]
    )
    return replace(
        network,
        layers=(*network.layers[:at], layer, *behind),
        outputs=tuple(moved(node) for node in network.outputs),
    )


def replace_layers(network: Network, changed: dict[int, Layer]) -> Network:
    layers = tuple(changed.get(k, layer) for k, layer in enumerate(network.layers))
    return replace(network, layers=layers)


def used_columns(network: Network, node: int) -> Bools:
    """(width of the node,) which of its units have a non-zero coefficient in a layer that reads
    it."""
    used = np.zeros(network.width(node), dtype=bool)
    for k in network.consumers(node):
        for term in network.layers[k].terms:
            if term.source == node:
                used |= (
                    np.any(dense(term.map) != 0, axis=0)
                    if not isinstance(term.map, Scaled)
                    else np.bincount(
                        term.map.index[term.map.scale != 0], minlength=term.map.in_features
                    )
                    > 0
                )
    return used


def reads(layer: Layer, node: int) -> Floats:
    """(width, width of the node) the coefficients with which a reader reads `node` in its first
    such term."""
    return next(dense(t.map) for t in layer.terms if t.source == node)


def unique_name(network: Network, wanted: str) -> str:
    """A layer name that is not taken yet."""
    taken = {layer.name for layer in network.layers}
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    return name


def concatenated(matrices: Sequence[Floats], rows: int) -> Floats:
    """Side by side; (rows, 0) if there are none."""
    return np.concatenate([np.zeros((rows, 0)), *matrices], axis=1)


def joined(first: Layer, second: Layer) -> Layer:
    """Two layers over the same sources as one, the units of `first` before those of `second`."""
    if second.width == 0:
        return first
    terms = tuple(
        Term(a.source, Dense(np.concatenate([dense(a.map), dense(b.map)])))
        for a, b in zip(first.terms, second.terms, strict=True)
    )
    errors = [
        np.zeros(part.width) if part.bias_error is None else part.bias_error
        for part in (first, second)
    ]
    return replace(
        first,
        terms=terms,
        bias=np.concatenate([first.bias, second.bias]),
        origin=np.concatenate([first.origin, second.origin]),
        bias_error=None if first.bias_error is None else np.concatenate(errors),
    )
