"""A network as exact sums of units that compute different functions.

A pre-activation is written as an exact sum over the inputs and over *atoms*, relu(f) of such sums
f. Layer by layer, the values of earlier units are put into z = W h + b, in rational arithmetic:
    c f with c > 0, f an atom's sum:   relu(c f) = c relu(f)          (a unit like another one)
    c f with c < 0:                    relu(c f) = c f + |c| relu(f)  (its opposite)
    units proved inactive or active on the domain: 0, z
    anything else: a new atom.
So what two layers, or two branches, compute twice is seen to be the same, and terms cancel that
linear bounds of the network as it stands cannot see to cancel: a minimum of a set, built in
different ways by layers of relu(a - b), relu(b - a), relu(a + b), relu(-a - b). The sums are equal
to the units as real functions on the domain, so whatever is proved of a sum holds for its unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from leo_cli.arrays import Bools, Floats
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.rounding import UNIT_ROUNDOFF

INPUT, CONSTANT = 0, (-1, 0)
Sum: TypeAlias = Mapping[tuple[int, int], Fraction]  # (node, index) or CONSTANT -> coefficient
SMALLEST, LARGEST = Fraction(2) ** -960, Fraction(2) ** 960  # coefficients kept: no underflow


class TooLarge(Exception):  # noqa: N818 - it never reaches a user
    """Sums take more numbers than allowed, or coefficients that float64 cannot hold."""


@dataclass(frozen=True)
class Atom:
    """relu(sum), first computed by `unit` of ReLU layer `layer`."""

    layer: int
    unit: int
    sum: Sum


@dataclass(frozen=True)
class Canonical:
    """atoms: in order of evaluation; node (1, i) of a sum is atoms[i]. sums: the pre-activations of
    the target layer. merged: whether any unit was equal or opposite to another one, or constant.
    """

    atoms: tuple[Atom, ...]
    sums: tuple[Sum, ...]
    merged: bool


def canonical(
    network: Network,
    inactive: Sequence[Bools],
    active: Sequence[Bools],
    target: int,
    wanted: Iterable[int],
    most: int,
) -> Canonical:
    """The sums of `wanted` units of layer `target`. inactive, active: for each layer before it, the
    units that are proved so.

    most: multiplications allowed. Raises TooLarge. The network's coefficients must be exact."""
    return _Writer(network, inactive, active, most).write(target, list(wanted))


class _Writer:
    def __init__(
        self, network: Network, inactive: Sequence[Bools], active: Sequence[Bools], most: int
    ) -> None:
        self.network, self.inactive, self.active, self.left = network, inactive, active, most
        self.atoms: list[Atom] = []
        self.index: dict[tuple[tuple[tuple[int, int], Fraction], ...], int] = {}
        self.merged = False

    def write(self, target: int, wanted: list[int]) -> Canonical:
        values: list[list[Sum]] = [[{(INPUT, i): Fraction(1)} for i in range(self.network.inputs)]]
        for k, layer in enumerate(self.network.layers[:target]):
            rows = [j for j in range(layer.width) if not (layer.relu and self.inactive[k][j])]
            sums: list[Sum] = [{} for _ in range(layer.width)]
            for j, z in zip(rows, self._sums(layer, rows, values), strict=True):
                sums[j] = self._post(k, j, z) if layer.relu else z
            values.append(sums)
        found = self._sums(self.network.layers[target], wanted, values)
        return Canonical(tuple(self.atoms), tuple(found), self.merged)

    def _sums(self, layer: Layer, rows: list[int], values: list[list[Sum]]) -> list[Sum]:
        """The pre-activations of some units."""
        found: list[Sum] = []
        matrices = [(values[t.source], t.map.rows(np.array(rows, np.int64))) for t in layer.terms]
        for i, j in enumerate(rows):
            total: dict[tuple[int, int], Fraction] = {}
            if layer.bias[j]:
                total[CONSTANT] = Fraction(float(layer.bias[j]))
            for sources, matrix in matrices:
                for s in np.flatnonzero(matrix[i]).tolist():
                    self._add(total, Fraction(float(matrix[i, s])), sources[s])
            found.append({key: c for key, c in total.items() if c})
        return found

    def _add(self, total: dict[tuple[int, int], Fraction], weight: Fraction, sum_: Sum) -> None:
        self.left -= len(sum_)
        if self.left < 0:
            raise TooLarge
        for key, c in sum_.items():
            total[key] = total.get(key, Fraction(0)) + weight * c

    def _post(self, layer: int, unit: int, z: Sum) -> Sum:
        """relu(z)."""
        if self.active[layer][unit]:
            return z
        if not z.keys() - {CONSTANT}:
            self.merged = True
            return z if z.get(CONSTANT, 0) > 0 else {}
        entries = sorted(z.items())
        size = abs(entries[-1][1])
        key = tuple((at, c / size) for at, c in entries)
        opposite = tuple((at, -c) for at, c in key)
        if key in self.index:
            self.merged = True
            atom = self.index[key]
            return {(1, atom): size / self._size(atom)}
        if opposite in self.index:
            self.merged = True
            atom = self.index[opposite]
            total = dict(z)
            self._add(total, size / self._size(atom), {(1, atom): Fraction(1)})
            return {at: c for at, c in total.items() if c}
        atom = self.index[key] = len(self.atoms)
        self.atoms.append(Atom(layer, unit, z))
        return {(1, atom): Fraction(1)}

    def _size(self, atom: int) -> Fraction:
        return abs(max(self.atoms[atom].sum.items())[1])


