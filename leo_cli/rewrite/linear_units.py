"""Put linear units in place of active ones: the step that product_rank and merge_dependent share.

Given factors P Q of N W_A (rewrite/product_rank.py), build the network and certify it. Rows of W_A
that stay in Q keep their bias, they are active already; a new row gets the shift c = -min q +
slack, as a stored number, so that q + c > 0 on D for the weights as stored and over the proved
ranges of what it reads. The slack, 2**-10 of the range of q, keeps small changes in front of the
layer from undoing it.

The shift may be larger than it has to be: of the stored numbers above it those are taken with which
the readers' biases, that take P c back, happen to be nearly stored numbers. Where their rounding is
felt too much still, a unit that is constantly 1 (row 0, bias 1) carries the rest b - fl(b) as its
column: biases of twice the precision, for the price of a unit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.rewrite.absorb import residual_of
from leo_cli.rewrite.arithmetic import product, stored, ulp
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
_FELT = 1 / 16  # of the allowance: what is worth a search for better shifts
_WORK = 3e8  # products beyond which it takes too long
_TUNED, _STEPS = 16, 64  # shifts that are tuned, and the larger numbers that are tried for each


@dataclass(frozen=True)
class Plan:
    """Factors of the product. kept: original rows that stay (indices into the case's units),
    kept_factor: (readers, kept). new_rows: (new, inputs), new_factor: (readers, new). constant:
    whether a further unit, constantly 1, carries what rounding takes from the readers' biases."""

    kept: Ints
    kept_factor: Floats
    new_rows: Floats
    new_factor: Floats
    constant: bool = False

    @property
    def rank(self) -> int:
        return len(self.kept) + len(self.new_rows) + self.constant


@dataclass(frozen=True)
class _Units:
    """All new numbers of a plan: what the readers multiply with what, and add."""

    new: Layer
    lower: Floats
    upper: Floats
    new_factor: Floats
    reader_bias: Floats


def with_linear_units(subject: Subject, case: Case, plan: Plan, name: str) -> Rewrite | None:
    """The rewritten network and its deviation, whatever the allowance; None if a number is not
    finite."""
    network, k = subject.network, case.k
    layer = network.layers[k]
    factor = np.concatenate([plan.kept_factor, plan.new_factor], axis=1)
    rows = np.concatenate([case.rows[plan.kept], plan.new_rows])
    # residual of the product, with the error of computing it
    left = np.concatenate([factor, -case.columns], axis=1)
    residual, radius = product(left, np.concatenate([rows, case.rows]), case.magnitude)
    maps = by_source(subject, case, residual)
    units = _units(subject, case, plan, center_of(subject, maps, len(residual)))
    parts = (residual, units.new_factor, units.new.bias, units.reader_bias)
    if not all(np.isfinite(part).all() for part in parts):
        return None
    coefficients = np.concatenate([case.columns, -plan.kept_factor, -units.new_factor], axis=1)
    values = np.concatenate([case.bias, case.bias[plan.kept], units.new.bias])
    offset, error = residual_of(units.reader_bias, case.reader_bias, coefficients, values)
    moved = effect(
        subject,
        Perturbation(selections(network, case.readers), offset, radius + error + case.doubt, maps),
    )
    gone = np.delete(case.units, plan.kept)
    keep = np.setdiff1d(np.arange(layer.width), gone)
    lower, upper = widened(subject, moved)
    lower = (*lower[:k], np.concatenate([lower[k][keep], units.lower]), *lower[k + 1 :])
    upper = (*upper[:k], np.concatenate([upper[k][keep], units.upper]), *upper[k + 1 :])
    rewritten = _rebuilt(network, case, plan, units, keep)
    rewritten, lower, upper = without_unread_layers(rewritten, lower, upper)
    note = f"{len(case.units)} active units become {plan.rank}"
    if units.new.width:
        note += f", {units.new.width} of them new"
    return Rewrite(
        name, layer.name, tuple(gone.tolist()), moved.deviation, rewritten, note, lower, upper
    )


def _units(subject: Subject, case: Case, plan: Plan, center: Floats) -> _Units:
    """Shifts of the new units and biases of the readers, as stored numbers."""
    layer, dtype = subject.network.layers[case.k], subject.network.dtype
    fresh = _layer_of(layer, plan.new_rows, np.zeros(len(plan.new_rows)))
    low, high = layer_bounds(subject, fresh)
    shift = np.zeros(len(low))
    wanted = case.reader_bias + case.columns @ case.bias - center
    wanted = wanted - plan.kept_factor @ case.bias[plan.kept]
    if layer.relu:
        shift = lifted(shift, low, high, dtype)
        if not plan.constant:
            shift = _tuned(case, shift, plan.new_factor, wanted, dtype)
    wanted = wanted - plan.new_factor @ shift
    bias = stored(wanted, dtype)
    moves = shift != 0
    low = np.where(moves, np.nextafter(low + shift, -np.inf), low)
    high = np.where(moves, np.nextafter(high + shift, np.inf), high)
    rows, factor = plan.new_rows, plan.new_factor
    if plan.constant:
        rows = np.concatenate([rows, np.zeros((1, rows.shape[1]))])
        factor = np.concatenate([factor, stored(wanted - bias, dtype)[:, None]], axis=1)
        shift, low, high = np.append(shift, 1.0), np.append(low, 1.0), np.append(high, 1.0)
    return _Units(_layer_of(layer, rows, shift), low, high, factor, bias)


def lifted(bias: Floats, low: Floats, high: Floats, dtype: str) -> Floats:
    """A stored bias with which pre-activations of the range [low, high] become positive, with
    slack."""
    wanted = bias - low + SLACK * (high - low)
    found = stored(wanted, dtype)
    typed = found.astype(dtype)
    above = np.nextafter(typed, np.asarray(np.inf, dtype)).astype(np.float64)
    return np.where(found < wanted, above, found)


def _tuned(case: Case, shift: Floats, factor: Floats, wanted: Floats, dtype: str) -> Floats:
    """Shifts a few stored numbers larger, so that wanted - factor shift is nearly stored, where its
    rounding would be felt: coordinate descent on what the outputs feel of it."""
    chosen = shift.copy()
    rest = wanted - factor @ chosen
    felt = np.abs(stored(rest, dtype) - rest)
    if not np.isfinite(felt).all() or (case.felt @ felt).max(initial=0.0) < _FELT:
        return shift
    if case.felt.size * _STEPS * 2 * min(len(shift), _TUNED) > _WORK:
        return shift
    step = ulp(shift, dtype)
    for unit in [*range(min(len(shift), _TUNED))] * 2:
        more = step[unit] * np.arange(_STEPS)
        tried = rest[:, None] - factor[:, unit, None] * more
        score = (case.felt @ np.abs(stored(tried, dtype) - tried)).max(axis=0, initial=0.0)
        best = int(np.argmin(score))
        chosen[unit] += more[best]
        rest = tried[:, best]
    chosen = stored(chosen, dtype)  # beyond a power of two the numbers lie further apart
    return np.where(chosen >= shift, chosen, shift)


def _layer_of(layer: Layer, rows: Floats, bias: Floats) -> Layer:
    """New units over the sources of the layer."""
    terms, start = [], 0
    for term in layer.terms:
        width = term.map.in_features
        terms.append(Term(term.source, Dense(rows[:, start : start + width])))
        start += width
    return Layer(
        layer.name, tuple(terms), bias, layer.relu, origin=np.full(len(bias), -1, dtype=np.int64)
    )


def _rebuilt(network: Network, case: Case, plan: Plan, units: _Units, keep: Ints) -> Network:
    """The network with the new layer k, and readers that take `keep` and the new units."""
    changed = {case.k: joined(take_rows(network.layers[case.k], keep), units.new)}
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
            matrix = np.concatenate([matrix[:, keep], units.new_factor[part]], axis=1)
            if matrix.shape[1]:
                terms.append(Term(case.k + 1, Dense(matrix)))
        changed[c] = replace(reader, terms=tuple(terms), bias=units.reader_bias[part])
    return replace_layers(network, changed)
