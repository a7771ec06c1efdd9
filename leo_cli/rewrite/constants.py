"""Replace units by numbers: h_j becomes v_j, and W_next[:, j] v_j goes into the next bias.

With h_j in [l_j, u_j] on D and v_j any number, the layers c that read the units J change by
    eps = (h - v)_J through S_c = -W_c[:, J],  plus the rounding of the new biases.
For a unit that is constant on D, l_j = u_j = v_j and only the rounding is left.
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


def replace_by_constants(
    subject: Subject, k: int, units: Ints, values: Floats, radius: Floats, name: str, note: str
) -> Rewrite | None:
    """Layer k without `units`, which its readers take for `values`.

    values, radius: (len(units),); |h_j - v_j| <= radius_j on D. None if a new bias is not finite.
    No reader reads the layer twice (`Subject.obstacle`).
    """
    network = subject.network
    changed: dict[int, Layer] = {}
    into: dict[int, Floats] = {}
    offsets, radii = [np.zeros(len(units))], [radius]
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


def middle(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """A number between, and a bound on the distance to both ends; the number itself where they are
    equal."""
    value = np.where(low == high, low, 0.5 * low + 0.5 * high)
    radius = np.maximum(high - value, value - low)
    return value, np.where(low == high, 0.0, np.nextafter(radius, np.inf))


def representable_middle(low: Floats, high: Floats, dtype: str) -> tuple[Floats, Floats]:
    """The same with a number of the stored type where one lies between."""
    value, _ = middle(low, high)
    near = stored(value, dtype)
    value = np.where((near >= low) & (near <= high), near, value)
    radius = np.maximum(high - value, value - low)
    return value, np.where(low == high, 0.0, np.nextafter(radius, np.inf))
