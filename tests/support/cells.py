"""Polytopes as their vertices, in integers, and the domain as a list of them.

A vertex is homogeneous, v[0] > 0 its common denominator, followed by x and by whatever is affine in
x on the polytope. Such values stay right when it is cut: along an edge they are interpolated. Two
vertices are joined by an edge exactly if no third vertex satisfies with equality all the
constraints that both do (the combinatorial test of the double description method: Fukuda and Prodon
1996), also in flat and degenerate polytopes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import ceil, floor, gcd, lcm

from leo_cli.domain import Domain
from support.exact import Row

Vector = tuple[int, ...]
# The coefficient of v[0], then (place + 1, coefficient).
IntegerRow = tuple[int, tuple[tuple[int, int], ...]]


@dataclass(frozen=True)
class Cell:
    """A polytope. tight: for each vertex, the set of constraints that hold with equality there,
    as
    bits."""

    vertices: tuple[Vector, ...]
    tight: tuple[int, ...]


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
            rows, _ = integral([row], [-Fraction(constraint.rhs)], [Fraction(1)] * len(lower))
            excess = [dot(rows[0], v) for v in cell.vertices]
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
            created.append((reduced([x * b - y * a for a, b in pair]), common))
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


def integral(
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


def dot(row: IntegerRow, v: Vector) -> int:
    return row[0] * v[0] + sum(c * v[i] for i, c in row[1])


def reduced(v: Sequence[int]) -> Vector:
    divisor = gcd(*v)
    return tuple(v) if divisor == 1 else tuple(x // divisor for x in v)


def _homogeneous(x: Sequence[Fraction]) -> Vector:
    denominator = lcm(*(v.denominator for v in x))
    return (denominator, *(int(v * denominator) for v in x))