def as_network(inputs: int, form: Canonical, rows: Sequence[int], dtype: str) -> Network:
    """The atoms, those of one original layer in a layer, and last a ReLU layer of the sums `rows`.

    Coefficients that float64 cannot hold are rounded, and the layer says so. Raises TooLarge where
    one is out of its range."""
    groups: list[list[int]] = []
    for i, atom in enumerate(form.atoms):
        if i == 0 or form.atoms[i - 1].layer != atom.layer:
            groups.append([])
        groups[-1].append(i)
    place = {(1, i): (g + 1, p) for g, group in enumerate(groups) for p, i in enumerate(group)}
    widths = [inputs, *map(len, groups)]
    layers = [
        _layer(f"atoms {g}", [form.atoms[i].sum for i in group], place, widths[: g + 1])
        for g, group in enumerate(groups)
    ]
    layers.append(_layer("sums", [form.sums[i] for i in rows], place, widths))
    return Network(inputs, tuple(layers), (len(layers),), dtype)


def _layer(
    name: str,
    sums: Sequence[Sum],
    place: Mapping[tuple[int, int], tuple[int, int]],
    widths: list[int],
) -> Layer:
    matrices = [np.zeros((len(sums), width)) for width in widths]
    bias, exact = np.zeros(len(sums)), True
    for row, sum_ in enumerate(sums):
        for at, c in sum_.items():
            if not SMALLEST <= abs(c) <= LARGEST:
                raise TooLarge
            exact &= Fraction(float(c)) == c
            if at == CONSTANT:
                bias[row] = float(c)
            else:
                node, index = place.get(at, at)
                matrices[node][row, index] = float(c)
    terms = tuple(Term(s, Dense(m)) for s, m in enumerate(matrices) if m.any() or s == 0)
    if exact:
        return Layer(name, terms, bias, relu=True)
    return Layer(
        name,
        terms,
        bias,
        relu=True,
        weight_error=2.0 * UNIT_ROUNDOFF,
        bias_error=2.0 * UNIT_ROUNDOFF * np.abs(bias),
    )


def alike(values: Floats) -> bool:
    """Whether two columns of (points, units) are proportional, or one is 0, but for rounding: worth
    a look in exact arithmetic."""
    size = np.abs(values).max(axis=0, initial=0.0)
    if not np.isfinite(size).all() or (size == 0).any():
        return True
    unit = values / np.sqrt((values * values).sum(axis=0))
    unit *= np.sign(unit[np.abs(unit).argmax(axis=0), np.arange(unit.shape[1])])
    ordered = unit[:, np.lexsort(np.round(unit, 6))]
    near = np.abs(ordered[:, 1:] - ordered[:, :-1]).max(axis=0, initial=0.0)
    return bool((near < 1e-9).any())
