"""Delete what nobody reads: units whose outgoing columns are all zero, blocks of zeros, unread
layers.

sum_j W_next[:, j] h_j does not depend on h_j where W_next[:, j] = 0 in every layer that reads it,
and a term whose matrix is zero adds nothing. Exact, whatever the domain: deviation 0. Holds for
layers with and without a ReLU (dead rows of a normalisation); output nodes keep their units.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from leo_cli.rewrite.subject import Answer, Refusal, Rewrite, Subject, indices, no_deviation
from leo_cli.rewrite.surgery import (
    keep_bounds,
    keep_units,
    replace_layers,
    used_columns,
    without_unread_layers,
)

NAME = "drop_unread"


def drop_unread(subject: Subject, k: int) -> Answer:
    """Layer k without terms of zeros and, unless it is an output, without units that nobody
    reads."""
    layer = subject.network.layers[k]
    terms = tuple(
        t for t in layer.terms if (t.map.magnitude().apply(np.ones(t.map.in_features))).any()
    )
    network = subject.network
    if len(terms) < len(layer.terms):
        network = replace_layers(network, {k: replace(layer, terms=terms)})
    used = used_columns(network, k + 1)
    gone = [] if subject.is_output(k) or used.all() else indices(~used).tolist()
    if not gone and len(terms) == len(layer.terms):
        return Refusal(NAME, layer.name, "every unit and every term is read")
    lower, upper = subject.lower, subject.upper
    if gone:
        keep = indices(used)
        network = keep_units(network, k, keep)
        lower, upper = keep_bounds(lower, k, keep), keep_bounds(upper, k, keep)
    network, lower, upper = without_unread_layers(network, lower, upper)
    note = (
        f"{len(layer.terms) - len(terms)} terms of zeros" if len(terms) < len(layer.terms) else ""
    )
    return Rewrite(
        NAME,
        layer.name,
        tuple(gone),
        no_deviation(subject),
        network,
        note,
        lower,
        upper,
        neutral=True,
    )
