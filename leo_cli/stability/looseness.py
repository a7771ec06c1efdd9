"""Where to cut a box: the input that the looseness of its bounds comes from.

An open question's form over the input says how much each input moves it (ReluVal's smear, arXiv
1804.10829, section 4.3). The bound is also loose through the relaxations that it uses: each is
blamed on the inputs that move the relaxed unit. Without the second part a box can shrink for ever
in inputs that do not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.bounds.linear import Relaxed
from leo_cli.bounds.relaxation import relax
from leo_cli.stability.boxes import Boxes

THIN = 2.0**-20  # an input thinner than this share of the widest is not split before it


def normalised(weight: Floats) -> Floats:
    """Rows divided by their sums."""
    total = weight.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(weight, total, out=np.zeros_like(weight), where=total > 0))


def blame(
    problem: Relaxed,
    boxes: Boxes,
    at: Ints,
    coefficients: Sequence[Floats],
    shares: Mapping[int, Floats],
) -> Floats:
    """(m, inputs) share of each input in the looseness of the relaxations that m bounds use.

    at: (m,) the box of each bound. coefficients: for each layer, (m, width) of the bound's form.
    shares: for each layer, (boxes, width, inputs) share of each input in what moves a unit. A
    unit's relaxation is off by at most t where its coefficient is negative, by max(-alpha l,
    (1 - alpha) u) where it is positive.
    """
    found = np.zeros((len(at), boxes.lower.shape[1]))
    for k, layer in enumerate(problem.network.layers[:-1]):
        a = coefficients[k]
        if not layer.relu or k not in shares or a.shape[1] == 0:
            continue
        live = problem.live[k]
        low, high = boxes.z_lower[k][:, live], boxes.z_upper[k][:, live]
        r = relax(low, high)
        most = np.maximum(-r.alpha * low, (1 - r.alpha) * high)
        off = np.where((low < 0) & (high > 0), most, 0.0)
        weight = np.where(a < 0, -a * r.intercept[at], a * off[at])
        found += np.einsum("ru,rui->ri", weight, shares[k][:, live][at])
    return normalised(found)


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
