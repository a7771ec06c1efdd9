"""The exact range of every pre-activation over a domain, by enumeration of activation patterns.

On a polytope on which no ReLU of the earlier layers changes its phase, all values are affine in
x, so that each pre-activation attains its extremes at vertices. A region is kept as its vertices,
each a vector of x and of all values computed so far, and is cut at z_j = 0 by every unit of a
layer that takes both signs in it. Since values are affine along an edge, a new vertex inherits
all of its values by interpolation: no linear program is needed. Two vertices are joined by an
edge exactly if no third vertex satisfies with equality all the constraints that both do (the
combinatorial test of the double description method: Fukuda and Prodon 1996), also in flat and
degenerate polytopes.

All arithmetic is in integers: a vertex is homogeneous, v[0] > 0 its common denominator, and unit
j's value is stored times a positive scale s_j that makes its row integral. Integer features and
one-hot groups are enumerated: each choice is a cell of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import ceil, floor, gcd, lcm

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.network import Network
from support.exact import ExactNetwork, Point, Row, exact

Vector = tuple[int, ...]
# The coefficient of v[0], then (place + 1, coefficient).
IntegerRow = tuple[int, tuple[tuple[int, int], ...]]


class TooLargeError(Exception):
    """The enumeration would take more regions than the caller allows."""


@dataclass(frozen=True)
class Cell:
    """A polytope. tight: for each vertex, the set of constraints that hold with equality there,
    as
    bits."""

    vertices: tuple[Vector, ...]
    tight: tuple[int, ...]


@dataclass(frozen=True)
class Extreme:
    """One end of a range, and where it is attained."""

    value: Fraction
    point: Point


@dataclass(frozen=True)
class Exact:
    """lower, upper: for each layer, the extremes of each pre-activation over the domain.
    regions: the vertices of each polytope on which the network is affine; none if the domain is
    empty."""

    lower: tuple[tuple[Extreme, ...], ...] = ()
    upper: tuple[tuple[Extreme, ...], ...] = ()
    regions: tuple[tuple[Point, ...], ...] = ()

    @property
    def empty(self) -> bool:
        return not self.regions

    @property
    def vertices(self) -> tuple[Point, ...]:
        """Of all regions, once each; the extremes' points are among them."""
        return tuple(dict.fromkeys(v for region in self.regions for v in region))

    def range(self, layer: int, unit: int) -> tuple[Fraction, Fraction]:
        return self.lower[layer][unit].value, self.upper[layer][unit].value

    def state(self, layer: int, unit: int) -> str:
        """The exact state of a unit (design: vocabulary)."""
        low, high = self.range(layer, unit)
        if high <= 0:
            return "inactive"
        return "active" if low >= 0 else "unstable"


def enumerate_patterns(
    network: Network | ExactNetwork, domain: Domain, max_regions: int = 20_000
) -> Exact:
    """The exact ranges over the domain. Raises TooLargeError beyond `max_regions`."""
    net = exact(network) if isinstance(network, Network) else network
    cells = list(domain_cells(domain))
    if not cells:
        return Exact()
    scales = [Fraction(1)] * net.inputs
    lower, upper = [], []
    for layer in net.layers:
        rows, layer_scales = _integral(layer.rows, layer.bias, scales)
        cells = [_append(cell, rows) for cell in cells]
        start = 1 + len(scales)
        lower.append(_extremes(cells, start, layer_scales, -1, net.inputs))
        upper.append(_extremes(cells, start, layer_scales, +1, net.inputs))
        scales += layer_scales
        if layer.relu:
            for place in range(start, start + layer.width):
                cells = [
                    part for cell in cells for part in cut(cell, [v[place] for v in cell.vertices])
                ]
                if len(cells) > max_regions:
                    raise TooLargeError(f"more than {max_regions} regions")
            cells = [
                Cell(tuple(_relu(v, start) for v in cell.vertices), cell.tight) for cell in cells
            ]
    regions = tuple(tuple(_point(v, net.inputs) for v in cell.vertices) for cell in cells)
    return Exact(tuple(lower), tuple(upper), regions)


