"""Affine forms: what a tensor is, as a function of the nodes of the network read so far.

A form is  y = sum over terms of  map(h_source) + bias  for one sample, its features flattened in
row-major order. Its coefficients are stored constants times powers of two; the exceptions carry a
`Realisation`, the operator that computes them, and a relative error that the form states.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.network import Scaled, Term


@dataclass(frozen=True)
class Division:
    """y = x / divisor. divisor: (n,), finite and not 0."""

    divisor: Floats

    def take(self, rows: Ints) -> Division:
        return Division(self.divisor[rows])


@dataclass(frozen=True)
class Normalisation:
    """y = scale (x - mean) / sqrt(variance + epsilon) + shift, all (n,): BatchNormalization."""

    scale: Floats
    shift: Floats
    mean: Floats
    variance: Floats
    epsilon: float

    def take(self, rows: Ints) -> Normalisation:
        return Normalisation(
            self.scale[rows], self.shift[rows], self.mean[rows], self.variance[rows], self.epsilon
        )


Realisation = Division | Normalisation


@dataclass(frozen=True)
class Form:
    """bias: (n,). weight_error, bias_error: as in `network.Layer`. realisation: the operator that
    computes the coefficients where they are not stored numbers. sealed: nothing may be composed
    with the form but a selection or a ReLU. nodes: positions in the graph of the nodes that made
    it."""

    terms: tuple[Term, ...]
    bias: Floats
    weight_error: float = 0.0
    bias_error: Floats | None = None
    realisation: Realisation | None = None
    sealed: bool = False
    nodes: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        return len(self.bias)

    def through(self, *positions: int) -> Form:
        """The same form, made by one node more."""
        return replace(self, nodes=(*self.nodes, *(p for p in positions if p not in self.nodes)))


@dataclass(frozen=True)
class Picked:
    """A form seen as a selection: entry i is scale[i] * (unit column[i] of node source[i])."""

    source: Ints
    column: Ints
    scale: Floats
    widths: dict[int, int] = field(default_factory=dict)


def unit_selection(source: int, index: Ints, width: int) -> Form:
    """The units `index` of node `source`, which has `width` of them."""
    return Form((Term(source, Scaled(index, np.ones(len(index)), width)),), np.zeros(len(index)))


def constant(values: Floats) -> Form:
    """A form without terms."""
    return Form((), values)


def picked(form: Form) -> Picked | None:
    """The form as a selection of units with scales, if each row reads at most one (bias
    ignored)."""
    source = np.zeros(form.size, dtype=np.int64)
    column = np.zeros(form.size, dtype=np.int64)
    scale = np.zeros(form.size)
    widths: dict[int, int] = {}
    for term in form.terms:
        if not isinstance(term.map, Scaled):
            return None
        live = term.map.scale != 0
        if np.any(live & (scale != 0)):
            return None
        source[live] = term.source
        column[live] = term.map.index[live]
        scale[live] = term.map.scale[live]
        widths[term.source] = term.map.in_features
    return Picked(source, column, scale, widths)


@dataclass(frozen=True)
class SingleUnits:
    """Like `Picked`, for any form; is_single: (n,) which entries read exactly one unit. The others
    have scale 0."""

    source: Ints
    column: Ints
    scale: Floats
    is_single: Bools


def single_units(form: Form) -> SingleUnits:
    """The entries that read one unit, whatever way the maps are stored."""
    source = np.zeros(form.size, dtype=np.int64)
    column = np.zeros(form.size, dtype=np.int64)
    scale = np.zeros(form.size)
    count = np.zeros(form.size, dtype=np.int64)
    for term in form.terms:
        if isinstance(term.map, Scaled):
            rows = np.flatnonzero(term.map.scale)
            columns, scales = term.map.index[rows], term.map.scale[rows]
        else:
            matrix = term.map.rows(slice(None))
            rows, columns = np.nonzero(matrix)
            scales = matrix[rows, columns]
        np.add.at(count, rows, 1)
        source[rows], column[rows], scale[rows] = term.source, columns, scales
    single = count == 1
    return SingleUnits(source, column, np.where(single, scale, 0.0), single)


def is_selection(form: Form) -> bool:
    """Is every entry exactly one unit of one node, as it is?"""
    if form.sealed or form.realisation is not None or np.any(form.bias != 0):
        return False
    units = picked(form)
    return units is not None and bool(np.all(units.scale == 1))


def whole_node(form: Form) -> int | None:
    """The node that the form relabels: each unit of it once, in any order; None for other forms."""
    if len(form.terms) != 1 or not is_selection(form):
        return None
    units = form.terms[0].map
    if not isinstance(units, Scaled) or form.size != units.in_features:
        return None
    return form.terms[0].source if len(np.unique(units.index)) == form.size else None


def identity_of(form: Form) -> int | None:
    """The node whose units the form lists in their own order; None for other forms."""
    node = whole_node(form)
    if node is None:
        return None
    units = form.terms[0].map
    ordered = isinstance(units, Scaled) and np.array_equal(units.index, np.arange(form.size))
    return node if ordered else None


def select(form: Form, index: Ints) -> Form:
    """The entries `index` of the form (with repetition, in any order)."""
    if len(index) == form.size and np.array_equal(index, np.arange(form.size)):
        return form
    return replace(
        form,
        terms=tuple(Term(t.source, t.map.take(rows=index)) for t in form.terms),
        bias=form.bias[index],
        bias_error=None if form.bias_error is None else form.bias_error[index],
        realisation=None if form.realisation is None else form.realisation.take(index),
    )
