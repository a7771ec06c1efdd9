"""What a change of pre-activations does to everything behind it: the certificate of all rewrites.

A rewrite changes the pre-activations of some layers c by S_c eps(x), where eps is a vector of m
numbers of which it knows, for all x in D,
    eps(x) = sum over nodes s of E_s h_s(x) + e + r(x),     |r(x)| <= radius,
with h_s nodes in front of the change, so that they are the same before and after. Then for every
layer k behind it
    z_k(after) - z_k(before) = J_k(x) eps(x)
for a matrix J_k(x) in an interval matrix C_k +- R_k that is found going forward.
Affine part: J_k = S_k + sum over terms W_t J_source; signed sums, absolute values come after them.
ReLU: max(z + d, 0) - max(z, 0) = lambda d with lambda in [0, 1], by monotonicity and Lipschitz
continuity; lambda = 1 if z >= 0 and z + d >= 0 on all of D, 0 if both are <= 0 on all of D; so an
unstable row of J becomes its hull with 0. The verified bounds of z, widened by the bounds of d that
were found on the way, decide which case holds: nothing is assumed of the rewritten network.
At each layer
    |J eps| <= max |C E h + C e| + |C| radius + R max |E h + e + r|
where the first term combines signed coefficients before its maximum over D is bounded
(rewrite/forms.py). These are Clarke's generalized Jacobians in interval enclosures; compare
Neumaier, Interval Methods for Systems of Equations (1990), section 3.

All sums are rounded outward: the error of a computed C goes into R, that of C E into the bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from leo_cli.arrays import Bools, Floats
from leo_cli.network import Layer, Term
from leo_cli.rewrite.forms import box_range, form_range
from leo_cli.rewrite.subject import Subject
from leo_cli.rounding import SMALLEST, gamma


@dataclass(frozen=True)
class Perturbation:
    """eps of the module docstring, m numbers.

    into: for each layer that is changed directly (position in `layers`), S: (width, m).
    maps: for each node s, E_s: (m, width of s). offset: (m,) e. radius: (m,).
    """

    into: Mapping[int, Floats]
    offset: Floats
    radius: Floats
    maps: Mapping[int, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class Effect:
    """low, high: for each layer, (width,) bounds of z(after) - z(before) over D.
    deviation: (components,) bounds on |change| of each output component."""

    low: tuple[Floats, ...]
    high: tuple[Floats, ...]
    deviation: Floats


@dataclass(frozen=True)
class _Jacobian:
    """An interval matrix (width, m): center +- radius."""

    center: Floats
    radius: Floats


def effect(subject: Subject, change: Perturbation) -> Effect:
    """Bounds on what `change` does to all layers of the subject's network and to its outputs."""
    network = subject.network
    eps_low, eps_high = _range(subject, change)
    eps = np.maximum(np.abs(eps_low), np.abs(eps_high))
    low: list[Floats] = []
    high: list[Floats] = []
    behind: dict[int, _Jacobian] = {}  # of h, by node; absent: zero
    moved: dict[int, tuple[Floats, Floats]] = {}  # bounds of the change of h, by node
    for k, layer in enumerate(network.layers):
        zero = np.zeros(layer.width)
        jacobian = _affine(layer, behind, change.into.get(k))
        if jacobian is None:
            low.append(zero)
            high.append(zero)
            continue
        # bounds of hidden layers have margins; those of outputs are what a rewrite is paid with
        down, up = _change(subject, change, jacobian, eps, fine=k + 1 in network.outputs)
        low.append(down)
        high.append(up)
        if not layer.relu:
            behind[k + 1], moved[k + 1] = jacobian, (down, up)
            continue
        z_low, z_high = subject.lower[k], subject.upper[k]
        on = (z_low >= 0) & (z_low + down >= 0)
        off = (z_high <= 0) & (z_high + up <= 0)
        behind[k + 1] = _through_relu(jacobian, on, off)
        down = np.where(off, 0.0, np.where(on, down, np.minimum(down, 0.0)))
        up = np.where(off, 0.0, np.where(on, up, np.maximum(up, 0.0)))
        moved[k + 1] = (down, up)
    parts = [np.zeros(0)]
    for node in network.outputs:
        if node in moved:
            parts.append(np.maximum(np.abs(moved[node][0]), np.abs(moved[node][1])))
        else:
            parts.append(np.zeros(network.width(node)))
    deviation = np.concatenate(parts)
    if not all(np.isfinite(bound).all() for bound in (*low, *high)):
        deviation = np.full(len(deviation), np.inf)  # nothing is known: no allowance is enough
    return Effect(tuple(low), tuple(high), deviation)


