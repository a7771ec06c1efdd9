"""Take out inputs that the network does not need, with one selection in front; the interface stays.

An input whose column is zero in every layer that reads it, or that the domain fixes, or whose whole
effect is within the allowance, is worth no column. A linear layer g = x[used] (a Scaled map,
written as one Gather) is put in front, all readers of the input read g instead, and the columns go:
exact for zero columns, a constant in the next bias for the others (rewrite/negligible_units.py on
the layer g, the deviation included).

Not applied where the input itself is read outside the network, where nothing reads it as a matrix
(a normalisation in front is such a selection already: its unread rows go by drop_unread), and where
too few columns go to pay for the selection: the file would grow, or hardly shrink. onnxruntime
takes 4 ns for each number that it gathers, as long as for 100 products, so that a narrow first
layer is slower behind a selection, however many columns go; with `--minimize latency` that counts.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from leo_cli.arrays import Ints
from leo_cli.network import Dense, Layer, Network, Scaled, Term
from leo_cli.rewrite.constants import replace_by_constants, stand_in
from leo_cli.rewrite.negligible_units import by_effect
from leo_cli.rewrite.prefix import longest_allowed
from leo_cli.rewrite.subject import Answer, Refusal, Rewrite, Subject
from leo_cli.rewrite.surgery import insert_layer, unique_name, used_columns

NAME = "unused_inputs"
SELECTION = 2  # an index is an int64: as large as two float32 weights
OVERHEAD = 256  # what a node and its names take in a file, about 1 kB, in float32 weights
LEAST = 1 / 20  # of the connections: to save less is not worth the time of a selection


def unused_inputs(subject: Subject, k: int) -> Answer:
    """The network with a selection of its inputs in front. Answers for layer 0 only."""
    network, layer = subject.network, subject.network.layers[k]
    if k != 0:
        return Refusal(NAME, layer.name, "inputs are looked at once, with the first layer")
    if 0 in network.outputs:
        return Refusal(NAME, layer.name, "the input is also an output")
    readers = [network.layers[c] for c in network.consumers(0)]
    if not any(isinstance(t.map, Dense) for r in readers for t in r.terms if t.source == 0):
        return Refusal(NAME, layer.name, "no matrix reads the input")
    if sum(t.source == 0 for r in readers for t in r.terms) > len(readers):
        return Refusal(NAME, layer.name, "a reader reads the input twice")
    if any(subject.is_computed(c) for c in network.consumers(0)):
        return Refusal(
            NAME, layer.name, "an operator, no stored numbers, gives a reader its coefficients"
        )
    front = subject.once((NAME, "front"), lambda: with_selection(subject))
    front = replace(front, allowance=subject.allowance)
    order = _candidates(front)
    low, high = front.box(1)
    values = stand_in(low, high, network.dtype)

    def rewrite(count: int) -> Rewrite | None:
        units = np.sort(order[:count])
        note = f"{count} of {network.inputs} inputs"
        box = (low[units], high[units])
        return replace_by_constants(front, 0, units, box, values[units], NAME, note)

    step = longest_allowed(front, (NAME,), order, rewrite)
    if step is None:
        return Refusal(NAME, layer.name, "every input is needed")
    saved = network.connections - step.network.connections
    price = SELECTION * (network.inputs - len(step.units)) + OVERHEAD
    if saved < max(price, LEAST * network.connections):
        return Refusal(
            NAME, layer.name, f"the {saved} connections saved do not pay for a selection"
        )
    return replace(step, layer="input")


def with_selection(subject: Subject) -> Subject:
    """The same network, reading all inputs through an identity in front."""
    network = subject.network
    identity = Layer(
        unique_name(network, "input_used"),
        (Term(0, Scaled(np.arange(network.inputs), np.ones(network.inputs), network.inputs)),),
        np.zeros(network.inputs),
        relu=False,
    )
    moved: Network = insert_layer(network, 0, identity)
    layers = [moved.layers[0]]
    for layer in moved.layers[1:]:
        terms = tuple(Term(t.source or 1, t.map) for t in layer.terms)
        layers.append(replace(layer, terms=terms))
    return replace(
        subject,
        network=replace(moved, layers=tuple(layers)),
        lower=(subject.domain.lower, *subject.lower),
        upper=(subject.domain.upper, *subject.upper),
        memo={},
    )


def _candidates(front: Subject) -> Ints:
    """Inputs that can go, the surest first: unread, fixed, then by effect."""
    low, high = front.box(1)
    sure = ~used_columns(front.network, 1) | (low == high)
    order = by_effect(front, 0)
    if not front.allowance.any():
        order = order[:0]
    first = np.flatnonzero(sure)
    return np.concatenate([first, order[~np.isin(order, first)]])
