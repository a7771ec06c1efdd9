"""Backward linear bounds (CROWN/DeepPoly), rounded outward.

To bound c z_k from below over D, write it as a linear form in the values h of earlier nodes and
walk backwards: a coefficient a of h = relu(z) is replaced by a alpha z where a >= 0 and by a (s z +
t) where a < 0 (bounds/relaxation.py); a coefficient p of z = W h' + b by p W h' + p b. What remains
is a linear form over the input, whose minimum over D is known in closed form. Sources: arXiv
1811.00866 (CROWN), POPL 2019 41 (DeepPoly). Phase constraints z <= 0 or z >= 0 enter with Lagrange
multipliers: adding B z with B >= 0 where z <= 0, and with B <= 0 where z >= 0, only lowers the form
on that part of D (beta-CROWN, arXiv 2103.06624, equation 8).

Claim: `Backward.bound` is at most the real minimum, whatever the slopes in [0, 1] and multipliers
of the right sign. Each step defines the next form by the floats that it computed; what the rounding
of the step changed is at most relative * (|p| + |B|) m + underflow, with m from
bounds/magnitudes.py, and is taken off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.bounds.interval import post_activation
from leo_cli.bounds.magnitudes import LayerMagnitudes, layer_magnitudes
from leo_cli.bounds.relaxation import Relaxation, relax
from leo_cli.domain import Domain
from leo_cli.network import Layer, Network, Term
from leo_cli.rounding import SMALLEST, UNIT_ROUNDOFF, gamma


@dataclass(frozen=True)
class Relaxed:
    """The part of a network that a bound on one layer looks at: that layer and all before it,
    without the units that are proved inactive.

    network: ends with the target layer. live: for each layer, the indices of its remaining units in
    the full network. lower, upper: bounds of their pre-activations (the target's may be infinite).
    relaxations: default ones, None for layers without a ReLU.
    """

    network: Network
    domain: Domain
    live: tuple[Ints, ...]
    lower: tuple[Floats, ...]
    upper: tuple[Floats, ...]
    magnitudes: tuple[LayerMagnitudes, ...]
    relaxations: tuple[Relaxation | None, ...]

    @property
    def target(self) -> int:
        return len(self.network.layers) - 1


def relaxed(
    network: Network, domain: Domain, lower: Sequence[Floats], upper: Sequence[Floats], target: int
) -> Relaxed:
    """Prepare bounds on layer `target` from bounds on all layers before it.

    lower, upper: for each layer, (width,); those of layers before `target` must be finite.
    """
    live: list[Ints] = []
    layers: list[Layer] = []
    for k in range(target + 1):
        layer = network.layers[k]
        everything = np.arange(layer.width)
        keep = everything if k == target or not layer.relu else np.flatnonzero(upper[k] > 0)
        layers.append(_restrict(layer, keep, live))
        live.append(keep)
    low = tuple(np.asarray(lower[k])[live[k]] for k in range(target + 1))
    high = tuple(np.asarray(upper[k])[live[k]] for k in range(target + 1))
    small = Network(network.inputs, tuple(layers), (target + 1,), network.dtype)
    sizes = [domain.magnitude]
    magnitudes = []
    for k, layer in enumerate(layers):
        magnitudes.append(
            layer_magnitudes(layer, [sizes[t.source] for t in layer.terms], len(layers))
        )
        if k < target:
            bottom, top = post_activation(layer, low[k], high[k])
            sizes.append(np.maximum(np.abs(bottom), np.abs(top)))
    relaxations = tuple(
        relax(low[k], high[k]) if layer.relu and k < target else None
        for k, layer in enumerate(layers)
    )
    return Relaxed(small, domain, tuple(live), low, high, tuple(magnitudes), relaxations)


def products(problem: Relaxed) -> int:
    """Products of numbers in one pass through the layers, for one row: a measure of work that does
    not depend on the machine."""
    layers = problem.network.layers
    return sum(layer.width * term.map.in_features for layer in layers for term in layer.terms)


def _restrict(layer: Layer, rows: Ints, live: Sequence[Ints]) -> Layer:
    """The layer's `rows`, reading only the live units of its sources."""
    terms = tuple(
        Term(t.source, t.map.take(rows, None if t.source == 0 else live[t.source - 1]))
        for t in layer.terms
    )
    bias_error = None if layer.bias_error is None else layer.bias_error[rows]
    return replace(
        layer, terms=terms, bias=layer.bias[rows], origin=layer.origin[rows], bias_error=bias_error
    )


@dataclass(frozen=True)
class Backward:
    """bound: (m,) proved lower bounds. form: (m, inputs) what is left over the input.
    coefficients: for each layer before the target, (m, width) of its post-activation."""

    bound: Floats
    form: Floats
    coefficients: tuple[Floats, ...]


@dataclass(frozen=True)
class Signed:
    """The objectives sign[i] * z of the target's unit[i]: (m,), (m,) of 1 or -1. The same as rows
    of an identity matrix, without a product with it."""

    unit: Ints
    sign: Floats

    def __len__(self) -> int:
        return len(self.unit)


def backward(
    problem: Relaxed,
    objective: Floats | Signed,
    relaxations: Sequence[Relaxation | None] | None = None,
    multipliers: Sequence[Floats | None] | None = None,
    box: tuple[Floats, Floats] | None = None,
) -> Backward:
    """Lower bounds of `objective` z over the domain, z the target's pre-activation.

    objective: (m, width of the target). relaxations: for each layer before the target, instead of
    the default ones. multipliers: for each layer, (m, width) B of the module docstring, or None.
    box: (m, inputs) lower and upper ends of a part of the domain for each row, instead of all of
    it.
    """
    layers = problem.network.layers
    chosen = problem.relaxations if relaxations is None else relaxations
    rows = len(objective)
    pending: list[Floats | None] = [None] * (len(layers) + 1)  # coefficients of each node's h
    coefficients: list[Floats] = [np.zeros((rows, 0))] * len(layers)
    constant, error = np.zeros(rows), np.zeros(rows)
    for k in range(len(layers) - 1, -1, -1):
        layer, size = layers[k], problem.magnitudes[k]
        if isinstance(objective, Signed) and k == problem.target:
            constant += objective.sign * layer.bias[objective.unit]
            error += (size.relative * size.sums + size.absolute)[objective.unit] + size.underflow
            for term in layer.terms:
                moved = term.map.rows(objective.unit) * objective.sign[:, None]
                known = pending[term.source]
                pending[term.source] = moved if known is None else known + moved
            continue
        if not isinstance(objective, Signed) and k == problem.target:
            p, weight = objective, np.abs(objective)
        else:
            a = pending[k + 1]
            if a is None:
                continue
            coefficients[k] = a
            p, weight, lift = _through_relu(a, chosen[k])
            constant += lift
            error -= size.relative * lift  # lift <= 0, and its own error is relative to it
            if multipliers is not None and (extra := multipliers[k]) is not None:
                p = p + extra
                weight = weight + np.abs(extra)
        constant += p @ layer.bias
        error += weight @ (size.relative * size.sums + size.absolute) + size.underflow
        for term in layer.terms:
            moved = term.map.apply_transposed(p)
            known = pending[term.source]
            pending[term.source] = moved if known is None else known + moved
    form = pending[0]
    if form is None:
        form = np.zeros((rows, problem.network.inputs))
    least = problem.domain.minimum(form) if box is None else _least(form, *box)
    # the factor 2 covers the float sums of `error` itself, see rounding.gamma
    total = least + constant
    slack = 2.0 * error + 8.0 * UNIT_ROUNDOFF * (np.abs(least) + np.abs(constant))
    bound = np.nextafter(total - slack, -np.inf)
    # a NaN comes from overflow on the way, after which nothing is known
    bound = np.where(np.isnan(bound), -np.inf, bound)
    return Backward(bound, form, tuple(coefficients[:-1]))


def _least(form: Floats, lower: Floats, upper: Floats) -> Floats:
    """(m,) lower bounds of form[i] x over the box lower[i] <= x <= upper[i], rounded outward."""
    products = form * np.where(form > 0, lower, upper)
    inputs = form.shape[1]
    error = gamma(inputs) * np.abs(products).sum(axis=1) + 2 * inputs * SMALLEST
    return np.asarray(products.sum(axis=1) - error)


def _through_relu(a: Floats, relaxation: Relaxation | None) -> tuple[Floats, Floats, Floats]:
    """Coefficients of z from those of h, the absolute values that their error is relative to, and
    the constant that the upper relaxation adds (at most 0).
    """
    if relaxation is None:
        return a, np.abs(a), np.zeros(len(a))
    p = np.where(a > 0, relaxation.alpha, relaxation.slope)
    p *= a
    negative = np.minimum(a, 0.0)
    if relaxation.intercept.ndim == 1:
        lift = negative @ relaxation.intercept
    else:
        lift = np.einsum("ij,ij->i", negative, relaxation.intercept)
    return p, np.abs(p, out=negative), lift
