"""Units whose rows (with their biases) point in nearly the same or the opposite direction.

Found by the cosine between rows scaled by the largest size of what they read, so that an angle
means a difference over the domain; what a pair's difference does is then certified by its range
(`difference_range`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.network import Dense, Layer, Term
from leo_cli.rewrite.arithmetic import is_exact_product, product
from leo_cli.rewrite.bounds_after import layer_bounds
from leo_cli.rewrite.subject import Subject
from leo_cli.rewrite.surgery import concatenated

_ALIKE = 1e-4  # sine of the angle up to which two rows are worth a certificate
_CHOICES = 8  # members of a group that are tried as the one that stays


@dataclass(frozen=True)
class Pairs:
    """z of unit `gone[i]` is nearly `factor[i]` times z of unit `stays[i]`; no unit is in both."""

    gone: Ints
    stays: Ints
    factor: Floats

    def __len__(self) -> int:
        return len(self.gone)

    def first(self, count: int) -> Pairs:
        return Pairs(self.gone[:count], self.stays[:count], self.factor[:count])


def parallel_pairs(subject: Subject, k: int, positive: bool, negative: bool) -> Pairs:
    """Pairs of units of layer k with factors of the signs asked for, the closest first.

    Of several units of one direction one stays, unless negative factors alone are asked for: then
    each unit is in at most one pair.
    """
    layer = subject.network.layers[k]
    rows = concatenated([t.map.rows(slice(None)) for t in layer.terms], layer.width)
    reach = np.concatenate([np.zeros(0), *(subject.magnitude(t.source) for t in layer.terms)])
    scaled = np.concatenate([rows * reach, layer.bias[:, None]], axis=1)
    sizes = np.linalg.norm(scaled, axis=1)
    units = scaled / np.where(sizes > 0, sizes, 1.0)[:, None]
    cosine = units @ units.T
    limit = 1 - 0.5 * _ALIKE**2
    near = np.zeros(cosine.shape, dtype=bool)
    if positive:
        near |= cosine > limit
    if negative:
        near |= cosine < -limit
    np.fill_diagonal(near, False)
    near &= (sizes > 0)[:, None] & (sizes > 0)
    free = np.ones(layer.width, dtype=bool)
    found: list[tuple[float, int, int, float]] = []
    exact = np.concatenate([rows, layer.bias[:, None]], axis=1)
    for j in np.argsort(-sizes, kind="stable").tolist():
        group = np.flatnonzero(near[j] & free) if free[j] else np.zeros(0, dtype=np.int64)
        if len(group) == 0:
            continue
        if not positive:
            group = group[:1]
        members = [j, *group.tolist()]
        stays, factors = _representative(exact, scaled, members)
        free[members] = False
        for unit, factor in zip(members, factors.tolist(), strict=True):
            if unit != stays:
                gap = float(np.abs(scaled[unit] - factor * scaled[stays]).sum())
                found.append((gap, unit, stays, factor))
    found.sort()
    return Pairs(
        np.array([lose for _, lose, _, _ in found], dtype=np.int64),
        np.array([keep for _, _, keep, _ in found], dtype=np.int64),
        np.array([factor for _, _, _, factor in found]),
    )


def _representative(exact: Floats, scaled: Floats, members: list[int]) -> tuple[int, Floats]:
    """The member of which the most others are exact multiples, and the factors of all members."""
    best, most, factors = members[0], -1, np.ones(len(members))
    rows = exact[members]
    for stays in members[:_CHOICES]:
        entry = int(np.argmax(np.abs(scaled[stays])))
        ratio = rows[:, entry] / exact[stays, entry]
        same = np.all(rows == ratio[:, None] * exact[stays], axis=1)
        count = sum(
            is_exact_product(ratio[[i], None], exact[[stays]]) for i in np.flatnonzero(same)
        )
        if count > most:
            best, most, factors = stays, count, ratio
    return best, factors


def difference_range(subject: Subject, k: int, pairs: Pairs) -> tuple[Floats, Floats]:
    """Bounds of z_gone - factor z_stays over the domain, for each pair."""
    layer = subject.network.layers[k]
    count = len(pairs)
    left = np.concatenate([np.eye(count), -np.diag(pairs.factor)], axis=1)
    size = np.abs(left)
    doubt = np.zeros(count)
    terms = []
    for term in layer.terms:
        both = np.concatenate([term.map.rows(pairs.gone), term.map.rows(pairs.stays)])
        value, error = product(left, both, subject.magnitude(term.source))
        terms.append(Term(term.source, Dense(value)))
        doubt += error
        if layer.weight_error:
            reach = np.abs(both) @ subject.magnitude(term.source)
            doubt += 2.0 * layer.weight_error * (size @ reach)
    both = np.concatenate([layer.bias[pairs.gone], layer.bias[pairs.stays]])[:, None]
    bias, error = product(left, both, np.ones(1))
    doubt += error
    if layer.bias_error is not None:
        doubt += 2.0 * (
            layer.bias_error[pairs.gone] + np.abs(pairs.factor) * layer.bias_error[pairs.stays]
        )
    low, high = layer_bounds(subject, Layer("", tuple(terms), bias[:, 0], relu=False))
    moves = doubt != 0
    return (
        np.where(moves, np.nextafter(low - 2.0 * doubt, -np.inf), low),
        np.where(moves, np.nextafter(high + 2.0 * doubt, np.inf), high),
    )
