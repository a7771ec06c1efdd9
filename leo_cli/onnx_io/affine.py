"""Affine forms: what a tensor is, as a function of the nodes of the network read so far.

A form is  y = sum over terms of  map(h_source) + bias  for one sample, its features flattened in
row-major order. Operators act on forms only where real arithmetic and stored type lose nothing:

    dense        W y           with y a selection of nodes (scales 0, +-2^k; no bias)
    scaled       s * y         with y a selection, or s a power of two
    shifted      y + b         with y or b zero, entry by entry
    summed       y + y'        with terms of different nodes, or rows that do not overlap
    select       y[index]      always (reshape, transpose, slice, gather, broadcast)

Everything else returns None, and the caller first makes y a layer of its own
(`Region.materialise`): a chain of linear layers then says in the network what onnxruntime computes,
with nothing rounded in between. So every coefficient of a form is a stored constant, times a power
of two; the exceptions carry a `Realisation`, whose coefficients hold a relative error that the form
states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.network import Dense, LinearMap, Scaled, Term


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


def is_power_of_two(x: Floats) -> Bools:
    """Which entries are 0 or +-2^k."""
    result: Bools = (x == 0) | (np.frexp(np.abs(x))[0] == 0.5)
    return result


def representable(x: Floats, dtype: str) -> bool:
    """Are all entries finite numbers of `dtype`?"""
    with np.errstate(over="ignore"):
        stored = x.astype(dtype).astype(np.float64)
    return bool(np.all(np.isfinite(x)) and np.array_equal(stored, x))


def _scaled_map(linear: LinearMap, factor: Floats) -> LinearMap:
    if isinstance(linear, Scaled):
        return replace(linear, scale=linear.scale * factor)
    return Dense(linear.rows(slice(None)) * factor[:, None])


def _fits(form: Form, dtype: str) -> bool:
    return representable(form.bias, dtype) and all(
        representable(t.map.scale if isinstance(t.map, Scaled) else t.map.rows(slice(None)), dtype)
        for t in form.terms
    )


def scaled(form: Form, factor: Floats, dtype: str) -> Form | None:
    """factor * form, entry by entry; factor: (n,)."""
    if np.all(factor == 1):
        return form
    if not is_selection(form) and (
        form.sealed or form.realisation is not None or not np.all(is_power_of_two(factor))
    ):
        return None
    result = replace(
        form,
        terms=tuple(Term(t.source, _scaled_map(t.map, factor)) for t in form.terms),
        bias=form.bias * factor,
    )
    return result if _fits(result, dtype) else None


def shifted(form: Form, bias: Floats) -> Form | None:
    """form + bias; bias: (n,)."""
    if not np.any(bias):
        return form
    if form.sealed or np.any((form.bias != 0) & (bias != 0)):
        return None
    return replace(form, bias=form.bias + bias)


def _merged(a: LinearMap, b: LinearMap) -> LinearMap | None:
    """a + b where no row is read in both."""
    if not (isinstance(a, Scaled) and isinstance(b, Scaled)):
        return None
    from_b = b.scale != 0
    if np.any((a.scale != 0) & from_b):
        return None
    index = np.where(from_b, b.index, a.index)
    return Scaled(index, np.where(from_b, b.scale, a.scale), a.in_features)


def summed(a: Form, b: Form) -> Form | None:
    """a + b, entry by entry."""
    if a.sealed or b.sealed or a.realisation is not None or b.realisation is not None:
        return None
    if np.any((a.bias != 0) & (b.bias != 0)):
        return None
    maps = {t.source: t.map for t in a.terms}
    for term in b.terms:
        merged = _merged(maps[term.source], term.map) if term.source in maps else term.map
        if merged is None:
            return None
        maps[term.source] = merged
    terms = tuple(Term(source, maps[source]) for source in sorted(maps))
    return Form(terms, a.bias + b.bias, nodes=(*a.nodes, *b.nodes))


def stacked(forms: Sequence[Form], order: Ints) -> Form | None:
    """The entries of all forms one after the other, then in the order `order`."""
    total = sum(f.size for f in forms)
    result = constant(np.zeros(total))
    offset = 0
    for form in forms:
        if form.sealed or form.realisation is not None or picked(form) is None:
            return None
        inside = np.zeros(total, dtype=bool)
        inside[offset : offset + form.size] = True
        row = np.where(inside, np.arange(total) - offset, 0)
        terms = []
        for term in form.terms:
            spread = term.map.take(rows=row)
            if not isinstance(spread, Scaled):
                return None
            terms.append(Term(term.source, replace(spread, scale=spread.scale * inside)))
        bias = np.where(inside, form.bias[row], 0.0) if form.size else np.zeros(total)
        more = summed(result, Form(tuple(terms), bias, nodes=form.nodes))
        if more is None:
            return None
        result = more
        offset += form.size
    return select(result, order)


def _ascending(index: Ints) -> bool:
    return np.array_equal(index, np.arange(len(index)))


def dense(form: Form, matrix: Floats, dtype: str) -> Form | None:
    """matrix @ form; matrix: (out, n). Only of a form that reads whole nodes, each unit once, so
    that the stored matrix gets neither zero columns nor sums of columns."""
    units = picked(form)
    if units is None or form.sealed or form.realisation is not None or np.any(form.bias != 0):
        return None
    if not np.all(is_power_of_two(units.scale)) or np.any(units.scale == 0):
        return None
    terms = []
    for source, width in sorted(units.widths.items()):
        rows = np.flatnonzero(units.source == source)
        if len(rows) != width or len(np.unique(units.column[rows])) != width:
            return None
        rows = rows[np.argsort(units.column[rows])]
        part = matrix if len(rows) == matrix.shape[1] and _ascending(rows) else matrix[:, rows]
        scale = units.scale[rows]
        if np.any(scale != 1):
            part = part * scale
            if not representable(part, dtype):
                return None
        terms.append(Term(source, Dense(part)))
    return Form(tuple(terms), np.zeros(len(matrix)), nodes=form.nodes)