def domain_cells(domain: Domain) -> Iterator[Cell]:
    """The domain as polytopes: one for each choice of integer values and hot members."""
    lower = [Fraction(v) for v in domain.lower.tolist()]
    upper = [Fraction(v) for v in domain.upper.tolist()]
    for fixed in _choices(domain, lower, upper):
        sides = []
        for i, (low, high) in enumerate(zip(lower, upper, strict=True)):
            ends = [fixed[i]] if i in fixed else [low] if low == high else [low, high]
            sides.append(ends)
        corners = list(product(*[range(len(ends)) for ends in sides]))
        vertices = tuple(
            _homogeneous([ends[c] for ends, c in zip(sides, corner, strict=True)])
            for corner in corners
        )
        tight = tuple(
            sum(1 << (2 * i + c) for i, c in enumerate(corner) if len(sides[i]) > 1)
            for corner in corners
        )
        cell: Cell | None = Cell(vertices, tight)
        for constraint in domain.constraints:
            if cell is None:
                break
            coefficients = [Fraction(c) for c in constraint.coefficients.tolist()]
            row: Row = {i: c for i, c in enumerate(coefficients) if c}
            rows, _ = _integral([row], [-Fraction(constraint.rhs)], [Fraction(1)] * len(lower))
            excess = [_dot(rows[0], v) for v in cell.vertices]
            cell = _restrict(cell, excess, constraint.op)
        if cell is not None:
            yield cell


def cut(cell: Cell, value: Sequence[int]) -> list[Cell]:
    """The parts value <= 0 and value >= 0 of a cell; the cell itself where the sign never
    changes.

    value: a number of the sign of the affine function at each vertex, times the vertex's own
    denominator.
    """
    if min(value) >= 0 or max(value) <= 0:
        return [cell]
    bit = 1 << max(t.bit_length() for t in cell.tight)
    created = _crossings(cell, value)
    parts = []
    for sign in (-1, 1):
        kept = [
            (v, t | bit if x == 0 else t)
            for v, t, x in zip(cell.vertices, cell.tight, value, strict=True)
            if x * sign >= 0
        ]
        kept += [(v, t | bit) for v, t in created]
        parts.append(Cell(tuple(v for v, _ in kept), tuple(t for _, t in kept)))
    return parts


def _restrict(cell: Cell, value: Sequence[int], op: str) -> Cell | None:
    """The part value <= 0 (op "<=") or value == 0 (op "==") of a cell; None if it is empty."""
    bit = 1 << max(t.bit_length() for t in cell.tight)
    kept = [
        (v, t | bit if x == 0 else t)
        for v, t, x in zip(cell.vertices, cell.tight, value, strict=True)
        if x == 0 or (x < 0 and op == "<=")
    ]
    kept += [(v, t | bit) for v, t in _crossings(cell, value)]
    return Cell(tuple(v for v, _ in kept), tuple(t for _, t in kept)) if kept else None


def _crossings(cell: Cell, value: Sequence[int]) -> list[tuple[Vector, int]]:
    """New vertices where edges cross value = 0, with the constraints that are tight along the
    edge."""
    created = []
    for i, x in enumerate(value):
        if x <= 0:
            continue
        for j, y in enumerate(value):
            if y >= 0:
                continue
            common = cell.tight[i] & cell.tight[j]
            if any(t & common == common for k, t in enumerate(cell.tight) if k not in (i, j)):
                continue
            pair = zip(cell.vertices[i], cell.vertices[j], strict=True)
            created.append((_reduced([x * b - y * a for a, b in pair]), common))
    return created


