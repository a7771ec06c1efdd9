"""A-priori rounding bounds: how far a network's own floating-point evaluation is from its real
value.

For one pre-activation z = sum_j w_j h_j + b with s summands, let T = sum |w_j h_j| + |b|. Any
evaluation in a format with unit roundoff u, in whatever order, blocked or not, with fused
multiply-adds or without, satisfies

    (1)    |fl(z) - z| <= ((1 + u)^s - 1) T + s eta

because each summand passes one product and at most s - 1 additions, each with a factor 1 + d, |d|
<= u (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., sections 2.1 and 3.1; the
form (1 + u)^s needs no s u < 1), and only products underflow, by eta / 2 each. With P and N the
sums of the positive and of the negative summands' sizes, every partial sum is between -N and P, so
that each of the s - 1 additions errs by at most u (max(P, N) + G), G being (1):

    (2)    |fl(z) - z| <= s u (max(P, N) + G) + u T + s eta

The smaller of (1) and (2) is the local error of a unit. Three more roundings are counted for each:
a scalar factor of Gemm, a weight that is rescaled in the format, a Cast. Coefficients that no file
holds (BatchNormalization) come with bounds on what computing them in float64 loses; computing them
in the format loses as many times more as its unit roundoff is larger.

Errors spread as follows. Native pre-activations z' obey the real recursion up to their local errors
r_k, and relu(z') - relu(z) = D (z' - z) with D diagonal, entries in [0, 1]: 0 where both are <= 0,
1 where both are >= 0. So

    (3)    z'_L - z_L = sum_k  W_L D_{L-1} W_{L-1} ... D_k  r_k

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

from leo_cli.arrays import Bools, Floats
from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, LinearMap, Network
from leo_cli.rounding import SMALLEST, UNIT_ROUNDOFF, gamma
from leo_cli.verify.formats import Format, format_of
from leo_cli.verify.ranges import Ranges, value_ranges

EXTRA_ROUNDINGS = 3
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
        local = _local_error(layer, ranges, errors, fmt)
        error = _forward(layer, errors, local)
        if k + 1 in outputs or (_matters(error, ranges, k) and _cost(network, k) <= MOST_PRODUCTS):
            # infinite errors stay: they came along paths of |W|, left out by `_arriving`
            finite = np.isfinite(error)
            sharper = _up(local + _arriving(network, k, spread), 2)
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
    lost = np.where(exact, 0.0, _up(size * fmt.roundoff + fmt.smallest, 4))
    return np.where(size > fmt.largest, np.inf, lost)


def _local_error(layer: Layer, ranges: Ranges, errors: Sequence[Floats], fmt: Format) -> Floats:
    """(width,) the smaller of (1) and (2), coefficient errors included; infinite where a sum can
    overflow.

    errors: of all nodes before the layer."""
    positive, negative = np.maximum(layer.bias, 0.0), np.maximum(-layer.bias, 0.0)
    summands = (layer.bias != 0).astype(np.float64)
    for term in layer.terms:
        error = errors[term.source]
        above = _add_up(np.maximum(ranges.high[term.source], 0.0), error)
        below = _add_up(np.maximum(-ranges.low[term.source], 0.0), error)
        plus, minus = term.map.parts()
        positive = positive + _product_up(plus, above) + _product_up(minus, below)
        negative = negative + _product_up(plus, below) + _product_up(minus, above)
        summands = summands + _summands(term.map, (above > 0) | (below > 0))
    additions = 2 * len(layer.terms) + 1
    positive, negative = _up(positive, additions), _up(negative, additions)
    # T: at most the sum of both, and at most the sizes themselves
    total = _up(positive + negative, 1)
    crude = _sizes(layer, ranges, errors)
    total = np.fmin(total, crude)
    roundings = summands + EXTRA_ROUNDINGS
    growth = _growth(roundings, fmt.roundoff)
    underflow = roundings * fmt.smallest * (1.0 + growth)
    whole = growth * total + underflow
    largest = np.fmin(np.maximum(positive, negative), total)
    parts = fmt.roundoff * (roundings * (largest + whole) + (1 + EXTRA_ROUNDINGS) * total)
    error = np.fmin(whole, parts + underflow)
    # what float64 computes to within these errors, a native evaluation computes in its own type
    coarser = fmt.roundoff / UNIT_ROUNDOFF
    if layer.weight_error > 0.0:
        error = error + 2.0 * coarser * layer.weight_error * total
    if layer.bias_error is not None:
        error = error + coarser * layer.bias_error
    error = _up(error, 16)
    return np.where(total + error <= fmt.largest, error, np.inf)


def _sizes(layer: Layer, ranges: Ranges, errors: Sequence[Floats]) -> Floats:
    """(width,) upper bounds of T: the sum of |w| times the largest size of each native input."""
    total = np.abs(layer.bias)
    for term in layer.terms:
        low, high = ranges.low[term.source], ranges.high[term.source]
        size = _add_up(np.maximum(np.abs(low), np.abs(high)), errors[term.source])
        total = total + _product_up(term.map.magnitude(), size)
    return _up(total, len(layer.terms) + 1)


def _add_up(size: Floats, error: Floats) -> Floats:
    """Their sum, rounded up; 0 stays 0."""
    return np.where((size == 0.0) & (error == 0.0), 0.0, _up(size + error, 1))


def _growth(roundings: Floats, u: float) -> Floats:
    """(1 + u)^n - 1, rounded up."""
    return _up(np.expm1(roundings * np.log1p(u)), 16)


def _summands(linear: LinearMap, live: Bools) -> Floats:
    """(out,) number of products that can be other than 0."""
    if isinstance(linear, Dense):
        count: Floats = (linear.matrix != 0).astype(np.float64) @ live.astype(np.float64)
        return count
    return np.full(linear.out_features, float(linear.depth))


def _forward(layer: Layer, errors: Sequence[Floats], local: Floats) -> Floats:
    """Errors passed on by |W| (without cancellation)."""
    total = local
    for term in layer.terms:
        if errors[term.source].any():
            total = total + _product_up(term.map.magnitude(), errors[term.source])
    return _up(total, len(layer.terms) + 1)


def _arriving(network: Network, k: int, spread: Sequence[_Spread]) -> Floats:
    """(width of layer k,) the sum of (3) without the layer's own local error."""
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
        size = _up(np.abs(centre) + radius, 2)
        total = total + _up(size @ local, len(local) + 1) + SMALLEST * len(local)
        if node > 0:
            _send(network.layers[node - 1], centre, radius, pending, last)
    return _up(total, k + 2)


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
    return middle, _up(moved + lost, 4)


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
        width = _up(width, term.map.depth_transposed + 4) + SMALLEST * term.map.depth_transposed
        known = pending[term.source]
        if known is not None:
            middle, width = known[0] + middle, known[1] + width
            width = _up(width + gamma(2) * np.abs(middle), 4)
        pending[term.source] = (middle, width)


def _matters(error: Floats, ranges: Ranges, k: int) -> bool:
    """Some unit's error, passed on by |W|, is not small against its values."""
    size = np.maximum(np.abs(ranges.lower[k]), np.abs(ranges.upper[k]))
    return bool(np.any(error > NEGLIGIBLE * size))


def _cost(network: Network, k: int) -> float:
    """Scalar products of `_arriving`."""
    return 2.0 * network.layers[k].width * sum(x.connections for x in network.layers[: k + 1])


def _product_up(linear: LinearMap, x: Floats) -> Floats:
    """|linear| x, rounded up, for a map of one sign and x without negative entries.

    One infinite entry makes all results infinite: natively, 0 times infinity is NaN."""
    if np.isinf(x).any():
        return np.full(linear.out_features, np.inf)
    return _up(np.abs(linear.apply(x)), linear.depth + 1) + SMALLEST * linear.depth


def _up(value: Floats, operations: int) -> Floats:
    """Upper bound of a sum or product of non-negative numbers that took `operations` roundings."""
    return np.nextafter(value * (1.0 + gamma(operations)), np.inf)
