"""A-priori rounding bounds: how far a network's own floating-point evaluation is from its real
value.

Each unit errs by its local error r (verify/local_error.py). Errors spread as follows. Native
pre-activations z' obey the real recursion up to their local errors r_k, and relu(z') - relu(z) = D
(z' - z) with D diagonal, entries in [0, 1]: 0 where both are <= 0, 1 where both are >= 0. So

    z'_L - z_L = sum_k  W_L D_{L-1} W_{L-1} ... D_k  r_k

is bounded by interval-matrix products over all such D (on a graph: summed over its paths), where
signs cancel as norms |W_L| ... |W_k| never do. The bound also holds where float16 operators are
computed in float32 and cast (onnxruntime's CPU provider does): their local error is smaller. It
does not hold for evaluations with less than the type's precision (bfloat16 or TensorFloat
shortcuts), nor with subnormal numbers flushed to zero.

All quantities here are upper bounds computed in float64 and rounded up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.network import Layer, Network
from leo_cli.rounding import SMALLEST, gamma
from leo_cli.verify.formats import Format, format_of
from leo_cli.verify.local_error import local_error, product_up, up_by
from leo_cli.verify.ranges import Ranges, value_ranges

# Errors of hidden units only widen ranges: forwards by |W| is good enough for them while they are
# below this share of the values, or where sensitivities would cost more scalar products than this.
NEGLIGIBLE = 1e-3
MOST_PRODUCTS = 4e9


def rounding_bound(
    network: Network,
    domain: Domain,
    dtype: str,
    lower: Sequence[Floats] | None = None,
    upper: Sequence[Floats] | None = None,
) -> Floats:
    """Bound on |evaluation in `dtype` - real value| over the domain.

    dtype: "float16", "float32" or "float64". lower, upper: for each layer, (width,) proved bounds
    of its pre-activation over the domain, where known. Returns (components,), one number for each
    component of the concatenated network outputs; infinite where the evaluation can overflow. The
    real value is that of the coefficients as stored; where they have errors of their own, these are
    included. Raises InputError for a dtype without a known format.
    """
    return bounds_for(network, domain, (dtype,), value_ranges(network, domain, lower, upper))[dtype]


def bounds_for(
    network: Network, domain: Domain, dtypes: Sequence[str], ranges: Ranges
) -> dict[str, Floats]:
    """`rounding_bound` for several formats at once, from ranges that are already known."""
    out = {}
    for dtype in dtypes:
        with np.errstate(over="ignore", invalid="ignore"):
            errors = _node_errors(network, domain, format_of(dtype), ranges)
        parts = [errors[node] for node in network.outputs]
        out[dtype] = np.concatenate(parts) if parts else np.zeros(0)
    return out


@dataclass(frozen=True)
class _Spread:
    """What is known of a node during the walk. local: (width,) error that arises at the node
    itself. phase: (width,) lower and upper end of D's entries."""

    local: Floats
    phase: tuple[Floats, Floats]


def _node_errors(network: Network, domain: Domain, fmt: Format, ranges: Ranges) -> list[Floats]:
    """For each node, (width,) bounds on the error of its post-activation."""
    first = _input_error(domain, fmt)
    ones = np.ones(network.inputs)
    spread = [_Spread(first, (ones, ones))]
    errors = [first]
    outputs = set(network.outputs)
    for k, layer in enumerate(network.layers):
        local = local_error(layer, ranges, errors, fmt)
        error = _forward(layer, errors, local)
        if k + 1 in outputs or (_matters(error, ranges, k) and _cost(network, k) <= MOST_PRODUCTS):
            # infinite errors stay: they came along paths of |W|, left out by `_arriving`
            finite = np.isfinite(error)
            sharper = up_by(local + _arriving(network, k, spread), 2)
            error[finite] = np.fmin(error, sharper)[finite]
        error = np.where(np.isnan(error), np.inf, error)
        lower, upper = ranges.lower[k], ranges.upper[k]
        one, zero = np.ones(layer.width), np.zeros(layer.width)
        if layer.relu:
            never, always = upper + error <= 0.0, lower - error >= 0.0
            phase = (np.where(always, one, zero), np.where(never, zero, one))
            error = np.where(never, 0.0, error)
        else:
            phase = (one, one)
        spread.append(_Spread(np.where(np.isfinite(local), local, 0.0), phase))
        errors.append(error)
    return errors


