"""The matrices that rewrites of active units share: what a layer passes on, and who reads it.

For the units A of layer k that pass z on unchanged, z_A = W_A h' + b_A with h' the values of all
nodes that the layer reads, side by side. N stacks the columns A of all layers that read it. Only N
W_A and N b_A matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.network import Network
from leo_cli.rewrite.deviation import sensitivity
from leo_cli.rewrite.forms import form_range
from leo_cli.rewrite.subject import Subject, indices
from leo_cli.rewrite.surgery import concatenated, dense


@dataclass(frozen=True)
class Case:
    """What the rewrite of a layer works on.

    units: A. sources: nodes that the layer reads, in the order of the columns of `rows` (W_A),
    `reach` and `magnitude`, half the range and the largest size of these nodes' values. bias: b_A.
    readers: positions of the layers that read it; `columns` (N), `reader_bias` and `doubt` stack
    their rows in this order. doubt: what inexact coefficients of the model leave open.
    felt: (components, readers) what the outputs feel of each row, in units of the allowance.
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
    felt: Floats


def case_of(subject: Subject, k: int) -> Case | str:
    """The matrices of layer k, or why it has none to rewrite."""
    return subject.once(("case", k), lambda: _case_of(subject, k))


def _case_of(subject: Subject, k: int) -> Case | str:
    network, layer = subject.network, subject.network.layers[k]
    readers = network.consumers(k + 1)
    obstacle = subject.obstacle(k, exact_readers=False)
    if obstacle is not None:
        return obstacle
    changed = [c for c in readers if subject.is_computed(c)]
    if any(len(network.layers[c].terms) > 1 for c in changed):
        return "an operator, no stored numbers, gives a reader the coefficients of another node"
    units = indices(subject.active(k))
    if len(units) == 0:
        return "no unit is proved active"
    if changed and len(units) < layer.width:
        return "an operator, no stored numbers, gives a reader the coefficients of other units"
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
    into = selections(network, readers)
    felt = sensitivity(subject, into)
    allowed = np.where(subject.allowance > 0, subject.allowance, 1.0)
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
        felt / allowed[:, None],
    )


def selections(network: Network, readers: tuple[int, ...]) -> dict[int, Floats]:
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
    """(readers,) how far inexact coefficients of layer k and of its readers can move what is
    rewritten."""
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
    biases = [np.zeros(0)]
    for c in readers:
        reader = network.layers[c]
        biases.append(np.zeros(reader.width) if reader.bias_error is None else reader.bias_error)
    # doubled: float sums of non-negative numbers, and errors relative to either of two numbers
    return np.asarray(2.0 * (np.abs(columns) @ own + error * values + np.concatenate(biases)))


def by_source(subject: Subject, case: Case, matrix: Floats) -> dict[int, Floats]:
    """The columns of a matrix over all sources, source by source."""
    out, start = {}, 0
    for source in case.sources:
        width = subject.network.width(source)
        out[source] = matrix[:, start : start + width]
        start += width
    return out


def center_of(subject: Subject, maps: dict[int, Floats], count: int) -> Floats:
    """The middle of the range of each row over the domain."""
    low, high = form_range(subject, maps, np.zeros(count))
    return 0.5 * (low + high)
