"""Where to cut a box: the input that the looseness of its bounds comes from.

An open question's form over the input says how much each input moves it (ReluVal's smear, arXiv
1804.10829, section 4.3). The bound is also loose through the relaxations that it uses: each is
blamed on the inputs that move the relaxed unit. Without the second part a box can shrink for ever
in inputs that do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.bounds.relaxation import Relaxation

THIN = 2.0**-20  # an input thinner than this share of the widest is not split before it


@dataclass(frozen=True)
class Loose:
    """How far the relaxations of a layer are off, at most, in each box: (boxes, units) from above
    and from below. shares: (boxes, units, inputs) share of each input in what moves a unit."""

    above: Floats
    below: Floats
    shares: Floats

    @staticmethod
    def of(relaxation: Relaxation, low: Floats, high: Floats, shares: Floats) -> Loose:
        most = np.maximum(-relaxation.alpha * low, (1 - relaxation.alpha) * high)
        below = np.where((low < 0) & (high > 0), most, 0.0)
        known = shares.any(axis=2)  # a unit that nothing is known of is blamed on nothing
        return Loose(relaxation.intercept * known, below * known, shares)


def normalised(weight: Floats) -> Floats:
    """Rows divided by their sums."""
    total = weight.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(weight, total, out=np.zeros_like(weight), where=total > 0))


def blame(
    loose: Sequence[Loose | None], at: Ints, coefficients: Sequence[Floats], boxes: int
) -> Floats:
    """(boxes, inputs) share of each input in the looseness of the relaxations that bounds use,
    summed over the bounds of a box.

    at: (m,) the box of each bound. coefficients: for each layer, (m, units) of the bound's form.
    """
    weights: list[Floats | None] = []
    total = np.zeros(len(at))
    for layer, a in zip(loose, coefficients, strict=True):
        if layer is None or a.shape[1] == 0:
            weights.append(None)
            continue
        weight = np.where(a < 0, -a * layer.above[at], a * layer.below[at])
        total += weight.sum(axis=1)
        weights.append(weight)
    scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    order = np.argsort(at, kind="stable")
    which, first = np.unique(at[order], return_index=True)
    found = np.zeros((boxes, max((x.shares.shape[2] for x in loose if x), default=0)))
    if found.shape[1] == 0:
        return np.zeros((boxes, 1))
    for layer, given in zip(loose, weights, strict=True):
        if layer is None or given is None:
            continue
        summed = np.add.reduceat((given * scale[:, None])[order], first, axis=0)
        found[which] += np.einsum("bu,bui->bi", summed, layer.shares[which])
    return found


def input_to_cut(width: Floats, share: Floats, score: Floats) -> Ints:
    """(m,) the input to split in each box: the best score, but the widest where that one has become
    very thin.

    width, score: (m, inputs). share: width relative to the domain's.
    """
    axis: Ints = np.where(width > 0, score, -1.0).argmax(axis=1)
    rows = np.arange(len(axis))
    widest = share.argmax(axis=1)
    thin = share[rows, axis] < THIN * share[rows, widest]
    return np.where(thin, widest, axis)
