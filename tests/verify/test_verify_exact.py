"""Exact evaluation is exact: against rational arithmetic written independently."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples
from support.exact import exact, rational
from support.strategies import networks_with_domain

from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.verify import Dyadic, exact_outputs, exact_pre_activations

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@examples(60)
@given(networks_with_domain(), st.integers(0, 2**32 - 1))
def test_values_are_those_of_rational_arithmetic(case: tuple[Network, Domain], seed: int) -> None:
    network, domain = case
    rng = np.random.default_rng(seed)
    points = domain.lower + rng.random((3, domain.inputs)) * (domain.upper - domain.lower)
    reference = exact(network)
    z = exact_pre_activations(network, points)
    outputs = exact_outputs(network, points).fractions()
    for row, x in enumerate(rational(points)):
        for found, expected in zip(z, reference.pre_activations(x), strict=True):
            assert found.fractions()[row].tolist() == expected
            signs = [(v > 0) - (v < 0) for v in expected]
            assert found.signs()[row].tolist() == signs
        assert outputs[row].tolist() == reference.evaluate(x)


@examples(200)
@given(st.lists(FINITE, min_size=1, max_size=8))
def test_floats_survive_the_way_there_and_back(values: list[float]) -> None:
    array = np.array(values)
    there = Dyadic.of(array)
    assert there.fractions().tolist() == [Fraction(v) for v in values]
    assert np.array_equal(there.nearest(), array)
    assert (there - there).signs().tolist() == [0] * len(values)


def test_beyond_the_floats_the_nearest_number_is_infinite() -> None:
    huge = Dyadic.of(np.array([1e308, -1e308]))
    assert (huge + huge).nearest().tolist() == [np.inf, -np.inf]


def test_cancellation_that_float64_loses_is_kept() -> None:
    layer = Layer("y", (Term(0, Dense(np.array([[1e200, 1.0, -1e200]]))),), np.zeros(1), False)
    network = Network(3, (layer,), (1,), "float64")
    point = np.array([[1.0, 2.0**-60, 1.0]])
    assert network.evaluate(point)[0][0, 0] == 0.0
    assert exact_outputs(network, point).fractions()[0, 0] == Fraction(1, 2**60)


def test_inputs_may_be_outputs_and_outputs_may_be_missing() -> None:
    layer = Layer("h", (Term(0, Dense(np.array([[-1.0]]))),), np.zeros(1), True)
    both = Network(1, (layer,), (0, 1))
    assert exact_outputs(both, np.array([[-0.5]])).nearest().tolist() == [[-0.5, 0.5]]
    assert exact_outputs(Network(1, (layer,), ()), np.array([[1.0]])).shape == (1, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_has_no_exact_value(bad: float) -> None:
    with pytest.raises(ValueError, match="no exact value"):
        Dyadic.of(np.array([1.0, bad]))
