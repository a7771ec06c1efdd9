"""Units that are constant: rows of zeros, and rows that read only what the domain fixes.

A unit with W_j = 0 has h_j = max(b_j, 0) (b_j in a layer without a ReLU) for every input; one with
equal proved bounds l_j = u_j has that value on D. Its readers take h_j W_next[:, j] into their
bias. Exact where the new biases are representable; else the rounding, carried through to the
outputs, is the deviation (rewrite/constants.py). As many are taken as the allowance permits, those
first that their readers read the least.
"""

from __future__ import annotations

import numpy as np

from leo_cli.rewrite.constants import replace_by_constants
from leo_cli.rewrite.prefix import longest_allowed
from leo_cli.rewrite.subject import Answer, Refusal, Rewrite, Subject, indices
from leo_cli.rewrite.surgery import reads

NAME = "constant_units"


def constant_units(subject: Subject, k: int) -> Answer:
    """Layer k without its constant units."""
    network, layer = subject.network, subject.network.layers[k]
    obstacle = subject.obstacle(k)
    if obstacle is not None:
        return Refusal(NAME, layer.name, obstacle)
    low, high = subject.box(k + 1)
    zero = np.ones(layer.width, dtype=bool)
    for term in layer.terms:
        zero &= ~(term.map.magnitude().apply(np.ones(term.map.in_features)) > 0)
    if layer.bias_error is not None:
        zero &= layer.bias_error == 0
    value = layer.activate(layer.bias)
    low, high = np.where(zero, value, low), np.where(zero, value, high)
    units = indices(low == high)
    if len(units) == 0:
        return Refusal(NAME, layer.name, "no unit is constant on the domain")
    readers = np.concatenate([reads(network.layers[c], k + 1) for c in network.consumers(k + 1)])
    order = units[np.argsort(np.abs(readers[:, units] * low[units]).max(axis=0), kind="stable")]

    def rewrite(count: int) -> Rewrite | None:
        chosen = np.sort(order[:count])
        value = low[chosen]
        note = "moved into the next bias"
        return replace_by_constants(subject, k, chosen, (value, value), value, NAME, note)

    step = longest_allowed(subject, (NAME, k), order, rewrite)
    if step is None:
        reason = "rounding the next bias would exceed the allowed deviation"
        return Refusal(NAME, layer.name, reason)
    return step
