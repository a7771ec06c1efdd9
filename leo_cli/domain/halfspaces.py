"""Linear constraints as half-spaces G x <= h, with the distance that rounding to a float type
needs.

An equality is two opposite half-spaces. Rounding x to the type moves row k by less than margin_k =
sum_i |G_ki| spacing_i over the continuous features, so a point with G x <= h - margin stays
feasible when it is rounded. Opposite rows that leave a slab thinner than their margins are aimed
at in its middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leo_cli.arrays import Bools, Floats
from leo_cli.domain.grid import spacing

if TYPE_CHECKING:
    from leo_cli.domain.domain import Domain


@dataclass(frozen=True)
class HalfSpaces:
    """G: (k, inputs), h: (k,). target: (k,) <= h, what searches aim at. thin: (k,) rows that, with
    their opposite, are an equality for practical purposes."""

    G: Floats
    h: Floats
    target: Floats
    thin: Bools


def continuous(domain: Domain) -> Bools:
    """(inputs,) features that take all values of an interval: neither fixed, integer nor
    one-hot."""
    result = (domain.lower < domain.upper) & ~domain.integer
    for group in domain.one_hot:
        result[group.members] = False
    return result


def half_spaces(domain: Domain) -> HalfSpaces:
    rows, limits = [], []
    for constraint in domain.constraints:
        rows.append(constraint.coefficients)
        limits.append(constraint.rhs)
        if constraint.op == "==":
            rows.append(-constraint.coefficients)
            limits.append(-constraint.rhs)
    G = np.array(rows).reshape(len(rows), domain.inputs) + 0.0
    h = np.array(limits)
    gaps = np.where(continuous(domain), spacing(domain.magnitude, domain.dtype), 0.0)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        margin = np.abs(G) @ gaps
        reach = np.abs(G) @ (domain.upper - domain.lower)
        slab = np.full(len(G), np.inf)
        index = {row.tobytes(): k for k, row in enumerate(G)}  # of equal rows the last
        for k, row in enumerate(G):
            opposite = index.get((-row + 0.0).tobytes())
            if opposite is not None:
                slab[k] = h[k] + h[opposite]
        target = h - np.minimum(margin, np.maximum(slab, 0.0) / 2)
        thin = slab <= np.maximum(4 * margin, 1e-6 * reach)
    return HalfSpaces(G, h, np.where(np.isfinite(target), target, h), thin)
