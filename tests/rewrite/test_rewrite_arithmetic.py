"""Stored numbers, and products with their error."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support import examples

from leo_cli.arrays import Floats
from leo_cli.rewrite.absorb import absorb
from leo_cli.rewrite.arithmetic import grid, is_exact_product, is_stored, product, stored, ulp

NUMBERS = st.one_of(
    st.floats(-100, 100, width=32),
    st.sampled_from([0.0, 1.0, -0.5, 0.1, 1e-30, 2.0**-40, 2.0**30, 5e-324, 1e-310]),
)


@st.composite
def matrices(draw: st.DrawFn, rows: int, columns: int) -> Floats:
    size = rows * columns
    values = draw(st.lists(NUMBERS, min_size=size, max_size=size))
    return np.array(values, dtype=np.float64).reshape(rows, columns)


def exact_product(a: Floats, b: Floats) -> list[list[Fraction]]:
    return [
        [
            sum((Fraction(a[i, k]) * Fraction(b[k, j]) for k in range(a.shape[1])), Fraction(0))
            for j in range(b.shape[1])
        ]
        for i in range(a.shape[0])
    ]


@examples(300)
@given(st.data())
def test_products_are_within_their_error(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 4))
    a, b = data.draw(matrices(2, n)), data.draw(matrices(n, 3))
    size = np.abs(np.array(data.draw(st.lists(NUMBERS, min_size=3, max_size=3))))
    value, error = product(a, b, size)
    real = exact_product(a, b)
    for i in range(2):
        off = sum(abs(Fraction(value[i, j]) - real[i][j]) * Fraction(size[j]) for j in range(3))
        assert off <= Fraction(error[i])
    if is_exact_product(a, b):
        assert [[Fraction(v) for v in row] for row in value.tolist()] == real


def test_dyadic_products_are_known_to_be_exact() -> None:
    a, b = np.array([[0.5, -3.0, 2.25]]), np.array([[1.0], [0.125], [7.0]])
    assert is_exact_product(a, b)
    assert product(a, b, np.ones(1))[1].tolist() == [0.0]
    assert not is_exact_product(np.array([[0.1, 1.0]]), np.array([[0.1], [1.0]]))


@examples(200)
@given(st.lists(NUMBERS, min_size=1, max_size=4))
def test_the_grid_divides_all_numbers(values: list[float]) -> None:
    unit = grid(np.array(values))
    if 0.0 < unit < float("inf"):
        assert all((Fraction(v) / Fraction(unit)).denominator == 1 for v in values)


def test_stored_numbers() -> None:
    assert stored(np.array([0.1]), "float32")[0] == float(np.float32(0.1))
    assert not is_stored(np.array([0.1]), "float32")[0]
    assert is_stored(np.array([0.1, 0.5]), "float64").all()
    assert np.isinf(stored(np.array([1e6]), "float16"))[0]
    assert ulp(np.array([1.0, -1.0]), "float32").tolist() == [2.0**-23, 2.0**-23]


@examples(200)
@given(st.data())
def test_absorbed_biases_tell_their_residual(data: st.DataObject) -> None:
    coefficients = data.draw(matrices(2, 3))
    values = data.draw(matrices(1, 3))[0]
    bias = stored(data.draw(matrices(1, 2))[0], "float32")
    done = absorb(bias, coefficients, values, "float32")
    assert is_stored(done.bias, "float32").all()
    for i in range(2):
        real = Fraction(bias[i]) + sum(
            Fraction(c) * Fraction(v) for c, v in zip(coefficients[i], values, strict=True)
        )
        off = Fraction(done.bias[i]) - real - Fraction(done.residual[i])
        assert abs(off) <= Fraction(done.radius[i])


def test_a_representable_sum_leaves_nothing() -> None:
    done = absorb(np.array([1.0]), np.array([[0.5, 2.0]]), np.array([3.0, 0.25]), "float32")
    assert done.bias.tolist() == [3.0]
    assert done.residual.tolist() == [0.0]
    assert done.radius.tolist() == [0.0]


def test_a_short_cut_never_calls_a_product_exact_that_is_not() -> None:
    rng = np.random.default_rng(5)
    exact_ones = 0
    for _ in range(200):
        rows, inner = (int(n) for n in rng.integers(1, 5, 2))
        a = rng.choice([0.0, 0.5, 1.0, -3.0, 2.0**30], (rows, inner))
        b = rng.choice([0.0, 0.25, 1.0, -5.0, 2.0**-40, 0.1], (inner, 2))
        if is_exact_product(a, b):
            exact_ones += 1
            real = [
                [
                    sum(Fraction(x) * Fraction(y) for x, y in zip(row, column, strict=True))
                    for column in b.T
                ]
                for row in a
            ]
            assert all(
                Fraction(value) == want
                for values, wanted in zip((a @ b).tolist(), real, strict=True)
                for value, want in zip(values, wanted, strict=True)
            )
    assert exact_ones > 20
