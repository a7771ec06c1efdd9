"""The local error of a unit: what one evaluation of its pre-activation adds to the errors it reads.

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
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leo_cli.arrays import Bools, Floats
from leo_cli.network import Dense, Layer, LinearMap
from leo_cli.rounding import SMALLEST, UNIT_ROUNDOFF, gamma
from leo_cli.verify.formats import Format
from leo_cli.verify.ranges import Ranges

EXTRA_ROUNDINGS = 3


def local_error(layer: Layer, ranges: Ranges, errors: Sequence[Floats], fmt: Format) -> Floats:
    """(width,) the smaller of (1) and (2), coefficient errors included; infinite where a sum can
    overflow.

    errors: of all nodes before the layer."""
    positive, negative = np.maximum(layer.bias, 0.0), np.maximum(-layer.bias, 0.0)
    summands = (layer.bias != 0).astype(np.float64)
    for term in layer.terms:
        error = errors[term.source]
        above = _sum_up(np.maximum(ranges.high[term.source], 0.0), error)
        below = _sum_up(np.maximum(-ranges.low[term.source], 0.0), error)
        plus, minus = term.map.parts()
        positive = positive + product_up(plus, above) + product_up(minus, below)
        negative = negative + product_up(plus, below) + product_up(minus, above)
        summands = summands + _summands(term.map, (above > 0) | (below > 0))
    additions = 2 * len(layer.terms) + 1
    positive, negative = up_by(positive, additions), up_by(negative, additions)
    # T: at most the sum of both, and at most the sizes themselves
    total = up_by(positive + negative, 1)
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
    error = up_by(error, 16)
    return np.where(total + error <= fmt.largest, error, np.inf)


def _sizes(layer: Layer, ranges: Ranges, errors: Sequence[Floats]) -> Floats:
    """(width,) upper bounds of T: the sum of |w| times the largest size of each native input."""
    total = np.abs(layer.bias)
    for term in layer.terms:
        low, high = ranges.low[term.source], ranges.high[term.source]
        size = _sum_up(np.maximum(np.abs(low), np.abs(high)), errors[term.source])
        total = total + product_up(term.map.magnitude(), size)
    return up_by(total, len(layer.terms) + 1)


def _sum_up(size: Floats, error: Floats) -> Floats:
    """Their sum, rounded up; 0 stays 0."""
    return np.where((size == 0.0) & (error == 0.0), 0.0, up_by(size + error, 1))


def _growth(roundings: Floats, u: float) -> Floats:
    """(1 + u)^n - 1, rounded up."""
    return up_by(np.expm1(roundings * np.log1p(u)), 16)


def _summands(linear: LinearMap, live: Bools) -> Floats:
    """(out,) number of products that can be other than 0."""
    if isinstance(linear, Dense):
        count: Floats = (linear.matrix != 0).astype(np.float64) @ live.astype(np.float64)
        return count
    return np.full(linear.out_features, float(linear.depth))


def product_up(linear: LinearMap, x: Floats) -> Floats:
    """|linear| x, rounded up, for a map of one sign and x without negative entries.

    One infinite entry makes all results infinite: natively, 0 times infinity is NaN."""
    if np.isinf(x).any():
        return np.full(linear.out_features, np.inf)
    return up_by(np.abs(linear.apply(x)), linear.depth + 1) + SMALLEST * linear.depth


def up_by(value: Floats, operations: int) -> Floats:
    """Upper bound of a sum or product of non-negative numbers that took `operations` roundings."""
    return np.nextafter(value * (1.0 + gamma(operations)), np.inf)
