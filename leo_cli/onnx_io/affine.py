"""Arithmetic of forms, only where real arithmetic and stored type lose nothing.

    dense        W y           with y a selection of nodes (scales 0, +-2^k; no bias)
    scaled       s * y         with y a selection, or s a power of two
    shifted      y + b         with y or b zero, entry by entry
    summed       y + y'        with terms of different nodes, or rows that do not overlap
    select       y[index]      always (reshape, transpose, slice, gather, broadcast)

Everything else returns None, and the caller first makes y a layer of its own
(`Scope.materialise`): a chain of linear layers then says in the network what onnxruntime computes,
with nothing rounded in between. So every coefficient of a form is a stored constant, times a power
of two; the exceptions carry a `Realisation`, whose coefficients hold a relative error that the form
states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.network import Dense, LinearMap, Scaled, Term
from leo_cli.onnx_io.forms import Form, constant, is_selection, picked, select


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
