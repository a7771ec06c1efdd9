"""Backward linear bounds in exact arithmetic, for bounds that rounding alone keeps from 0.

The same bound as bounds/linear.py with its default relaxations, whose slopes and intercepts are
floats and so dyadic, over the box of the domain: every number of the evaluation is exact. Units
whose terms cancel (z = 0 on all of D, or touching 0) have a bound of exactly 0 here, where float64
with outward rounding leaves a little more.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.bounds.linear import Relaxed
from leo_cli.bounds.relaxation import Relaxation
from leo_cli.dyadic import Dyadic
from leo_cli.network import LinearMap

LARGEST = float(np.finfo(np.float64).max)


def is_exact(problem: Relaxed) -> bool:
    """Whether the network's coefficients are the model's own, none the result of a rounding, and
    its relaxations are finite."""
    finite = all(r is None or np.isfinite(r.intercept).all() for r in problem.relaxations)
    return finite and all(
        layer.weight_error == 0.0 and (layer.bias_error is None or not layer.bias_error.any())
        for layer in problem.network.layers
    )


def exact_lower_bound(
    problem: Relaxed,
    unit: int,
    sign: float,
    relaxations: Sequence[Relaxation | None] | None = None,
    multipliers: Sequence[Floats | None] | None = None,
) -> Fraction:
    """A lower bound of sign * z of the target's `unit` over the box of the domain, without any
    rounding.

    relaxations, multipliers: those of one row, (width,) each, as in bounds/linear.py. Requires
    `is_exact`; raises ValueError where a number is not finite."""
    layers = problem.network.layers
    chosen = problem.relaxations if relaxations is None else relaxations
    seed = np.zeros(layers[-1].width)
    seed[unit] = sign
    pending: dict[int, Dyadic] = {}
    constant = Fraction(0)
    for k in range(len(layers) - 1, -1, -1):
        if k == problem.target:
            p = Dyadic.of(seed)
        elif k + 1 in pending:
            p, lift = _through_relu(pending[k + 1], chosen[k])
            constant += lift
            if multipliers is not None and (extra := multipliers[k]) is not None:
                p = p + Dyadic.of(extra)
        else:
            continue
        constant += (p * Dyadic.of(layers[k].bias)).total()
        for term in layers[k].terms:
            moved = _apply_transposed(term.map, p)
            known = pending.get(term.source)
            pending[term.source] = moved if known is None else known + moved
    form = pending.get(0)
    if form is None:
        return constant
    ends = np.where(form.signs() > 0, problem.domain.lower, problem.domain.upper)
    return constant + (form * Dyadic.of(ends)).total()


def down(value: Fraction) -> float:
    """The largest float that is not above a non-negative number."""
    if value >= LARGEST:
        return LARGEST
    nearest = float(value)
    return nearest if Fraction(nearest) <= value else float(np.nextafter(nearest, 0.0))


def _through_relu(a: Dyadic, relaxation: Relaxation | None) -> tuple[Dyadic, Fraction]:
    if relaxation is None:
        return a, Fraction(0)
    below = a.signs() < 0
    slopes: Floats = np.where(below, relaxation.slope, relaxation.alpha)
    lift = (a.where(below) * Dyadic.of(relaxation.intercept)).total()
    return a * Dyadic.of(slopes), lift


def _apply_transposed(linear: LinearMap, p: Dyadic) -> Dyadic:
    """p W; only the rows that p reads are converted."""
    read = np.flatnonzero(p.signs())
    rows = linear.rows(read)
    columns = np.flatnonzero(np.any(rows != 0, axis=0))
    numerators = np.zeros(linear.in_features, dtype=object)
    if len(columns) == 0:
        return Dyadic(numerators, 0)
    product = Dyadic(p.numerators[read], p.exponent) @ Dyadic.of(rows[:, columns])
    numerators[columns] = product.numerators
    return Dyadic(numerators, product.exponent)
