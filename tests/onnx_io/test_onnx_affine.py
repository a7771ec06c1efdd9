"""Forms are what they say: operations agree with matrices, and refuse where they would round."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples

from leo_cli.arrays import Floats
from leo_cli.network import Dense, Scaled, Term
from leo_cli.onnx_io.affine import dense, representable, scaled, shifted, stacked, summed
from leo_cli.onnx_io.forms import (
    Division,
    Form,
    identity_of,
    is_selection,
    select,
    unit_selection,
    whole_node,
)

WIDTHS = {0: 3, 1: 4, 2: 2}  # of nodes


def random_form(rng: np.random.Generator, size: int) -> Form:
    terms = []
    for source, width in WIDTHS.items():
        kind = rng.integers(0, 3)
        if kind == 1:
            scale = rng.choice([0.0, 1.0, -2.0, 3.0], size=size)
            terms.append(Term(source, Scaled(rng.integers(0, width, size), scale, width)))
        elif kind == 2:
            terms.append(Term(source, Dense(rng.integers(-3, 4, size=(size, width)).astype(float))))
    bias = rng.integers(-2, 3, size=size) * (rng.random(size) < 0.5)
    return Form(tuple(terms), bias.astype(np.float64))


def selection(rng: np.random.Generator, size: int) -> Form:
    source = int(rng.integers(0, 3))
    return unit_selection(source, rng.integers(0, WIDTHS[source], size), WIDTHS[source])


def values(form: Form, nodes: dict[int, Floats]) -> Floats:
    out = form.bias.copy()
    for term in form.terms:
        out = out + term.map.rows(slice(None)) @ nodes[term.source]
    return out


def node_values(rng: np.random.Generator) -> dict[int, Floats]:
    return {k: rng.integers(-5, 6, size=w).astype(np.float64) for k, w in WIDTHS.items()}


@given(st.integers(0, 10**6))
@examples(150)
def test_operations_are_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    nodes = node_values(rng)
    n = int(rng.integers(1, 5))
    a = random_form(rng, n) if rng.random() < 0.6 else selection(rng, n)
    b = random_form(rng, n) if rng.random() < 0.6 else selection(rng, n)
    x, y = values(a, nodes), values(b, nodes)

    index = rng.integers(0, n, size=int(rng.integers(1, 6)))
    assert np.array_equal(values(select(a, index), nodes), x[index])

    factor = rng.choice([1.0, -1.0, 0.5, 3.0, 0.0], size=n)
    result = scaled(a, factor, "float32")
    if result is not None:
        assert np.array_equal(values(result, nodes), factor * x)
    result = shifted(a, np.arange(float(n)))
    if result is not None:
        assert np.array_equal(values(result, nodes), x + np.arange(n))
    result = summed(a, b)
    if result is not None:
        assert np.array_equal(values(result, nodes), x + y)
        assert len({t.source for t in result.terms}) == len(result.terms)
    order = rng.permutation(2 * n)
    result = stacked([a, b], order)
    if result is not None:
        assert np.array_equal(values(result, nodes), np.concatenate([x, y])[order])
    matrix = rng.integers(-3, 4, size=(2, n)).astype(np.float64)
    result = dense(a, matrix, "float32")
    if result is not None:
        assert np.array_equal(values(result, nodes), matrix @ x)


@given(st.integers(0, 10**6))
@examples(40)
def test_selections_of_units_are_recognised(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = int(rng.integers(0, 3))
    order = rng.permutation(WIDTHS[source])
    form = unit_selection(source, order, WIDTHS[source])
    assert is_selection(form) and whole_node(form) == source
    in_order = bool(np.all(np.diff(order) == 1))
    assert (identity_of(form) == source) == in_order
    doubled = select(form, np.zeros(WIDTHS[source], dtype=np.int64))
    assert is_selection(doubled) and (whole_node(doubled) is None or WIDTHS[source] == 1)
    negated = scaled(form, np.full(WIDTHS[source], -1.0), "float32")
    assert negated is not None and not is_selection(negated)


def test_a_product_of_products_is_not_composed() -> None:
    inner = dense(unit_selection(0, np.arange(3), 3), np.ones((4, 3)), "float32")
    assert inner is not None
    assert dense(inner, np.ones((2, 4)), "float32") is None


@pytest.mark.parametrize("index", [[0, 1], [0, 1, 1]])
def test_a_product_reads_whole_nodes_only(index: list[int]) -> None:
    """No zero columns, no sums of columns: a part of a node becomes a node first."""
    form = unit_selection(0, np.array(index), 3)
    assert dense(form, np.ones((2, len(index))), "float32") is None


def test_a_product_of_a_permutation_permutes_the_columns() -> None:
    matrix = np.arange(6.0).reshape(2, 3)
    form = dense(unit_selection(0, np.array([2, 0, 1]), 3), matrix, "float32")
    assert form is not None
    assert np.array_equal(form.terms[0].map.rows(slice(None)), matrix[:, [1, 2, 0]])


def test_scaling_stays_within_the_type() -> None:
    tiny = Form((Term(0, Dense(np.full((1, 3), 2.0**-149))),), np.zeros(1))
    assert scaled(tiny, np.array([0.5]), "float32") is None
    assert scaled(tiny, np.array([2.0]), "float32") is not None
    assert scaled(tiny, np.array([0.3]), "float64") is None


def test_what_an_operator_must_compute_is_not_composed() -> None:
    form = unit_selection(0, np.arange(3), 3)
    divided = Form(form.terms, form.bias, realisation=Division(np.full(3, 3.0)))
    assert not is_selection(divided)
    assert summed(divided, form) is None and summed(form, divided) is None
    assert dense(divided, np.ones((1, 3)), "float32") is None
    assert scaled(divided, np.full(3, 2.0), "float32") is None


@pytest.mark.parametrize(
    ("number", "dtype", "expected"),
    [
        (0.1, "float32", False),
        (0.5, "float16", True),
        (1e40, "float32", False),
        (np.nan, "float64", False),
    ],
)
def test_representable(number: float, dtype: str, expected: bool) -> None:
    assert representable(np.array([number]), dtype) == expected
