"""Add columns of the readers of a layer to one another: what merging parallel units does to them.

new[:, j] = fl(old[:, j] + sum over pairs (i, j) of c_i old[:, i]); the residual times h_j is the
rounding of the merge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.network import Dense, Layer, LinearMap, Network, Scaled, Term
from leo_cli.rewrite.arithmetic import product, stored
from leo_cli.rewrite.parallel import Pairs
from leo_cli.rewrite.subject import Subject
from leo_cli.rewrite.surgery import dense


@dataclass(frozen=True)
class Sums:
    """old, new: (readers, width) coefficients of all readers, stacked, before and after.
    residual: (readers, width) new - real sum, up to `error`: (readers,) for all |h| that occur."""

    old: Floats
    new: Floats
    residual: Floats
    error: Floats


def add_columns(subject: Subject, k: int, pairs: Pairs) -> Sums:
    """The readers of layer k with `factor` times the columns `gone` added to the columns
    `stays`."""
    network, width = subject.network, subject.network.layers[k].width
    old = np.concatenate(
        [
            dense(t.map)
            for c in network.consumers(k + 1)
            for t in network.layers[c].terms
            if t.source == k + 1
        ]
        or [np.zeros((0, width))]
    )
    spread = np.zeros((len(pairs), width))
    spread[np.arange(len(pairs)), pairs.stays] = pairs.factor
    extra = old[:, pairs.gone] @ spread
    new = np.where(extra != 0, stored(old + extra, network.dtype), old)
    touched = np.zeros(width, dtype=bool)
    touched[pairs.stays] = True
    identity = np.eye(width)[touched]
    residual, error = product(
        np.concatenate([new[:, touched], -old[:, touched], -old[:, pairs.gone]], axis=1),
        np.concatenate([identity, identity, spread]),
        subject.magnitude(k + 1),
    )
    return Sums(old, new, residual, error)


def with_columns(network: Network, k: int, coefficients: Floats) -> dict[int, Layer]:
    """The readers of layer k with new stacked coefficients, by position."""
    changed: dict[int, Layer] = {}
    start = 0
    for c in network.consumers(k + 1):
        reader = network.layers[c]
        part = coefficients[start : start + reader.width]
        start += reader.width
        terms = tuple(
            Term(k + 1, _like(t.map, part)) if t.source == k + 1 else t for t in reader.terms
        )
        changed[c] = replace(reader, terms=terms)
    return changed


def _like(old: LinearMap, matrix: Floats) -> LinearMap:
    """The matrix, as a Scaled map if it was one and still can be."""
    if isinstance(old, Scaled) and np.all((matrix != 0).sum(axis=1) <= 1):
        index = np.argmax(matrix != 0, axis=1)
        return Scaled(index, matrix[np.arange(len(matrix)), index], matrix.shape[1])
    return Dense(matrix)
