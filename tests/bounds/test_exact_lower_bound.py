"""The exact bound is the float64 bound without its rounding, and 0 where terms cancel."""

import numpy as np
import pytest
from hypothesis import given
from support import examples
from support.oracle import enumerate_patterns
from support.strategies import TAME, networks_with_domain

from leo_cli.bounds.exact import exact_lower_bound, is_exact
from leo_cli.bounds.interval import propagate
from leo_cli.bounds.linear import backward, relaxed
from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.stability import ClassifyOptions, State, classify


@given(networks_with_domain(palettes=TAME))
@examples(60)
def test_lies_between_the_float_bound_and_the_minimum(case: tuple[Network, Domain]) -> None:
    network, domain = case
    truth = enumerate_patterns(network, domain)
    lower, upper = [], []
    for k, layer in enumerate(network.layers):
        low, high = propagate(layer, domain, lower, upper, network.layers[:k])
        lower.append(low)
        upper.append(high)
        problem = relaxed(network, domain, lower, upper, k)
        if not is_exact(problem):
            continue
        for unit in range(layer.width):
            for sign in (1.0, -1.0):
                exact = exact_lower_bound(problem, unit, sign)
                least, most = truth.range(k, unit)
                assert exact <= (least if sign > 0 else -most)
                row = np.zeros((1, layer.width))
                row[0, unit] = sign
                if domain.is_box:
                    assert backward(problem, row).bound[0] <= exact


def _tie(bias: float) -> Network:
    """A unit whose terms cancel: 0.1 x + 0.2 y - 0.1 x - 0.2 y, through a linear layer."""
    matrix = np.array([[0.1, 0.2], [-0.1, -0.2]], dtype=np.float32)
    first = Layer("linear", (Term(0, Dense(matrix)),), np.array([0.3, -0.3]), relu=False)
    second = Layer("h", (Term(1, Dense(np.ones((1, 2)))),), np.array([bias]), relu=True)
    last = Layer("y", (Term(2, Dense(np.ones((1, 1)))),), np.zeros(1), relu=False)
    return Network(2, (first, second, last), (3,))


def test_terms_that_cancel_are_settled() -> None:
    domain = Domain(np.array([-3.0, 0.7]), np.array([1.0, 0.9]), "float64")
    floats = ClassifyOptions(deciders=("samples", "interval", "linear"))
    exactly = ClassifyOptions(deciders=("samples", "interval", "linear", "exact"))
    [unit] = classify(_tie(0.0), domain, floats).layers[1].verdicts
    assert unit.state is State.UNDECIDED
    [unit] = classify(_tie(0.0), domain, exactly).layers[1].verdicts
    assert (unit.state, unit.by, unit.upper) == (State.INACTIVE, "exact", 0.0)
    for least in (5e-324, 2.0**-60):
        [unit] = classify(_tie(least), domain, exactly).layers[1].verdicts
        assert unit.state is not State.INACTIVE


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflow is meant to happen
def test_what_overflows_is_left_to_others() -> None:
    # relu(-1e200 x) on [-1, 0], then 1e200 times it: bounds of the second layer are infinite
    big = np.array([[1e200], [-1e200]])
    first = Layer("a", (Term(0, Dense(-big[:1])),), np.zeros(1), relu=True)
    second = Layer("b", (Term(1, Dense(big)),), np.array([-1.0, 1.0]), relu=True)
    third = Layer("c", (Term(2, Dense(np.array([[-1.0, 0.0]]))),), np.zeros(1), relu=True)
    network = Network(1, (first, second, third), (3,), "float64")
    domain = Domain(np.array([-1.0]), np.array([0.0]), "float64")
    found = classify(network, domain, ClassifyOptions(deciders=("exact",)))
    infinite = [np.isinf(layer.upper).any() for layer in found.layers]
    assert infinite[1]
    assert found.layers[2].verdicts[0].state is not State.ACTIVE
