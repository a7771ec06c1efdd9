"""Let the other units of a layer stand for one, stable or not, as far as they can.

Where h_u is nearly  sum_j beta_j h_j + c  on D, delete unit u and give every reader the columns
N_j + beta_j N_u. This is the linear dependence of rows (rewrite/merge_dependent.py) for layers in
which most units are unstable: on [l, u], by the chord of the ReLU,
    max(z, 0) = s z + q,   s = u / (u - l),   q in [0, M],   M = max(-s l, (1 - s) u)
(s = 1 and M = 0 for an active unit; valid for any s in [0, 1]). So a change D of the readers'
columns moves them by
    D h = D S (W h' + b) + D q,
a linear form in h' with signed sums, and |D| M / 2 around its centre. The beta that make that small
over the boxes of h' are a least-absolute-deviations fit, found by iteratively reweighted least
squares (Bloomfield & Steiger, Least Absolute Deviations, 1983, section 7).

Columns are stored numbers, and what is added to them is often not much more than their last bit:
they are rounded one after the other, each taking up what the rounding of those before has left
(Babai's nearest plane on a QR of the fit). Whatever was chosen, the change D of the stored numbers
is certified as above, and carried to the outputs by rewrite/deviation.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.rewrite.absorb import residual_of
from leo_cli.rewrite.arithmetic import product, stored, ulp
from leo_cli.rewrite.bounds_after import widened
from leo_cli.rewrite.case import center_of, selections
from leo_cli.rewrite.columns import with_columns
from leo_cli.rewrite.deviation import Perturbation, effect, sensitivity
from leo_cli.rewrite.forms import chord
from leo_cli.rewrite.subject import Answer, Refusal, Rewrite, Subject
from leo_cli.rewrite.surgery import (
    concatenated,
    keep_bounds,
    keep_units,
    reads,
    replace_layers,
    without_unread_layers,
)
from leo_cli.rounding import SMALLEST, UNIT_ROUNDOFF

NAME = "substitute_units"
_TRIED = 4  # units that are tried, those with the smallest effect
_HOPE = 32.0  # a unit whose effect is more than this many allowances is not tried
_SWEEPS = 24  # of reweighted least squares
_WIDEST = 512  # layers with more units than this would take too long


@dataclass(frozen=True)
class _Layer:
    """What a fit is about. rows: (units, inputs) W over all sources. reach, magnitude: (inputs,).
    slope: (units,) s. gap: (units,) M / 2, rounded up. columns: (readers, units) N, stacked.
    felt: (readers,) what the outputs feel of each, in units of the allowance."""

    rows: Floats
    bias: Floats
    reach: Floats
    magnitude: Floats
    slope: Floats
    gap: Floats
    columns: Floats
    reader_bias: Floats
    felt: Floats


def substitute_units(subject: Subject, k: int) -> Answer:
    """Layer k without a unit that the others can stand for within the allowance."""
    layer = subject.network.layers[k]
    obstacle = subject.obstacle(k)
    if obstacle is not None:
        return Refusal(NAME, layer.name, obstacle)
    if not subject.allowance.any():
        return Refusal(NAME, layer.name, "no deviation is allowed")
    if layer.connections == 0:
        return Refusal(NAME, layer.name, "the layer has no matrix to make smaller")
    if not 2 <= layer.width <= _WIDEST:
        return Refusal(NAME, layer.name, f"the layer has {layer.width} units")
    for unit in _candidates(subject, k):
        step = subject.once((NAME, k, unit), partial(_without, subject, k, unit))
        if step is not None and subject.allows(step.deviation):
            return step
    return Refusal(NAME, layer.name, "no unit is nearly a sum of others")


def _candidates(subject: Subject, k: int) -> list[int]:
    """Units whose own effect on the outputs is not much more than the allowance."""
    network = subject.network
    into = {c: reads(network.layers[c], k + 1) for c in network.consumers(k + 1)}
    moved = subject.once(("felt", k), lambda: sensitivity(subject, into))
    low, high = subject.box(k + 1)
    allowed = subject.allowance[:, None]
    felt = moved * (0.5 * (high - low))
    share = np.divide(felt, allowed, out=np.where(felt > 0, np.inf, 0.0), where=allowed > 0)
    worst = share.max(axis=0, initial=0.0)
    order = np.argsort(worst, kind="stable")[:_TRIED]
    return [int(unit) for unit in order if worst[unit] <= _HOPE]


def _without(subject: Subject, k: int, unit: int) -> Rewrite | None:
    """The network without the unit, and what that moves, whatever the allowance."""
    fit = subject.once((NAME, "layer", k), partial(_layer_of, subject, k))
    try:
        columns = _new_columns(fit, unit, subject.network.dtype)
    except np.linalg.LinAlgError:
        return None
    if columns is None or not np.isfinite(columns).all():
        return None
    return _certified(subject, k, unit, fit, columns)


def _layer_of(subject: Subject, k: int) -> _Layer:
    network, layer = subject.network, subject.network.layers[k]
    boxes = [subject.box(term.source) for term in layer.terms]
    low = np.concatenate([np.zeros(0), *(box[0] for box in boxes)])
    high = np.concatenate([np.zeros(0), *(box[1] for box in boxes)])
    slope, gap = chord(subject.lower[k], subject.upper[k], layer.relu)
    readers = network.consumers(k + 1)
    felt = sensitivity(subject, selections(network, readers))
    allowed = np.where(subject.allowance > 0, subject.allowance, np.inf)
    return _Layer(
        concatenated([t.map.rows(slice(None)) for t in layer.terms], layer.width),
        layer.bias,
        0.5 * (high - low),
        np.maximum(np.abs(low), np.abs(high)),
        slope,
        gap,
        np.concatenate([reads(network.layers[c], k + 1) for c in readers]),
        np.concatenate([network.layers[c].bias for c in readers]),
        (felt / allowed[:, None]).max(axis=0, initial=0.0),
    )


def _new_columns(fit: _Layer, unit: int, dtype: str) -> Floats | None:
    """(readers, units) stored columns in which the others stand for the unit, whose own is 0; None
    where they cannot."""
    others = np.delete(np.arange(len(fit.gap)), unit)
    design = np.concatenate(
        [((fit.rows * fit.slope[:, None])[others] * fit.reach).T, np.diag(fit.gap[others])]
    )
    wanted = np.concatenate([fit.rows[unit] * fit.slope[unit] * fit.reach, np.zeros(len(others))])
    felt = fit.felt * np.abs(fit.columns[:, unit])
    weight = _weights(design, wanted, 1 / max(felt.max(initial=0.0), SMALLEST))
    if weight is None:
        return None
    columns = fit.columns.copy()
    columns[:, unit] = 0.0
    effect_of = felt * np.abs(wanted).sum()
    felt_by = np.flatnonzero(effect_of > 1 / (64 * len(effect_of)))  # others hardly read the unit
    if len(felt_by):
        target = np.outer(weight * wanted, fit.columns[felt_by, unit])
        start = fit.columns[np.ix_(felt_by, others)]
        columns[np.ix_(felt_by, others)] = _rounded(design * weight[:, None], target, start, dtype)
    return columns


def _weights(design: Floats, wanted: Floats, limit: float) -> Floats | None:
    """(rows,) weights with which least squares minimises the sum of |design beta - wanted|.

    None where that is above the limit: no sum of sizes is less than the root of the least sum of
    squares.
    """
    scale = np.linalg.norm(design, axis=0)
    scaled = design / np.where(scale > 0, scale, 1.0)
    weight = np.ones(len(wanted))
    smallest = np.abs(wanted).max(initial=0.0)
    for sweep in range(_SWEEPS):
        weighted = scaled * weight[:, None]
        normal = weighted.T @ weighted
        normal[np.diag_indices_from(normal)] *= 1 + 1e-12
        normal[np.diag_indices_from(normal)] += SMALLEST
        beta = np.linalg.solve(normal, weighted.T @ (weight * wanted))
        off = np.abs(scaled @ beta - wanted)
        if sweep == 0 and float(np.linalg.norm(off)) > limit:
            return None
        weight = 1 / np.sqrt(np.maximum(off, max(smallest * 0.5**sweep, SMALLEST)))
        weight = weight / weight.max()
    return weight


def _rounded(design: Floats, target: Floats, start: Floats, dtype: str) -> Floats:
    """(readers, units) stored numbers; `design` times their difference from `start` is close to the
    target, (rows, readers)."""
    # those whose last bit matters most are rounded first, as the last columns of the triangle
    last_bit = ulp(np.abs(start).max(axis=0), dtype)
    order = np.argsort(last_bit * np.linalg.norm(design, axis=0), kind="stable")
    q, triangle = np.linalg.qr(design[:, order])
    left = q.T @ target
    chosen = start[:, order]
    for i in range(len(order) - 1, -1, -1):
        step = left[i] / triangle[i, i] if triangle[i, i] != 0 else np.zeros(len(start))
        value = stored(chosen[:, i] + step, dtype)
        left -= np.outer(triangle[:, i], value - chosen[:, i])
        chosen[:, i] = value
    found = np.empty(start.shape)
    found[:, order] = chosen
    return found


def _certified(subject: Subject, k: int, unit: int, fit: _Layer, columns: Floats) -> Rewrite | None:
    """The network with the new columns, without the unit, and the deviation of that."""
    network, layer = subject.network, subject.network.layers[k]
    change = columns - fit.columns  # exact or not: `rounding` below holds for both
    linear = change * fit.slope
    form, radius = product(linear, fit.rows, fit.magnitude)
    maps = _by_source(subject, k, form)
    count = len(columns)
    center = center_of(subject, maps, count)
    moves = np.any(change != 0, axis=1)
    coefficients = -np.concatenate([linear, change], axis=1)
    values = np.concatenate([fit.bias, fit.gap])
    wanted = fit.reader_bias + coefficients @ values - center
    bias = np.where(moves, stored(wanted, network.dtype), fit.reader_bias)
    if not np.isfinite(bias).all():
        return None
    offset, error = residual_of(bias, fit.reader_bias, coefficients, values)
    size = np.abs(change)
    # roundings of `change` and `linear`, each relative; and the gaps around their centres
    reach = np.abs(fit.rows) @ fit.magnitude + np.abs(fit.bias) + fit.gap
    rounding = 8 * UNIT_ROUNDOFF * ((np.abs(columns) + np.abs(fit.columns)) @ reach)
    spread = size @ (fit.gap + _doubt(subject, k))
    radius = (radius + error + rounding + spread) * (1 + 2.0**-40)
    radius += len(values) * SMALLEST * (1 + reach.sum())
    moved = effect(
        subject,
        Perturbation(
            selections(network, network.consumers(k + 1)),
            np.where(moves, offset, 0.0),
            np.where(moves, radius, 0.0),
            maps,
        ),
    )
    lower, upper = widened(subject, moved)
    changed = with_columns(network, k, columns)
    start = 0
    for c in network.consumers(k + 1):
        width = network.layers[c].width
        changed[c] = replace(changed[c], bias=bias[start : start + width])
        start += width
    keep = np.delete(np.arange(layer.width), unit)
    rewritten, lower, upper = without_unread_layers(
        keep_units(replace_layers(network, changed), k, keep),
        keep_bounds(lower, k, keep),
        keep_bounds(upper, k, keep),
    )
    note = "a unit that the others stand for"
    return Rewrite(NAME, layer.name, (unit,), moved.deviation, rewritten, note, lower, upper)


def _doubt(subject: Subject, k: int) -> Floats:
    """(units,) how far inexact coefficients of the layer can move its units."""
    layer = subject.network.layers[k]
    doubt = np.zeros(layer.width) if layer.bias_error is None else layer.bias_error
    if layer.weight_error:
        for term in layer.terms:
            size = term.map.magnitude().apply(subject.magnitude(term.source))
            doubt = doubt + layer.weight_error * size
    return 2.0 * doubt


def _by_source(subject: Subject, k: int, matrix: Floats) -> dict[int, Floats]:
    """The columns of a matrix over all sources of layer k, source by source."""
    out, start = {}, 0
    for term in subject.network.layers[k].terms:
        width = term.map.in_features
        out[term.source] = matrix[:, start : start + width]
        start += width
    return out
