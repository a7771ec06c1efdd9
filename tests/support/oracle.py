"""The exact range of every pre-activation over a domain, by enumeration of activation patterns.

On a polytope on which no ReLU of the earlier layers changes its phase, all values are affine in x,
so that each pre-activation attains its extremes at vertices. A region is kept as its vertices
(support/cells.py), each with all values computed so far, and is cut at z_j = 0 by every unit of a
layer that takes both signs in it: no linear program is needed. Unit j's value is stored times a
positive scale s_j that makes its row integral. Integer features and one-hot groups are enumerated:
each choice is a cell of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.network import Network
from support.cells import Cell, IntegerRow, Vector, cut, domain_cells, dot, integral, reduced
from support.exact import ExactNetwork, Point, exact


class TooLargeError(Exception):
    """The enumeration would take more regions than the caller allows."""


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
        rows, layer_scales = integral(layer.rows, layer.bias, scales)
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


def _append(cell: Cell, rows: Sequence[IntegerRow]) -> Cell:
    return Cell(tuple(v + tuple(dot(row, v) for row in rows) for v in cell.vertices), cell.tight)


def _relu(v: Vector, start: int) -> Vector:
    return reduced([*v[:start], *(max(x, 0) for x in v[start:])])


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
