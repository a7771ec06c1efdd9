"""Merge stably active units of a layer into as few linear units as its readers can tell apart.

For the stably active units A of layer k, h_A = W_A h' + b_A on the domain, so the readers see only N W_A h' + N b_A,
with N their columns A, stacked. With N W_A = P Q + residual (rewrite/factorise.py), r rows in Q, put r units
q(h') = Q h' + c in place of A, c chosen so that q >= 0 on the domain (for rows of W_A that stay: c = b, they are
active already), and give the readers the columns P and the bias b_next + N b_A - P c. Rows of readers that are
inactive are gone before and do not count. r = rank(N W_A) <= min(|A|, inputs, readers) suffices; LEO's own rule
(merge_dependent) sees only rank(W_A).

The change of the readers is  eps(h') = (P Q - N W_A) h' + e, with e the rounding of their new biases, which also
absorb the centre of the first part; what that does to the outputs is the deviation. Fewer directions than the
rank are kept only where this certificate stays within the allowance. q >= 0 has room to spare
(a 2**-10 of its range), so that small changes in front of the layer do not undo it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.bounds.interval import layer_interval
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.rewrite.absorb import residual_of
from leo_cli.rewrite.arithmetic import product, stored
from leo_cli.rewrite.bounds_after import layer_bounds, widened
from leo_cli.rewrite.deviation import Perturbation, effect, sensitivity
from leo_cli.rewrite.factorise import Basis, Task, basis, extension, prepare, starts
from leo_cli.rewrite.subject import Answer, Refusal, Rewrite, Subject, indices
from leo_cli.rewrite.surgery import (
    concatenated,
    dense,
    has_double_source,
    joined,
    replace_layers,
    take_rows,
    without_unread_layers,
)

NAME = "product_rank"
_SLACK = 2.0**-10


@dataclass(frozen=True)
class Case:
    """What the rewrite of a layer works on.

    units: the active units A. sources: nodes that the layer reads, in the order of the columns of `rows` (W_A).
    readers: positions of the layers that read it; `columns` (N) stacks their columns A in this order.
    doubt: (readers,) what inexact coefficients of the model leave open.
    """

    k: int
    units: Ints
    sources: tuple[int, ...]
    readers: tuple[int, ...]
    rows: Floats
    columns: Floats
    bias: Floats
    reader_bias: Floats
    reach: Floats
    magnitude: Floats
    doubt: Floats
    task: Task


def case_of(subject: Subject, k: int) -> Case | Refusal:
    """The matrices of layer k, or why the rewrite does not apply."""
    network, layer = subject.network, subject.network.layers[k]
    readers = network.consumers(k + 1)
    if subject.is_output(k):
        return Refusal(NAME, layer.name, "its values are read outside the network")
    units = indices(subject.active(k))
    if len(units) == 0:
        return Refusal(NAME, layer.name, "no unit is proved active")
    if has_double_source(layer) or any(has_double_source(network.layers[c]) for c in readers):
        return Refusal(NAME, layer.name, "the layer or a reader reads one node twice")
    if not readers:
        return Refusal(NAME, layer.name, "nobody reads the layer")
    sources = tuple(term.source for term in layer.terms)
    boxes = [subject.box(node) for node in sources]
    low = np.concatenate([np.zeros(0), *(box[0] for box in boxes)])
    high = np.concatenate([np.zeros(0), *(box[1] for box in boxes)])
    rows = concatenated([term.map.rows(units) for term in layer.terms], len(units))
    columns = np.concatenate(
        [
            dense(t.map)[:, units]
            for c in readers
            for t in network.layers[c].terms
            if t.source == k + 1
        ]
    )
    reach = 0.5 * (high - low)
    magnitude = np.maximum(np.abs(low), np.abs(high))
    into = _selections(network, readers)
    felt = sensitivity(subject, into)
    allowed = np.where(subject.allowance > 0, subject.allowance, 1.0)
    weight = (felt / allowed[:, None]).max(axis=0, initial=0.0)
    task = prepare(columns @ rows, rows, weight, reach, network.dtype)
    return Case(
        k,
        units,
        sources,
        readers,
        rows,
        columns,
        layer.bias[units],
        np.concatenate([network.layers[c].bias for c in readers]),
        reach,
        magnitude,
        _doubt(subject, k, readers, units, columns),
        task,
    )


def _selections(network: Network, readers: tuple[int, ...]) -> dict[int, Floats]:
    """For each reader, the matrix that picks its part of the stacked pre-activations."""
    widths = [network.layers[c].width for c in readers]
    identity = np.eye(sum(widths))
    ends = np.cumsum(widths)
    return {
        c: identity[end - width : end] for c, width, end in zip(readers, widths, ends, strict=True)
    }


def _doubt(
    subject: Subject, k: int, readers: tuple[int, ...], units: Ints, columns: Floats
) -> Floats:
    """(readers,) how far inexact coefficients of layer k and of its readers can move what is rewritten."""
    network, layer = subject.network, subject.network.layers[k]
    own = np.zeros(len(units)) if layer.bias_error is None else layer.bias_error[units]
    if layer.weight_error:
        for term in layer.terms:
            own = (
                own
                + layer.weight_error
                * term.map.magnitude().apply(subject.magnitude(term.source))[units]
            )
    error = np.concatenate(
        [np.full(network.layers[c].width, network.layers[c].weight_error) for c in readers]
    )
    values = np.abs(columns) @ subject.magnitude(k + 1)[units]
    # doubled for the kept basis rows, whose factor carries the same doubt once more
    return np.asarray(4.0 * (np.abs(columns) @ own + error * values))


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


def plan_of(case: Case, start: Basis, rank: int) -> Plan:
    """`rank` units: the basis and the leading directions of its residual."""
    factor, rows = extension(case.task, start, rank - len(start.chosen))
    return Plan(start.chosen, start.factor, rows, factor)


def product_rank(subject: Subject, k: int) -> Answer:
    """Layer k with its active units replaced by as few as the allowance permits."""
    layer = subject.network.layers[k]
    case = case_of(subject, k)
    if isinstance(case, Refusal):
        return case
    limit = min(len(case.units) - 1, max(len(case.columns), 1))
    best: Rewrite | None = None
    for count in starts(case.task):
        if count > limit:
            continue
        start = basis(case.task, count)
        top = min(limit, count + len(start.right))
        found = _smallest(subject, case, start, count, top)
        if found is not None:
            rank, step = found
            # on a tie the later start wins: more of the original rows stay
            limit, best = rank, step
    if best is None:
        return Refusal(NAME, layer.name, "no smaller rank keeps the outputs within the allowance")
    return best


def _smallest(
    subject: Subject, case: Case, start: Basis, low: int, high: int
) -> tuple[int, Rewrite] | None:
    """The smallest rank in [low, high] within the allowance, by bisection."""
    best = _attempt(subject, case, plan_of(case, start, high))
    if best is None:
        return None
    while low < high:
        rank = (low + high) // 2
        step = _attempt(subject, case, plan_of(case, start, rank))
        if step is None:
            low = rank + 1
        else:
            high, best = rank, step
    return high, best


def _attempt(subject: Subject, case: Case, plan: Plan) -> Rewrite | None:
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
        wanted = -low + _SLACK * (high - low)
        shift = stored(wanted, dtype)
        shift = np.where(shift < wanted, _next_stored(shift, dtype), shift)
    constants = np.concatenate([case.bias[plan.kept], shift])
    # residual of the product, with the error of computing it
    left = np.concatenate([factor, -case.columns], axis=1)
    residual, radius = product(left, np.concatenate([rows, case.rows]), case.magnitude)
    maps = _by_source(subject, case, residual)
    center = _center(subject, maps, len(residual))
    coefficients = np.concatenate([case.columns, -factor], axis=1)
    values = np.concatenate([case.bias, constants])
    bias = stored(case.reader_bias + coefficients @ values - center, dtype)
    if not all(np.isfinite(part).all() for part in (factor, rows, bias, shift)):
        return None
    offset, error = residual_of(bias, case.reader_bias, coefficients, values)
    moved = effect(
        subject,
        Perturbation(_selections(network, case.readers), offset, radius + error + case.doubt, maps),
    )
    if np.any(moved.deviation > subject.allowance):
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
        NAME, layer.name, tuple(gone.tolist()), moved.deviation, rewritten, note, lower, upper
    )


def _next_stored(values: Floats, dtype: str) -> Floats:
    """The next larger numbers of the type."""
    typed = values.astype(dtype)
    return np.asarray(np.nextafter(typed, np.asarray(np.inf, dtype)).astype(np.float64))


def _by_source(subject: Subject, case: Case, matrix: Floats) -> dict[int, Floats]:
    """The columns of a matrix over all sources, source by source."""
    out, start = {}, 0
    for source in case.sources:
        width = subject.network.width(source)
        out[source] = matrix[:, start : start + width]
        start += width
    return out


def _center(subject: Subject, maps: dict[int, Floats], count: int) -> Floats:
    """The middle of the range of each row over the domain."""
    terms = tuple(Term(source, Dense(matrix)) for source, matrix in maps.items())
    nodes = 1 + max(maps, default=0)
    low, high = layer_interval(
        Layer("", terms, np.zeros(count), relu=False), subject.domain, subject.boxes(nodes)
    )
    return 0.5 * (low + high)


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
