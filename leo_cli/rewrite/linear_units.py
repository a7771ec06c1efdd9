"""Put linear units in place of active ones: the step that product_rank and merge_dependent share.

Given factors P Q of N W_A (rewrite/product_rank.py), build the network and certify it. Rows of W_A that stay in Q keep
their bias, they are active already; a new row gets the shift c = -min q + slack, as a stored number, so that
q + c > 0 on D for the weights as stored and over the proved ranges of what it reads. The slack, 2**-10 of the
range of q, keeps small changes in front of the layer from undoing it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.rewrite.absorb import residual_of
from leo_cli.rewrite.arithmetic import product, stored
from leo_cli.rewrite.bounds_after import layer_bounds, widened
from leo_cli.rewrite.case import Case, by_source, center_of, selections
from leo_cli.rewrite.deviation import Perturbation, effect
from leo_cli.rewrite.subject import Rewrite, Subject
from leo_cli.rewrite.surgery import (
    dense,
    joined,
    replace_layers,
    take_rows,
    without_unread_layers,
)

SLACK = 2.0**-10


@dataclass(frozen=True)
class Plan:
    """Factors of the product: original rows that stay (indices into the case's units) and new rows."""

    kept: Ints
    kept_factor: Floats
    new_rows: Floats
    new_factor: Floats

    @property
    def rank(self) -> int:
        return len(self.kept) + len(self.new_rows)


def attempt(subject: Subject, case: Case, plan: Plan, name: str) -> Rewrite | None:
    """The rewritten network, if it is finite and within the allowance."""
    network, k = subject.network, case.k
    layer = network.layers[k]
    dtype = network.dtype
    factor = np.concatenate([plan.kept_factor, plan.new_factor], axis=1)
    rows = np.concatenate([case.rows[plan.kept], plan.new_rows])
    fresh = _new_units(layer, case, plan, np.zeros(len(plan.new_rows)))
    low, high = layer_bounds(subject, fresh)
    shift = np.zeros(len(low))
    if layer.relu:
        shift = lifted(np.zeros(len(low)), low, high, dtype)
    constants = np.concatenate([case.bias[plan.kept], shift])
    # residual of the product, with the error of computing it
    left = np.concatenate([factor, -case.columns], axis=1)
    residual, radius = product(left, np.concatenate([rows, case.rows]), case.magnitude)
    maps = by_source(subject, case, residual)
    center = center_of(subject, maps, len(residual))
    coefficients = np.concatenate([case.columns, -factor], axis=1)
    values = np.concatenate([case.bias, constants])
    bias = stored(case.reader_bias + coefficients @ values - center, dtype)
    if not all(np.isfinite(part).all() for part in (factor, rows, bias, shift)):
        return None
    offset, error = residual_of(bias, case.reader_bias, coefficients, values)
    moved = effect(
        subject,
        Perturbation(selections(network, case.readers), offset, radius + error + case.doubt, maps),
    )
    if not subject.allows(moved.deviation):
        return None
    gone = np.delete(case.units, plan.kept)
    keep = np.setdiff1d(np.arange(layer.width), gone)
    lower, upper = widened(subject, moved)
    new_lower = np.where(shift == 0, low, np.nextafter(low + shift, -np.inf))
    new_upper = np.where(shift == 0, high, np.nextafter(high + shift, np.inf))
    lower = (*lower[:k], np.concatenate([lower[k][keep], new_lower]), *lower[k + 1 :])
    upper = (*upper[:k], np.concatenate([upper[k][keep], new_upper]), *upper[k + 1 :])
    unit_layer = _new_units(layer, case, plan, shift)
    rewritten = _rebuilt(
        network, case, plan, joined(take_rows(layer, keep), unit_layer), bias, keep
    )
    rewritten, lower, upper = without_unread_layers(rewritten, lower, upper)
    note = f"{len(case.units)} active units become {plan.rank}"
    if len(plan.new_rows):
        note += f", {len(plan.new_rows)} of them new"
    return Rewrite(
        name, layer.name, tuple(gone.tolist()), moved.deviation, rewritten, note, lower, upper
    )


def lifted(bias: Floats, low: Floats, high: Floats, dtype: str) -> Floats:
    """A stored bias with which pre-activations of the range [low, high] become positive, with slack."""
    wanted = bias - low + SLACK * (high - low)
    found = stored(wanted, dtype)
    typed = found.astype(dtype)
    above = np.nextafter(typed, np.asarray(np.inf, dtype)).astype(np.float64)
    return np.where(found < wanted, above, found)


def _new_units(layer: Layer, case: Case, plan: Plan, bias: Floats) -> Layer:
    """A layer of the new rows alone."""
    terms, start = [], 0
    for term in layer.terms:
        width = term.map.in_features
        terms.append(Term(term.source, Dense(plan.new_rows[:, start : start + width])))
        start += width
    return Layer(
        layer.name, tuple(terms), bias, layer.relu, origin=np.full(len(bias), -1, dtype=np.int64)
    )


def _rebuilt(
    network: Network, case: Case, plan: Plan, layer: Layer, bias: Floats, keep: Ints
) -> Network:
    """The network with the new layer k, and readers that take `keep` and the new units."""
    changed = {case.k: layer}
    start = 0
    for c in case.readers:
        reader = network.layers[c]
        part = slice(start, start + reader.width)
        start += reader.width
        terms = []
        for term in reader.terms:
            if term.source != case.k + 1:
                terms.append(term)
                continue
            matrix = dense(term.map).copy()
            matrix[:, case.units[plan.kept]] = plan.kept_factor[part]
            matrix = np.concatenate([matrix[:, keep], plan.new_factor[part]], axis=1)
            if matrix.shape[1]:
                terms.append(Term(case.k + 1, Dense(matrix)))
        changed[c] = replace(reader, terms=tuple(terms), bias=bias[part])
    return replace_layers(network, changed)
