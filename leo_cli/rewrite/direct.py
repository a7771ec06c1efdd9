"""Let the readers of a layer read its sources instead: the common part of folding and bypassing.

For units A of layer k that pass on z unchanged (stably active, or a layer without a ReLU), the
readers see N (W_A h' + b_A): with M = fl(N W_A) as coefficients of the sources and the bias b_next
+ N b_A they need no unit. Inexact by the rounding of M and of the bias; the residual  (M - N W_A)
h' + e  is what rewrite/deviation.py carries to the outputs. A reader that reads a source already
gets the sum of both matrices as coefficients.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.network import Dense, Layer, LinearMap, Network, Scaled, Term
from leo_cli.rewrite.absorb import residual_of
from leo_cli.rewrite.arithmetic import product, stored
from leo_cli.rewrite.bounds_after import widened
from leo_cli.rewrite.case import Case, by_source, center_of, selections
from leo_cli.rewrite.deviation import Perturbation, effect
from leo_cli.rewrite.subject import Answer, Refusal, Rewrite, Subject
from leo_cli.rewrite.surgery import (
    dense,
    keep_bounds,
    keep_units,
    replace_layers,
    without_unread_layers,
)


def read_through(subject: Subject, case: Case, name: str) -> Answer:
    """The network in which the readers of the case's layer read the sources of its units A,
    whatever the allowance."""
    network, k = subject.network, case.k
    layer = network.layers[k]
    known = _present(network, case)
    # new coefficients = known + N W_A, as one product so that its error is known
    count = len(case.columns)
    # rows that get new numbers: those that read A, and all of a reader that an operator computed
    widths = [network.layers[c].width for c in case.readers]
    computed = np.repeat([subject.is_computed(c) for c in case.readers], widths)
    moves = np.any(case.columns != 0, axis=1) | computed
    left = np.concatenate([np.eye(count), case.columns], axis=1)
    right = np.concatenate([known, case.rows])
    exact = left @ right
    matrix = stored(np.where(moves[:, None], exact, known), network.dtype)
    residual, radius = product(
        np.concatenate([np.eye(count), -left], axis=1),
        np.concatenate([matrix, right]),
        case.magnitude,
    )
    residual = np.where(moves[:, None], residual, 0.0)
    radius = np.where(moves, radius, 0.0)
    maps = by_source(subject, case, residual)
    center = center_of(subject, maps, count)
    bias = np.where(
        moves,
        stored(case.reader_bias + case.columns @ case.bias - center, network.dtype),
        case.reader_bias,
    )
    if not (np.isfinite(matrix).all() and np.isfinite(bias).all()):
        return Refusal(name, layer.name, "the product leaves the range of the stored type")
    offset, error = residual_of(bias, case.reader_bias, case.columns, case.bias)
    offset, error = np.where(moves, offset, 0.0), np.where(moves, error, 0.0)
    moved = effect(
        subject,
        Perturbation(selections(network, case.readers), offset, radius + error + case.doubt, maps),
    )
    lower, upper = widened(subject, moved)
    keep = np.setdiff1d(np.arange(layer.width), case.units)
    rewritten = keep_units(_joined(network, case, matrix, bias), k, keep)
    rewritten, lower, upper = without_unread_layers(
        rewritten, keep_bounds(lower, k, keep), keep_bounds(upper, k, keep)
    )
    note = f"{len(case.units)} units become a direct path"
    units = tuple(case.units.tolist())
    return Rewrite(name, layer.name, units, moved.deviation, rewritten, note, lower, upper)


def _present(network: Network, case: Case) -> Floats:
    """The stacked coefficients that the readers have of the case's sources already."""
    known = np.zeros((len(case.columns), len(case.reach)))
    row = 0
    for c in case.readers:
        reader, column = network.layers[c], 0
        for source in case.sources:
            width = network.width(source)
            for term in reader.terms:
                if term.source == source:
                    known[row : row + reader.width, column : column + width] = dense(term.map)
            column += width
        row += reader.width
    return known


def _joined(network: Network, case: Case, matrix: Floats, bias: Floats) -> Network:
    """The readers with `matrix` as coefficients of the sources, and the new bias."""
    changed: dict[int, Layer] = {}
    row = 0
    for c in case.readers:
        reader, column = network.layers[c], 0
        part = matrix[row : row + reader.width]
        terms = [term for term in reader.terms if term.source not in case.sources]
        for source in case.sources:
            width = network.width(source)
            block = part[:, column : column + width]
            if block.any():
                terms.append(Term(source, compact(block)))
            column += width
        # coefficients that an operator computed are all replaced by stored numbers (case_of)
        changed[c] = replace(
            reader,
            terms=tuple(terms),
            bias=bias[row : row + reader.width],
            weight_error=0.0,
            bias_error=None,
        )
        row += reader.width
    return replace_layers(network, changed)


def compact(matrix: Floats) -> LinearMap:
    """Scaled where each row has at most one entry that is not 0, else Dense."""
    used = matrix != 0
    if np.any(used.sum(axis=1) > 1):
        return Dense(matrix)
    index = np.argmax(used, axis=1)
    return Scaled(index, matrix[np.arange(len(matrix)), index], matrix.shape[1])