def sensitivity(subject: Subject, into: Mapping[int, Floats]) -> Floats:
    """(components, m) how much the outputs can feel of each number of a small eps: |C| + R of the
    outputs.

    With the phases as they are before the change, so an estimate for search, not a bound.
    """
    network = subject.network
    behind: dict[int, _Jacobian] = {}
    for k, layer in enumerate(network.layers):
        jacobian = _affine(layer, behind, into.get(k))
        if jacobian is None:
            continue
        if layer.relu:
            jacobian = _through_relu(jacobian, subject.lower[k] >= 0, subject.upper[k] <= 0)
        behind[k + 1] = jacobian
    columns = _columns(behind, next(iter(into.values()), None))
    parts = [np.zeros((0, columns))]
    for node in network.outputs:
        if node in behind:
            parts.append(np.abs(behind[node].center) + behind[node].radius)
        else:
            parts.append(np.zeros((network.width(node), columns)))
    return np.concatenate(parts)


def _affine(
    layer: Layer, behind: Mapping[int, _Jacobian], direct: Floats | None
) -> _Jacobian | None:
    """J of the layer's pre-activation; None where nothing moves it."""
    reached = [t for t in layer.terms if t.source in behind]
    if not reached and direct is None:
        return None
    columns = _columns(behind, direct)
    center = np.zeros((layer.width, columns)) if direct is None else direct
    size = np.abs(center)
    radius = np.zeros((layer.width, columns))
    for term in reached:
        source = behind[term.source]
        magnitude = term.map.magnitude()
        # apply works on the last axis
        center = center + term.map.apply(source.center.T).T
        size = size + magnitude.apply(np.abs(source.center).T).T
        radius = radius + magnitude.apply(source.radius.T).T
    if reached:
        # relative errors, and what underflow adds wherever something is multiplied at all
        error = gamma(layer.depth + 2) + 2.0 * layer.weight_error
        radius = (radius + error * (size + radius)) * (1 + gamma(layer.depth + 2))
        radius += 4.0 * layer.depth * SMALLEST * _touched(reached, behind, radius)
    return _Jacobian(center, radius)


def _touched(reached: Sequence[Term], behind: Mapping[int, _Jacobian], like: Floats) -> Floats:
    """(width, m) 1 where a product of numbers that are not 0 enters an entry, else 0."""
    touched = np.zeros(like.shape)
    for term in reached:
        source = behind[term.source]
        used = ((source.center != 0) | (source.radius != 0)).astype(np.float64)
        touched += term.map.magnitude().apply(used.T).T
    return np.where(touched != 0, 1.0, 0.0)


def _columns(behind: Mapping[int, _Jacobian], direct: Floats | None) -> int:
    if direct is not None:
        return int(direct.shape[1])
    return next((int(jacobian.center.shape[1]) for jacobian in behind.values()), 0)


