"""Found by the property tests: each is the smallest case that was wrong."""

import numpy as np
import pytest
from support.checks import perfect_stability
from support.exact import difference, exact
from support.oracle import enumerate_patterns

from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Scaled, Term
from leo_cli.rewrite import RewriteOptions, Tolerance, parse_tolerance, shrink
from leo_cli.rewrite.tolerance import allowance

ZERO = RewriteOptions(tolerance=Tolerance("absolute", 0.0))


def test_a_deviation_that_underflows_is_not_zero() -> None:
    # The change of layer1 is tiny, and tiny times layer2's weight is 0 in float64, but not 0.
    tiny = 5e-324

    def selection(k: int, scale: float, relu: bool) -> Layer:
        term = Term(k, Scaled(np.array([0]), np.array([scale]), 1))
        return Layer(f"layer{k}", (term,), np.array([tiny]), relu)

    layers = (selection(0, 1.0, False), selection(1, tiny, False), selection(2, tiny, True))
    network, domain = Network(1, layers, (3,), "float64"), Domain(np.zeros(1), np.ones(1))
    truth = enumerate_patterns(network, domain)
    result = shrink(network, perfect_stability(network, truth), domain, ZERO)
    gap = difference(exact(network), exact(result.network))
    assert not any(enumerate_patterns(gap, domain).range(len(gap.layers) - 1, 0))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("dtype", "weight", "tolerance"),
    [("float16", 1e4, "half-ulp"), ("float32", 1e38, "half-ulp"), ("float64", 1e308, "1e-5r")],
)
def test_an_output_beyond_its_type_allows_no_undefined_deviation(
    dtype: str, weight: float, tolerance: str
) -> None:
    # NaN compares false with every deviation, so that nothing would be refused.
    stored = float(np.dtype(dtype).type(weight))
    term = Term(0, Dense(np.array([[stored, stored]])))
    network = Network(2, (Layer("a", (term,), np.array([stored]), False),), (1,), dtype)
    domain = Domain(np.zeros(2), np.full(2, 60.0))
    allowed = allowance(parse_tolerance(tolerance), network, domain)
    assert np.isfinite(allowed).all()
    assert (allowed >= 0).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_products_beyond_float64_are_left_alone() -> None:
    large = 1e200
    first = Layer("a", (Term(0, Dense(np.array([[large], [1.0]]))),), np.full(2, large), relu=False)
    second = Layer("b", (Term(1, Dense(np.full((1, 2), large))),), np.array([large]), relu=True)
    network = Network(1, (first, second), (2,), "float64")
    domain = Domain(np.zeros(1), np.ones(1))
    truth = enumerate_patterns(network, domain)
    result = shrink(network, perfect_stability(network, truth), domain, ZERO)
    gap = difference(exact(network), exact(result.network))
    assert not any(enumerate_patterns(gap, domain).range(len(gap.layers) - 1, 0))


def test_denormal_weights_do_not_stop_a_factorisation() -> None:
    denormal = float(np.float32(1e-45))
    first = Layer(
        "a",
        (Term(0, Dense(np.array([[0.0, 0.0], [0.0, denormal], [0.0, 1.0]]))),),
        np.zeros(3),
        relu=False,
    )
    second = Layer(
        "b", (Term(1, Dense(np.array([[0.0] * 3, [0.0, 0.0, 1.0]]))),), np.zeros(2), relu=True
    )
    network, domain = Network(2, (first, second), (2,)), Domain(np.zeros(2), np.ones(2))
    truth = enumerate_patterns(network, domain)
    options = RewriteOptions(tolerance=ZERO.tolerance, rewrites=("product_rank",))
    result = shrink(network, perfect_stability(network, truth), domain, options)
    gap = difference(exact(network), exact(result.network))
    assert not any(enumerate_patterns(gap, domain).range(len(gap.layers) - 1, 1))