def _choices(
    domain: Domain, lower: Sequence[Fraction], upper: Sequence[Fraction]
) -> Iterator[dict[int, Fraction]]:
    """Values of the integer and one-hot features, in all combinations that the box allows."""
    options: list[list[dict[int, Fraction]]] = []
    members = {int(i) for group in domain.one_hot for i in group.members}
    for i in range(len(lower)):
        if domain.integer[i] and i not in members:
            values = range(ceil(lower[i]), floor(upper[i]) + 1)
            options.append([{i: Fraction(v)} for v in values])
    for group in domain.one_hot:
        index = [int(i) for i in group.members]
        cold, hot = group.cold.tolist(), group.hot.tolist()
        options.append(
            [
                {i: Fraction(hot[m] if m == chosen else cold[m]) for m, i in enumerate(index)}
                for chosen in range(len(index))
            ]
        )
    for combination in product(*options):
        fixed = {i: v for choice in combination for i, v in choice.items()}
        if all(
            lower[i] <= v <= upper[i] and not (domain.integer[i] and v.denominator != 1)
            for i, v in fixed.items()
        ):
            yield fixed


def _integral(
    rows: Sequence[Row], bias: Sequence[Fraction], scales: Sequence[Fraction]
) -> tuple[list[IntegerRow], list[Fraction]]:
    """Rows for the scaled values, times positive factors (returned) that make them integral and
    small."""
    result, factors = [], []
    for row, b in zip(rows, bias, strict=True):
        scaled = [(i + 1, c / scales[i]) for i, c in row.items()]
        common = lcm(b.denominator, *(c.denominator for _, c in scaled))
        ints = [(i, int(c * common)) for i, c in scaled]
        divisor = gcd(int(b * common), *(c for _, c in ints)) or 1
        result.append((int(b * common) // divisor, tuple((i, c // divisor) for i, c in ints)))
        factors.append(Fraction(common, divisor))
    return result, factors


def _dot(row: IntegerRow, v: Vector) -> int:
    return row[0] * v[0] + sum(c * v[i] for i, c in row[1])


def _append(cell: Cell, rows: Sequence[IntegerRow]) -> Cell:
    return Cell(tuple(v + tuple(_dot(row, v) for row in rows) for v in cell.vertices), cell.tight)


def _relu(v: Vector, start: int) -> Vector:
    return _reduced([*v[:start], *(max(x, 0) for x in v[start:])])


def _reduced(v: Sequence[int]) -> Vector:
    divisor = gcd(*v)
    return tuple(v) if divisor == 1 else tuple(x // divisor for x in v)


def _homogeneous(x: Sequence[Fraction]) -> Vector:
    denominator = lcm(*(v.denominator for v in x))
    return (denominator, *(int(v * denominator) for v in x))


def _point(v: Vector, inputs: int) -> Point:
    return tuple(Fraction(x, v[0]) for x in v[1 : inputs + 1])


def _extremes(
    cells: Sequence[Cell], start: int, scales: Sequence[Fraction], sign: int, inputs: int
) -> tuple[Extreme, ...]:
    """The largest sign * value at any vertex, for the values from place `start` on."""
    result = []
    for place, scale in enumerate(scales, start):
        best = cells[0].vertices[0]
        for cell in cells:
            for v in cell.vertices:
                if sign * (v[place] * best[0] - best[place] * v[0]) > 0:
                    best = v
        result.append(Extreme(Fraction(best[place], best[0]) / scale, _point(best, inputs)))
    return tuple(result)


def rounded_outward(truth: Exact, layer: int) -> tuple[Floats, Floats]:
    """The exact range of a layer as the tightest float64 bounds; infinite beyond float64."""
    units = range(len(truth.lower[layer]))
    return (
        np.array([_toward(truth.range(layer, j)[0], -np.inf) for j in units]),
        np.array([_toward(truth.range(layer, j)[1], np.inf) for j in units]),
    )


def _toward(value: Fraction, end: float) -> float:
    try:
        rounded = float(value)
    except OverflowError:
        largest = float(np.finfo(np.float64).max)
        away = (value > 0) == (end > 0)  # beyond float64 on the side that is rounded to
        return end if away else (largest if value > 0 else -largest)
    outside = rounded <= value if end < 0 else rounded >= value
    return rounded if outside else float(np.nextafter(rounded, end))
