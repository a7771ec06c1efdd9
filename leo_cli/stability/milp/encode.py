"""A network over its domain as a mixed-integer linear program (LEO, arXiv 2001.00218, section 4).

For a unit with z = W h' + b in [L, U], where L < 0 < U:

    z = h - hbar,   0 <= h <= U s,   0 <= hbar <= -L (1 - s),   s in {0, 1}

A unit with U <= 0 is the constant 0; one with L >= 0 is h = z without a binary; a layer without
ReLU likewise. Every input of D, with its activations, is a feasible point of the program; [L, U]
are the tightest proved bounds known, interval arithmetic where there are none, rounded outward once
more because solvers' files may carry 12 digits only. The domain is encoded as it is: box, integers,
linear constraints, and for a one-hot group x_m = cold_m + (hot_m - cold_m) t_m with binary t of sum
1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.bounds.interval import propagate
from leo_cli.network import Layer
from leo_cli.stability.knowledge import Knowledge
from leo_cli.stability.milp.model import LARGEST, Builder, MilpModel

ENTRIES = 4_000_000  # weights in one program; a file of 100 MB, far beyond what any solver answers
OUTWARD = 1e-10  # relative; a file with 12 significant digits loses 5e-12


@dataclass(frozen=True, eq=False)
class NodeValues:
    """Post-activations of a node: value j is the column column[j], or constant[j] where that is
    -1."""

    column: Ints
    constant: Floats

    @property
    def live(self) -> Ints:
        return np.flatnonzero(self.column >= 0)


@dataclass(frozen=True, eq=False)
class Encoding:
    """model: the program. nodes: by node, for those that the program contains. phase,
    negative_part: by layer, (width,) the columns of s and hbar (-1: the unit has none). lower,
    upper: the bounds that were used, of all layers so far."""

    knowledge: Knowledge
    model: MilpModel
    nodes: dict[int, NodeValues]
    phase: dict[int, Ints]
    negative_part: dict[int, Ints]
    lower: tuple[Floats, ...]
    upper: tuple[Floats, ...]

    def pre_activation(self, layer: int, unit: int) -> tuple[Ints, Floats, float]:
        """(columns, coefficients, constant) of z, for a layer whose sources are in the program."""
        chosen = np.array([unit])
        return _affine(self.knowledge.network.layers[layer], self.nodes, chosen)[0]

    def point(self, values: Floats) -> Floats:
        """(columns,) -> (inputs,) the input features of a solution."""
        node = self.nodes[0]
        point, live = node.constant.copy(), node.live
        point[live] = values[node.column[live]]
        return point


@dataclass(frozen=True)
class Refused:
    """Why there is no program."""

    why: str


def finite_bounds(
    knowledge: Knowledge, layers: int
) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
    """Bounds of the pre-activations of the first `layers` layers: the known ones, intersected with
    intervals where any of a layer is infinite."""
    network = knowledge.network
    lower: list[Floats] = []
    upper: list[Floats] = []
    for k, layer in enumerate(network.layers[:layers]):
        low, high = knowledge.lower[k], knowledge.upper[k]
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            least, most = propagate(layer, knowledge.domain, lower, upper, network.layers)
            low, high = np.maximum(low, least), np.minimum(high, most)
        lower.append(low)
        upper.append(high)
    return tuple(lower), tuple(upper)


def encode(knowledge: Knowledge, layers: tuple[int, ...], own_phases: bool) -> Encoding | Refused:
    """The program that the pre-activations of `layers` can be asked of; with own_phases, it also
    contains the ReLUs of these layers. Refused where it would be too large, or its numbers."""
    network = knowledge.network
    lower, upper = finite_bounds(knowledge, max(layers) + 1)
    needed = {term.source for k in layers for term in network.layers[k].terms} | {0}
    if own_phases:
        needed |= {k + 1 for k in layers}
    for node in range(max(layers) + 1, 0, -1):
        if node in needed:
            needed |= {term.source for term in network.layers[node - 1].terms}
    hidden = sorted(node - 1 for node in needed if node > 0)
    refusal = _refusal(knowledge, sorted({*hidden, *layers}), hidden, lower, upper)
    if refusal is not None:
        return refusal
    builder = Builder()
    nodes = {0: _add_domain(builder, knowledge)}
    phase: dict[int, Ints] = {}
    negative_part: dict[int, Ints] = {}
    for k in hidden:
        layer = network.layers[k]
        bounds = _outward(lower[k], -1.0), _outward(upper[k], 1.0)
        if layer.relu:
            nodes[k + 1], phase[k], negative_part[k] = _add_relu(builder, layer, nodes, *bounds)
        else:
            nodes[k + 1] = _add_affine(builder, layer, nodes, *bounds)
    return Encoding(knowledge, builder.build(), nodes, phase, negative_part, lower, upper)


def _outward(bound: Floats, sign: float) -> Floats:
    """Moved outward by a little more than a 12-digit file loses; never across 0, so that phases
    stay fixed."""
    moved = bound + sign * OUTWARD * np.abs(bound)
    return np.where(np.isfinite(bound), moved, bound)


def _refusal(
    knowledge: Knowledge,
    read: list[int],
    hidden: list[int],
    lower: tuple[Floats, ...],
    upper: tuple[Floats, ...],
) -> Refused | None:
    """Whether solvers cannot be expected to take the layers `read`, with ReLUs in `hidden`."""
    network, domain = knowledge.network, knowledge.domain
    entries = sum(
        int((upper[k] > 0).sum()) * term.map.in_features
        for k in hidden
        for term in network.layers[k].terms
    )
    if entries > ENTRIES:
        return Refused("too many weights for a MILP solver")
    sizes = [domain.magnitude]
    sizes += [bound[k] for k in hidden for bound in (lower, upper)]
    for k in read:
        sizes.append(network.layers[k].bias)
        sizes += [term.map.rows(slice(None)) for term in network.layers[k].terms]
    for constraint in domain.constraints:
        sizes += [constraint.coefficients, np.array([constraint.rhs])]
    if not all(bool(np.all(np.abs(size) <= LARGEST)) for size in sizes):
        return Refused("numbers too large for a MILP solver")
    return None


def _add_domain(builder: Builder, knowledge: Knowledge) -> NodeValues:
    domain = knowledge.domain
    column = np.full(domain.inputs, -1)
    free = domain.free
    column[free] = builder.add_columns(domain.lower[free], domain.upper[free], domain.integer[free])
    for group, choices in domain.groups:
        count = len(choices)
        hot = builder.add_columns(np.zeros(count), np.ones(count), True)
        builder.add_row(hot, np.ones(count), 1.0, 1.0)
        for binary, position in zip(hot, choices, strict=True):
            cold, step = group.cold[position], group.hot[position] - group.cold[position]
            member = column[group.members[position]]
            builder.add_row(np.array([member, binary]), np.array([1.0, -step]), cold, cold)
    values = NodeValues(column, domain.lower)
    for constraint in domain.constraints:
        fixed = np.where(column < 0, constraint.coefficients * domain.lower, 0.0).sum()
        live = values.live
        rhs = constraint.rhs - float(fixed)
        least = rhs if constraint.op == "==" else -np.inf
        builder.add_row(column[live], constraint.coefficients[live], least, rhs)
    return values


def _affine(
    layer: Layer, nodes: dict[int, NodeValues], units: Ints
) -> list[tuple[Ints, Floats, float]]:
    """(columns, coefficients, constant) of the pre-activations of some units. A column may occur
    twice where two terms read the same node; then its coefficients are added."""
    parts, blocks, constant = [], [], layer.bias[units].copy()
    for term in layer.terms:
        node = nodes[term.source]
        rows = term.map.rows(units)
        live = node.live
        fixed = node.column < 0
        constant = constant + rows[:, fixed] @ node.constant[fixed]
        parts.append(node.column[live])
        blocks.append(rows[:, live])
    columns, matrix = np.concatenate(parts), np.concatenate(blocks, axis=1)
    if len({term.source for term in layer.terms}) < len(layer.terms):
        columns, where = np.unique(columns, return_inverse=True)
        summed = np.zeros((len(columns), len(units)))
        np.add.at(summed, where, matrix.T)
        matrix = summed.T
    return [
        (columns[row != 0], row[row != 0], float(c))
        for row, c in zip(matrix, constant, strict=True)
    ]


def _add_affine(
    builder: Builder, layer: Layer, nodes: dict[int, NodeValues], lower: Floats, upper: Floats
) -> NodeValues:
    column = builder.add_columns(lower, upper)
    forms = _affine(layer, nodes, np.arange(layer.width))
    for value, (columns, coefficients, constant) in zip(column, forms, strict=True):
        _define(builder, columns, coefficients, constant, np.array([value]), np.array([-1.0]))
    return NodeValues(column, np.zeros(layer.width))


def _add_relu(
    builder: Builder, layer: Layer, nodes: dict[int, NodeValues], lower: Floats, upper: Floats
) -> tuple[NodeValues, Ints, Ints]:
    """The values, and the columns of s and hbar."""
    live = np.flatnonzero(upper > 0)
    unstable = live[lower[live] < 0]
    h, hbar, s = (np.full(layer.width, -1) for _ in range(3))
    h[live] = builder.add_columns(np.maximum(lower[live], 0.0), upper[live])
    hbar[unstable] = builder.add_columns(np.zeros(len(unstable)), -lower[unstable])
    s[unstable] = builder.add_columns(np.zeros(len(unstable)), np.ones(len(unstable)), True)
    forms = _affine(layer, nodes, live)
    for j, (columns, coefficients, constant) in zip(live, forms, strict=True):
        value = np.array([h[j], hbar[j]]) if s[j] >= 0 else np.array([h[j]])
        signs = np.array([-1.0, 1.0])[: len(value)]
        _define(builder, columns, coefficients, constant, value, signs)
        if s[j] >= 0:
            builder.add_row(np.array([h[j], s[j]]), np.array([1.0, -upper[j]]), -np.inf, 0.0)
            builder.add_row(
                np.array([hbar[j], s[j]]), np.array([1.0, -lower[j]]), -np.inf, -lower[j]
            )
    return NodeValues(h, np.zeros(layer.width)), s, hbar


def _define(
    builder: Builder,
    columns: Ints,
    coefficients: Floats,
    constant: float,
    value: Ints,
    signs: Floats,
) -> None:
    """The row  coefficients . v + constant + signs . value = 0."""
    builder.add_row(
        np.concatenate([columns, value]),
        np.concatenate([coefficients, signs]),
        -constant,
        -constant,
    )
