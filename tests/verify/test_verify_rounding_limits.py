"""Evaluations that come close to the rounding bound, each for one of its parts.

A sum that begins with 1 and goes on with terms just below half an ulp of it never moves: its error
is nearly what the bound allows. What lies behind it passes this error on, magnifies it, or hides
it at other inputs.
"""

from fractions import Fraction

import numpy as np
import pytest
from verify_cases import forwards, native

from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.verify import exact_outputs, rounding_bound
from leo_cli.verify.formats import format_of

TERMS = 200
TYPES = ("float16", "float32")


def stagnating(dtype: str, relu: bool = True) -> Layer:
    """1 + a sum of terms that are each lost when they are added to it."""
    term = 511 / 512 * format_of(dtype).roundoff
    return Layer("u", (Term(0, Dense(np.full((1, TERMS), term))),), np.ones(1), relu)


def then(source: int, weights: list[list[float]], bias: list[float], relu: bool) -> Layer:
    return Layer(f"l{source}", (Term(source, Dense(np.array(weights))),), np.array(bias), relu)


def share(network: Network, domain: Domain, x: np.ndarray) -> float:
    """Error at x of summing in order, in proportion to the bound on the domain."""
    point = x[None]
    bound = rounding_bound(network, domain, network.dtype)
    value = native(network, point, network.dtype, forwards, np.random.default_rng(0))
    real = exact_outputs(network, point).fractions()
    shares = [
        abs(Fraction(float(v)) - r) / Fraction(float(b))
        for v, r, b in zip(value[0], real[0], bound, strict=True)
    ]
    assert max(shares) <= 1
    return float(max(shares))


def point_and(x: np.ndarray, lower: float, upper: float, dtype: str) -> Domain:
    return Domain(np.full(len(x), lower), np.full(len(x), upper), dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_terms_of_one_sign_lost_one_by_one(dtype: str) -> None:
    network = Network(TERMS, (stagnating(dtype),), (1,), dtype)
    x = np.ones(TERMS)
    assert share(network, point_and(x, 0.0, 1.0, dtype), x) > 0.8


@pytest.mark.parametrize("dtype", TYPES)
def test_an_error_is_magnified_by_the_layer_behind(dtype: str) -> None:
    layers = (stagnating(dtype), then(1, [[1024.0]], [0.0], False))
    x = np.ones(TERMS)
    assert share(Network(TERMS, layers, (2,), dtype), point_and(x, 0.0, 1.0, dtype), x) > 0.75


@pytest.mark.parametrize("dtype", TYPES)
def test_errors_that_cancel_on_the_whole_domain_are_not_counted(dtype: str) -> None:
    layers = (stagnating(dtype), then(1, [[1.0], [1.0]], [0.0, 0.0], True))
    alone = Network(TERMS, layers, (2,), dtype)
    both = Network(TERMS, (*layers, then(2, [[1.0, -1.0]], [0.0], False)), (3,), dtype)
    domain = point_and(np.ones(TERMS), 0.0, 1.0, dtype)
    one, other = (rounding_bound(n, domain, dtype)[0] for n in (alone, both))
    assert other < one / 5


@pytest.mark.parametrize("early", [-2.0, 0.0])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("dtype", TYPES)
def test_errors_that_cancel_only_where_both_units_are_on_are_counted(
    dtype: str, sign: int, early: float
) -> None:
    """relu(2 v + u + early) - relu(2 v + u - 3) is flat for large v, and has u in it before."""
    first = stagnating(dtype).terms[0].map
    assert isinstance(first, Dense)
    matrix = np.zeros((2, TERMS + 1))
    matrix[0, :TERMS] = first.matrix
    matrix[1, TERMS] = 1.0
    layers = (
        Layer("u", (Term(0, Dense(matrix)),), np.array([1.0, 0.0]), True),
        then(1, [[1.0, 2.0], [1.0, 2.0]], [early, -3.0], True),
        then(2, [[1024.0 * sign, -1024.0 * sign]], [0.0], False),
    )
    network = Network(TERMS + 1, layers, (3,), dtype)
    x = np.append(np.ones(TERMS), 0.75)
    assert share(network, point_and(x, 0.0, 1.0, dtype), x) > 0.55


@pytest.mark.parametrize("dtype", TYPES)
def test_a_unit_that_only_rounding_switches_on(dtype: str) -> None:
    """Its real value is below 0 on the whole domain, its native value is not."""
    ulp = 2 * format_of(dtype).roundoff
    off = Layer(
        "z", (Term(0, Dense(np.array([[0.75 * ulp, -1.0, -0.875 * ulp]]))),), np.ones(1), True
    )
    network = Network(3, (off, then(1, [[1024.0]], [0.0], False)), (2,), dtype)
    x = np.ones(3)
    domain = Domain(x, x, dtype)
    assert exact_outputs(network, x[None]).nearest()[0, 0] == 0.0
    assert native(network, x[None], dtype, forwards, np.random.default_rng(0))[0, 0] > 0
    assert share(network, domain, x) > 0


@pytest.mark.parametrize("dtype", TYPES)
def test_products_that_underflow_one_by_one(dtype: str) -> None:
    smallest = format_of(dtype).smallest
    tiny = 2.0 ** (np.log2(smallest) // 2)
    weight = smallest / tiny / 2  # the product is half the smallest number, and rounds to 0
    layer = Layer("y", (Term(0, Dense(np.full((1, TERMS), weight))),), np.zeros(1), False)
    network = Network(TERMS, (layer,), (1,), dtype)
    x = np.full(TERMS, tiny)
    assert native(network, x[None], dtype, forwards, np.random.default_rng(0))[0, 0] == 0
    assert share(network, Domain(x, x, dtype), x) > 0.3


@pytest.mark.parametrize("dtype", TYPES)
def test_negative_terms_lost_one_by_one_beside_positive_ones(dtype: str) -> None:
    """The largest partial sum, not the difference of the signs, decides."""
    term = 511 / 512 * format_of(dtype).roundoff
    row = np.full((1, TERMS), term)
    row[0, 0] = -2.0
    row[0, 1:] *= -1
    layer = Layer("y", (Term(0, Dense(row)),), np.ones(1), False)
    network = Network(TERMS, (layer,), (1,), dtype)
    x = np.ones(TERMS)
    assert share(network, Domain(x, x, dtype), x) > 0.3