def _through_relu(jacobian: _Jacobian, on: Bools, off: Bools) -> _Jacobian:
    """The hull of lambda J over the lambda that are possible."""
    low = np.minimum(jacobian.center - jacobian.radius, 0.0)
    high = np.maximum(jacobian.center + jacobian.radius, 0.0)
    center = 0.5 * (low + high)
    # half the width, with room for the rounding of the four operations above
    radius = (0.5 * (high - low)) * (1 + gamma(8)) + SMALLEST
    radius = np.where((low == 0.0) & (high == 0.0), 0.0, radius)
    on, off = on[:, None], off[:, None]
    return _Jacobian(
        np.where(on, jacobian.center, np.where(off, 0.0, center)),
        np.where(on, jacobian.radius, np.where(off, 0.0, radius)),
    )


def _change(
    subject: Subject, change: Perturbation, jacobian: _Jacobian, eps: Floats, fine: bool
) -> tuple[Floats, Floats]:
    """Bounds of J eps over D."""
    low, high = _range(subject, change, jacobian.center, fine)
    spread = jacobian.radius @ eps
    moves = _meet(jacobian.radius, eps)
    spread = spread * (1 + gamma(len(eps) + 2)) + 2.0 * len(eps) * SMALLEST
    return _outward(low, high, np.where(moves, spread, 0.0))


def _meet(rows: Floats, values: Floats) -> Bools:
    """(n,) whether a number that is not 0 is multiplied by one that is not 0 (also where that
    underflows)."""
    return np.asarray((rows != 0).astype(np.float64) @ (values != 0).astype(np.float64) > 0)


def _outward(low: Floats, high: Floats, error: Floats) -> tuple[Floats, Floats]:
    """The range widened by the error, rounded outward; unchanged where there is none."""
    moves = error != 0  # also where it is not a number
    return (
        np.where(moves, np.nextafter(low - error, -np.inf), low),
        np.where(moves, np.nextafter(high + error, np.inf), high),
    )


def _range(
    subject: Subject, change: Perturbation, rows: Floats | None = None, fine: bool = True
) -> tuple[Floats, Floats]:
    """Bounds of `rows` eps over D, of eps itself without rows; rows: (n, m). fine: whether to go
    back through the layers before."""
    if rows is None:
        error, maps, offset = change.radius, change.maps, change.offset
    else:
        error = _range_error(subject, change, rows)
        if _is_identity(rows):
            maps, offset = change.maps, change.offset
        else:
            maps = {node: rows @ matrix for node, matrix in change.maps.items()}
            offset = rows @ change.offset
    low, high = (form_range if fine else box_range)(subject, maps, offset)
    return _outward(low, high, error)


def _range_error(subject: Subject, change: Perturbation, rows: Floats) -> Floats:
    """(n,) what `rows` eps may differ by from the affine form that floats compute for it."""
    size = rows.shape[1]
    spread = np.abs(rows) @ change.radius
    moves = _meet(rows, change.radius)
    if not _selects(rows):  # a selection of rows is computed without rounding
        magnitude = np.abs(change.offset)
        known = change.offset != 0
        for node, matrix in change.maps.items():
            reach = np.abs(matrix) @ subject.magnitude(node)
            magnitude = magnitude + reach + 2.0 * matrix.shape[1] * SMALLEST
            known = known | np.any(matrix != 0, axis=1)
        spread = spread + gamma(size + 4) * (np.abs(rows) @ magnitude)
        moves |= _meet(rows, known.astype(np.float64))
    # the sums above are themselves rounded; underflow costs one SMALLEST for each product
    inputs = 2 + sum(
        matrix.shape[1] * (1 + subject.magnitude(node).max(initial=0.0))
        for node, matrix in change.maps.items()
    )
    error = spread * (1 + gamma(size + 8)) + 2.0 * size * inputs * SMALLEST
    return np.where(moves, error, 0.0)


def _selects(rows: Floats) -> bool:
    """Whether each row has at most one entry that is not 0, and that is +-1."""
    used = rows != 0
    return bool(np.all(used.sum(axis=1) <= 1) and np.all(np.abs(rows[used]) == 1))


def _is_identity(rows: Floats) -> bool:
    count, size = rows.shape
    return count == size and bool(np.all(rows.diagonal() == 1)) and np.count_nonzero(rows) == size
