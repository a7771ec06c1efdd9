"""Opposite rows: two units that share a kink become one unit and a linear path.

If (W_i, b_i) = -c (W_j, b_j) with c > 0 then, since max(z, 0) = max(-z, 0) + z,
    max(z_i, 0) = max(c z_j, 0) + z_i = c max(z_j, 0) + z_i,
so a max(z_j, 0) + a' max(z_i, 0) = (a + a' c) max(z_j, 0) + a' z_i. Unit i becomes a unit that
passes on z_i + s > 0, always active with a shift s that the next bias takes back. That costs as
much as before, but such units can be merged with the other linear units of the layer: p pairs leave
at most min(inputs, readers) of them (product_rank), or a direct path (fold_stable, bypass); and
where a + a' c = 0, as in relu(z) - relu(-z) = z, nobody reads unit j any more. The step is applied
together with the merge that makes it pay, and refused where none does.

Needs no verdict. Rows that are only nearly opposite: with d = z_i + c z_j, by monotonicity and
1-Lipschitz continuity max(z_i, 0) - c max(z_j, 0) - z_i = max(-z_i, 0) - max(c z_j, 0) = -lambda d
with lambda in [0, 1], and the range of d over D is bounded.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.rewrite.absorb import residual_of
from leo_cli.rewrite.arithmetic import stored
from leo_cli.rewrite.bounds_after import widened
from leo_cli.rewrite.case import selections
from leo_cli.rewrite.columns import add_columns, with_columns
from leo_cli.rewrite.deviation import Perturbation, effect
from leo_cli.rewrite.drop_unread import drop_unread
from leo_cli.rewrite.fold import bypass, fold_stable
from leo_cli.rewrite.linear_units import lifted
from leo_cli.rewrite.parallel import Pairs, difference_range, parallel_pairs
from leo_cli.rewrite.prefix import longest_allowed
from leo_cli.rewrite.product_rank import product_rank
from leo_cli.rewrite.subject import Answer, Refusal, Rewrite, Subject
from leo_cli.rewrite.surgery import replace_layers

NAME = "opposite_rows"


def opposite_rows(subject: Subject, k: int) -> Answer:
    """Layer k with opposite rows merged, if the linear path that remains makes the network
    cheaper."""
    network, layer = subject.network, subject.network.layers[k]
    if not layer.relu:
        return Refusal(NAME, layer.name, "the layer has no ReLU")
    if subject.is_computed(k):
        return Refusal(NAME, layer.name, "an operator, no stored numbers, gives its coefficients")
    obstacle = subject.obstacle(k)
    if obstacle is not None:
        return Refusal(NAME, layer.name, obstacle)
    pairs = parallel_pairs(subject, k, positive=False, negative=True)
    if len(pairs) == 0:
        return Refusal(NAME, layer.name, "no two rows have nearly opposite directions")
    split = longest_allowed(
        subject, (NAME, k), pairs.gone, lambda count: _split(subject, k, pairs.first(count))
    )
    if split is None:
        return Refusal(NAME, layer.name, "rounding would exceed the allowed deviation")
    done = _merged(split.after(subject), k)
    if done is None or not subject.cost.cheaper(done.network, network):
        return Refusal(NAME, layer.name, "the linear path costs as much as the units it replaces")
    total = split.deviation + done.deviation
    total = np.where(total > 0, np.nextafter(total, np.inf), 0.0)
    if not subject.allows(total):
        return Refusal(NAME, layer.name, "rounding would exceed the allowed deviation")
    note = f"{len(split.units)} pairs, then {done.rewrite}"
    return replace(
        split, deviation=total, network=done.network, note=note, lower=done.lower, upper=done.upper
    )


def _merged(subject: Subject, k: int) -> Rewrite | None:
    """The cheapest of the steps that use up linear units, after dropping what is not read any
    more."""
    clean = drop_unread(subject, k)
    name = subject.network.layers[k].name
    names = [layer.name for layer in subject.network.layers]
    if isinstance(clean, Rewrite):
        subject = clean.after(subject)
        names = [layer.name for layer in subject.network.layers]
    if name not in names:
        return clean if isinstance(clean, Rewrite) else None
    position, whole = names.index(name), subject.network
    best = clean if isinstance(clean, Rewrite) else None
    for step in (product_rank, fold_stable, bypass):
        answer = step(subject, position)
        if isinstance(answer, Rewrite) and (
            best is None
            or subject.cost.priced(answer.network, whole) < subject.cost.priced(best.network, whole)
        ):
            best = answer
    return best


def _split(subject: Subject, k: int, pairs: Pairs) -> Rewrite | None:
    """Each unit `gone` of a pair passes on its pre-activation plus a shift; its partner takes over
    its kink."""
    network, layer = subject.network, subject.network.layers[k]
    dtype = network.dtype
    takeover = Pairs(pairs.gone, pairs.stays, -pairs.factor)
    sums = add_columns(subject, k, takeover)
    gone = pairs.gone
    bias = layer.bias.copy()
    bias[gone] = lifted(layer.bias[gone], subject.lower[k][gone], subject.upper[k][gone], dtype)
    # the readers take a' (new bias - old bias) back
    coefficients = np.concatenate([-sums.old[:, gone], sums.old[:, gone]], axis=1)
    values = np.concatenate([bias[gone], layer.bias[gone]])
    reader_bias = np.concatenate([network.layers[c].bias for c in network.consumers(k + 1)])
    new_bias = stored(reader_bias + coefficients @ values, dtype)
    if not all(np.isfinite(part).all() for part in (sums.new, bias, new_bias)):
        return None
    offset, error = residual_of(new_bias, reader_bias, coefficients, values)
    low, high = difference_range(subject, k, pairs)
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    center = 0.5 * (low + high)
    radius = np.maximum(high - center, center - low) * (1 + 2.0**-50)
    select = selections(network, network.consumers(k + 1))
    zeros = np.zeros((len(pairs), layer.width))
    moved = effect(
        subject,
        Perturbation(
            {
                c: np.concatenate([pick @ sums.old[:, gone], pick], axis=1)
                for c, pick in select.items()
            },
            np.concatenate([center, offset]),
            np.concatenate([radius, sums.error + error]),
            {k + 1: np.concatenate([zeros, sums.residual])},
        ),
    )
    lower, upper = widened(subject, moved)
    shift = bias[gone] - layer.bias[gone]
    lows, highs = list(lower), list(upper)
    lows[k], highs[k] = (
        _shifted(lower[k], gone, shift, -np.inf),
        _shifted(upper[k], gone, shift, np.inf),
    )
    changed = with_columns(network, k, sums.new)
    changed[k] = replace(layer, bias=bias)
    start = 0
    for c in network.consumers(k + 1):
        width = network.layers[c].width
        changed[c] = replace(changed[c], bias=new_bias[start : start + width])
        start += width
    return Rewrite(
        NAME,
        layer.name,
        tuple(gone.tolist()),
        moved.deviation,
        replace_layers(network, changed),
        f"{len(pairs)} pairs",
        tuple(lows),
        tuple(highs),
    )


def _shifted(bounds: Floats, units: Ints, shift: Floats, outward: float) -> Floats:
    """The bounds of some units moved by the shift, rounded outward (the shift's own rounding
    included)."""
    out = bounds.copy()
    once = np.nextafter(bounds[units] + np.nextafter(shift, outward), outward)
    out[units] = once
    return out