def _input_error(domain: Domain, fmt: Format) -> Floats:
    """What is lost when the inputs are cast to the format: nothing where they are numbers of it.

    Integer features may come from integer tensors, which hold more than the domain's type."""
    size = domain.magnitude
    narrow = format_of(domain.dtype).roundoff >= fmt.roundoff
    exact = np.where(domain.integer, size <= fmt.integers, narrow)
    lost = np.where(exact, 0.0, up_by(size * fmt.roundoff + fmt.smallest, 4))
    return np.where(size > fmt.largest, np.inf, lost)


def _forward(layer: Layer, errors: Sequence[Floats], local: Floats) -> Floats:
    """Errors passed on by |W| (without cancellation)."""
    total = local
    for term in layer.terms:
        if errors[term.source].any():
            total = total + product_up(term.map.magnitude(), errors[term.source])
    return up_by(total, len(layer.terms) + 1)


def _arriving(network: Network, k: int, spread: Sequence[_Spread]) -> Floats:
    """(width of layer k,) the sum of the formula above without the layer's own local error."""
    width = network.layers[k].width
    last = 0 if spread[0].local.any() else 1  # exact inputs need no sensitivities
    pending: list[tuple[Floats, Floats] | None] = [None] * (k + 1)
    _send(network.layers[k], np.eye(width), np.zeros((width, width)), pending, last)
    total = np.zeros(width)
    for node in range(k, last - 1, -1):
        arrived = pending[node]
        if arrived is None:
            continue
        centre, radius = _through(arrived, spread[node].phase)
        local = spread[node].local
        size = up_by(np.abs(centre) + radius, 2)
        total = total + up_by(size @ local, len(local) + 1) + SMALLEST * len(local)
        if node > 0:
            _send(network.layers[node - 1], centre, radius, pending, last)
    return up_by(total, k + 2)


def _through(arrived: tuple[Floats, Floats], phase: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Multiply an interval matrix (centre, radius) by diag(D), D in [phase[0], phase[1]] within {0,
    1}."""
    centre, radius = arrived
    least, most = phase
    low, high = centre - radius, centre + radius
    low = np.where(least < most, np.minimum(low, 0.0), low) * most
    high = np.where(least < most, np.maximum(high, 0.0), high) * most
    middle = 0.5 * low + 0.5 * high
    moved = np.maximum(high - middle, middle - low)
    # the rounding of low, high and middle is relative to the sizes that entered
    lost = (np.abs(centre) + radius) * (gamma(4) * most)
    return middle, up_by(moved + lost, 4)


def _send(
    layer: Layer,
    centre: Floats,
    radius: Floats,
    pending: list[tuple[Floats, Floats] | None],
    last: int,
) -> None:
    """Multiply an interval matrix by the layer's maps and add the products to its sources from
    `last` on."""
    for term in layer.terms:
        if term.source < last:
            continue
        magnitude = term.map.magnitude()
        rounding = gamma(term.map.depth_transposed + 2)
        middle = term.map.apply_transposed(centre)
        width = magnitude.apply_transposed(radius + rounding * np.abs(centre))
        width = up_by(width, term.map.depth_transposed + 4) + SMALLEST * term.map.depth_transposed
        known = pending[term.source]
        if known is not None:
            middle, width = known[0] + middle, known[1] + width
            width = up_by(width + gamma(2) * np.abs(middle), 4)
        pending[term.source] = (middle, width)


def _matters(error: Floats, ranges: Ranges, k: int) -> bool:
    """Some unit's error, passed on by |W|, is not small against its values."""
    size = np.maximum(np.abs(ranges.lower[k]), np.abs(ranges.upper[k]))
    return bool(np.any(error > NEGLIGIBLE * size))


def _cost(network: Network, k: int) -> float:
    """Scalar products of `_arriving`."""
    return 2.0 * network.layers[k].width * sum(x.connections for x in network.layers[: k + 1])
