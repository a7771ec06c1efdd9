"""Replace units by numbers: h_j becomes v_j, and W_next[:, j] v_j goes into the next bias.

With h_j in [l_j, u_j] on D and v_j any number, the layers c that read the units J change by
    eps = (h - v)_J through S_c = -W_c[:, J],  plus the rounding of the new biases.
eps is its centre (l + u) / 2 - v plus or minus (u - l) / 2; the centres of many units are summed
with their signs. For a unit that is constant on D, l_j = u_j = v_j and only the rounding is left.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.network import Layer
from leo_cli.rewrite.absorb import absorb
from leo_cli.rewrite.arithmetic import stored
from leo_cli.rewrite.bounds_after import widened
from leo_cli.rewrite.deviation import Perturbation, effect
from leo_cli.rewrite.subject import Rewrite, Subject
from leo_cli.rewrite.surgery import (
    keep_bounds,
    keep_units,
    reads,
    replace_layers,
    without_unread_layers,
)
from leo_cli.rounding import SMALLEST, UNIT_ROUNDOFF


def replace_by_constants(
    subject: Subject,
    k: int,
    units: Ints,
    box: tuple[Floats, Floats],
    values: Floats,
    name: str,
    note: str,
) -> Rewrite | None:
    """Layer k without `units`, which its readers take for `values`.

    box: (len(units),) each, l and u of these units. values: (len(units),) v. None if a new bias is
    not finite. No reader reads the layer twice (`Subject.obstacle`).
    """
    network = subject.network
    changed: dict[int, Layer] = {}
    into: dict[int, Floats] = {}
    center, radius = _spread(*box, values)
    offsets, radii = [center], [radius]
    readers = network.consumers(k + 1)
    width = len(units) + sum(network.layers[c].width for c in readers)
    start = len(units)
    for c in readers:
        layer = network.layers[c]
        coefficients = reads(layer, k + 1)[:, units]
        absorbed = absorb(layer.bias, coefficients, values, network.dtype)
        if not np.isfinite(absorbed.bias).all():
            return None
        step = np.zeros((layer.width, width))
        step[:, : len(units)] = -coefficients
        step[:, start : start + layer.width] = np.eye(layer.width)
        start += layer.width
        into[c] = step
        offsets.append(absorbed.residual)
        radii.append(absorbed.radius)
        changed[c] = replace(layer, bias=absorbed.bias)
    moved = effect(subject, Perturbation(into, np.concatenate(offsets), np.concatenate(radii)))
    lower, upper = widened(subject, moved)
    keep = np.setdiff1d(np.arange(network.layers[k].width), units)
    network = keep_units(replace_layers(network, changed), k, keep)
    network, lower, upper = without_unread_layers(
        network, keep_bounds(lower, k, keep), keep_bounds(upper, k, keep)
    )
    return Rewrite(
        name,
        subject.network.layers[k].name,
        tuple(units.tolist()),
        moved.deviation,
        network,
        note,
        lower,
        upper,
    )


def stand_in(low: Floats, high: Floats, dtype: str) -> Floats:
    """A number in each range to take for what varies in it.

    0 where the range contains it: then biases stay as they are, and inputs and units that are 0 on
    real data, as most of those that hardly matter are, do not move the outputs there at all. Else
    the middle, which is best for the worst case, as a number of the stored type where one lies
    between.
    """
    value = np.where(low == high, low, 0.5 * low + 0.5 * high)
    near = stored(value, dtype)
    value = np.where((near >= low) & (near <= high), near, value)
    return np.where((low <= 0) & (high >= 0), 0.0, value)


def _spread(low: Floats, high: Floats, values: Floats) -> tuple[Floats, Floats]:
    """(center, radius) of h - v for h in [low, high]."""
    down, up = low - values, high - values
    center = 0.5 * (down + up)
    # two roundings of down and up, and two of what follows, each relative to a number of this size
    size = np.abs(low) + np.abs(high) + np.abs(values)
    radius = np.maximum(up - center, center - down) + 4 * UNIT_ROUNDOFF * size
    same = (low == values) & (high == values)
    return np.where(same, 0.0, center), np.where(same, 0.0, radius + SMALLEST)
