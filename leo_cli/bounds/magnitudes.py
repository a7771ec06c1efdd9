"""How large the values at each node can get: the weights of all rounding-error terms.

For a layer z = sum_t W_t h_t + b, the float64 error of any evaluation of z or of p z (p a row
vector) is at most gamma times |p| m with  m = sum_t |W_t| hmax_t + |b|  (Higham, section 3.1),
whatever the order of summation. m is computed once for a domain; bounds on part of the domain may
use it too, since it only grows with the domain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.network import Layer
from leo_cli.rounding import SMALLEST, UNIT_ROUNDOFF, gamma


@dataclass(frozen=True)
class LayerMagnitudes:
    """sums: (width,) upper bounds m of sum |W||h| + |b| over the domain.
    relative: bound on the relative error of the layer's evaluation, forwards or backwards, its
    inexact coefficients included. underflow: bound on what underflow adds to one product p z, for
    each row p. absolute: (width,) error of the bias against the model's real value."""

    sums: Floats
    relative: float
    underflow: float
    absolute: Floats


def layer_magnitudes(layer: Layer, sources: list[Floats], fan_out: int = 1) -> LayerMagnitudes:
    """sources: for each term, (in,) upper bounds of |h|. fan_out: layers that read one node."""
    sums = np.abs(layer.bias)
    terms = 1
    reach = float(layer.width)
    for term, size in zip(layer.terms, sources, strict=True):
        sums = sums + term.map.magnitude().apply(size)
        terms += term.map.depth + term.map.depth_transposed
        reach += float(size.sum())
    relative = gamma(terms + fan_out + 8) + layer.weight_error * (1 + 4 * UNIT_ROUNDOFF)
    # doubled: computed from below by at most a relative gamma, see rounding.gamma
    underflow = 4.0 * (terms + 8) * SMALLEST * (reach + float(sums.sum()) + 1.0)
    bias_error = np.zeros(layer.width) if layer.bias_error is None else layer.bias_error
    return LayerMagnitudes(sums, relative, underflow, bias_error * (1 + 4 * UNIT_ROUNDOFF))
