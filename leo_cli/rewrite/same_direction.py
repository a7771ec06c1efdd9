"""Merge units whose rows point in the same direction, stable or not; duplicates are the case c = 1.

If (W_i, b_i) = c (W_j, b_j) with c > 0 then max(z_i, 0) = c max(z_j, 0) for every input: delete
unit i and set N[:, j] += c N[:, i] in all readers N (in a layer without a ReLU c may have any
sign). Needs no verdict. Exact where c and the new columns are representable. Rows that agree only
nearly are merged within the allowance: since the ReLU is monotone and 1-Lipschitz, h_i - c h_j =
lambda (z_i - c z_j) with lambda in [0, 1], and the range over D of z_i - c z_j = (W_i - c W_j) h' +
b_i - c b_j is bounded like any pre-activation.

Each unit is merged into one that stays; a chain of merges is never formed. Candidates come from
rewrite/parallel.py; the longest prefix of them, closest first, that the certificate accepts is
merged.
"""

from __future__ import annotations

import numpy as np

from leo_cli.rewrite.bounds_after import widened
from leo_cli.rewrite.case import selections
from leo_cli.rewrite.columns import add_columns, with_columns
from leo_cli.rewrite.deviation import Perturbation, effect
from leo_cli.rewrite.parallel import Pairs, difference_range, parallel_pairs
from leo_cli.rewrite.prefix import longest_allowed
from leo_cli.rewrite.subject import Answer, Refusal, Rewrite, Subject
from leo_cli.rewrite.surgery import (
    keep_bounds,
    keep_units,
    replace_layers,
    without_unread_layers,
)

NAME = "same_direction"


def same_direction(subject: Subject, k: int) -> Answer:
    """Layer k with rows of the same direction merged."""
    layer = subject.network.layers[k]
    obstacle = subject.obstacle(k)
    if obstacle is not None:
        return Refusal(NAME, layer.name, obstacle)
    pairs = parallel_pairs(subject, k, positive=True, negative=not layer.relu)
    if len(pairs) == 0:
        return Refusal(NAME, layer.name, "no two rows have nearly the same direction")
    step = longest_allowed(
        subject, (NAME, k), pairs.gone, lambda count: _merge(subject, k, pairs.first(count))
    )
    if step is None:
        return Refusal(NAME, layer.name, "merging would exceed the allowed deviation")
    return step


def _merge(subject: Subject, k: int, pairs: Pairs) -> Rewrite | None:
    """The rewritten network, if it is finite."""
    network, layer = subject.network, subject.network.layers[k]
    sums = add_columns(subject, k, pairs)
    if not np.isfinite(sums.new).all():
        return None
    low, high = difference_range(subject, k, pairs)
    if layer.relu:
        low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    center = 0.5 * (low + high)
    radius = np.maximum(high - center, center - low) * (1 + 2.0**-50)
    # the readers lose N_i (h_i - c h_j), and gain the rounding of their new columns
    select = selections(network, network.consumers(k + 1))
    into = {
        c: np.concatenate([-(pick @ sums.old[:, pairs.gone]), pick], axis=1)
        for c, pick in select.items()
    }
    zeros = np.zeros((len(pairs), layer.width))
    moved = effect(
        subject,
        Perturbation(
            into,
            np.concatenate([center, np.zeros(len(sums.old))]),
            np.concatenate([radius, sums.error]),
            {k + 1: np.concatenate([zeros, sums.residual])},
        ),
    )
    lower, upper = widened(subject, moved)
    keep = np.setdiff1d(np.arange(layer.width), pairs.gone)
    rewritten = keep_units(replace_layers(network, with_columns(network, k, sums.new)), k, keep)
    rewritten, lower, upper = without_unread_layers(
        rewritten, keep_bounds(lower, k, keep), keep_bounds(upper, k, keep)
    )
    units = tuple(pairs.gone.tolist())
    note = f"{len(pairs)} units merged into others of the same direction"
    return Rewrite(NAME, layer.name, units, moved.deviation, rewritten, note, lower, upper)
