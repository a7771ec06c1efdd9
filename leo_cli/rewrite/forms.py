"""Bounds over the domain of linear forms in the values of nodes: what residuals can amount to.

A form  a h_s + e  is bounded over the proved box of h_s; then h_s = max(z, 0) is replaced by the
layer's own form, unit by unit along the chord of its ReLU,
    max(z, 0) = sigma z + q,   z in [l, u],   q in [0, M],   M = max(-sigma l, (1 - sigma) u),
with sigma = u / (u - l) (1 where z >= 0, 0 where z <= 0; valid for any sigma in [0, 1]), which
gives a form in the nodes before and a slack of |a| M, and so on to the input. Signed sums cancel
that boxes cannot: the rounding of many stored weights has random signs. The best of the bounds
counts: before, after the first step, and at the input. This is the zonotope of DeepZ (Singh et al.,
NeurIPS 2018) applied backwards.

Every step adds what floats may have lost in it: gamma |a| (|W| m + |b|), m the sizes of the nodes
before.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.bounds.interval import layer_interval
from leo_cli.network import Dense, Layer, Term
from leo_cli.rewrite.subject import Subject
from leo_cli.rounding import SMALLEST, UNIT_ROUNDOFF, gamma


def chord(low: Floats, high: Floats, relu: bool) -> tuple[Floats, Floats]:
    """(slope, gap): max(z, 0) - slope z is in [0, 2 gap] for all z in [low, high]; the identity
    where there is no ReLU."""
    if not relu:
        return np.ones(len(low)), np.zeros(len(low))
    width = high - low
    slope = np.divide(high, width, out=np.zeros(len(low)), where=width > 0)
    slope = np.where(low >= 0, 1.0, np.where(high <= 0, 0.0, np.clip(slope, 0.0, 1.0)))
    # the exact maximum is at an end; a factor for the rounding of its two operations
    top = np.maximum(-slope * np.minimum(low, 0.0), (1.0 - slope) * np.maximum(high, 0.0))
    # not "where top > 0": its products may underflow to 0, and NaN must stay what it is
    unstable = (low < 0) & (high > 0)
    return slope, np.where(unstable, 0.5 * top * (1 + 8 * UNIT_ROUNDOFF) + SMALLEST, 0.0)


def form_range(
    subject: Subject, maps: Mapping[int, Floats], offset: Floats
) -> tuple[Floats, Floats]:
    """(low, high), (n,) each, of sum_s maps[s] h_s + offset. maps: by node, (n, width of the
    node)."""
    forms = dict(maps)
    low, high = box_range(subject, forms, offset)
    slack_low, slack_high = np.zeros(len(offset)), np.zeros(len(offset))
    first = True
    while max(forms, default=0) > 0:
        node = max(forms)
        form = forms.pop(node)
        layer, k = subject.network.layers[node - 1], node - 1
        slope, gap = _chord_of(subject, k)
        rows = form * slope
        offset = offset + rows @ layer.bias
        size, error = _size_of(subject, node), np.zeros(len(form))
        for term in layer.terms:
            moved = term.map.apply_transposed(rows)
            if term.source in forms:
                known = forms[term.source]
                error += 4.0 * UNIT_ROUNDOFF * (np.abs(known) @ subject.magnitude(term.source))
                moved = moved + known
            forms[term.source] = moved
        terms = layer.width + len(layer.terms) + 8
        error += (gamma(terms) + 2.0 * layer.weight_error) * (np.abs(form) @ size)
        error += 4.0 * UNIT_ROUNDOFF * np.abs(offset)
        if layer.bias_error is not None:
            error += 2.0 * (np.abs(form) @ layer.bias_error)
        error += 4.0 * terms * SMALLEST * (1.0 + size.sum())
        error = np.where(np.any(form != 0, axis=1), error, 0.0)
        more = 1.0 + gamma(layer.width + len(subject.network.layers) + 4)
        slack_low = slack_low + 2.0 * (np.minimum(form, 0.0) @ gap) * more - error
        slack_high = slack_high + 2.0 * (np.maximum(form, 0.0) @ gap) * more + error
        if first or max(forms, default=0) == 0:
            least, most = box_range(subject, forms, offset)
            low = _better(low, least, slack_low, np.maximum, -np.inf)
            high = _better(high, most, slack_high, np.minimum, np.inf)
        first = False
    return low, high


def box_range(
    subject: Subject, forms: Mapping[int, Floats], offset: Floats
) -> tuple[Floats, Floats]:
    """The same, over the boxes of the nodes alone."""
    terms = tuple(Term(node, Dense(matrix)) for node, matrix in forms.items())
    return layer_interval(
        Layer("", terms, offset, relu=False),
        subject.domain,
        subject.boxes(1 + max(forms, default=0)),
    )


def _chord_of(subject: Subject, k: int) -> tuple[Floats, Floats]:
    """`chord` of the units of layer k."""
    relu = subject.network.layers[k].relu
    return subject.recalled(("chord", k), lambda: chord(subject.lower[k], subject.upper[k], relu))


def _size_of(subject: Subject, node: int) -> Floats:
    """(width,) |W| m + |b| of the layer of a node."""

    def size() -> Floats:
        layer = subject.network.layers[node - 1]
        total = np.abs(layer.bias)
        for term in layer.terms:
            total = total + term.map.magnitude().apply(subject.magnitude(term.source))
        return total

    return subject.once(("size", node), size)


def _better(known: Floats, found: Floats, slack: Floats, choose: np.ufunc, out: float) -> Floats:
    """The better bound of two, where the new one is a number."""
    moved = np.where(slack == 0, found, np.nextafter(found + slack, out))
    moved = np.where(slack == 0, moved, np.nextafter(moved, out))
    return np.asarray(np.where(np.isfinite(moved), choose(known, moved), known))
