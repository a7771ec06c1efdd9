"""Points to compare at, and the search for more."""

import numpy as np
import pytest

from leo_cli.domain import Domain
from leo_cli.errors import InputError
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.verify.evaluation import concatenated_outputs
from leo_cli.verify.points import ORIGINS, verification_points
from leo_cli.verify.search import LEAK, SearchOptions, _value_and_gradient, search_difference

BOX = Domain(np.full(3, -1.0), np.full(3, 1.0))


def test_given_points_come_first_and_the_rest_makes_up_the_number() -> None:
    given = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 5.0], [1.0, 1.0, 1.0]])
    points = verification_points(BOX, 100, np.random.default_rng(0), given)
    assert len(points) == 100
    assert points.outside == 1
    assert points.values[:2].tolist() == given[[0, 2]].tolist()
    counts = {name: int(np.sum(points.origin == k)) for k, name in enumerate(ORIGINS)}
    assert counts == {"given": 2, "random": 49, "corner": 49, "search": 0}
    assert BOX.contains(points.values).all()
    assert np.all(np.abs(points.values[points.origin == 2]) == 1)


def test_more_points_than_asked_for_are_all_taken() -> None:
    given = np.zeros((7, 3))
    assert len(verification_points(BOX, 3, np.random.default_rng(0), given)) == 7
    assert len(verification_points(BOX, 0, np.random.default_rng(0))) == 0


def test_points_of_another_width_are_refused() -> None:
    with pytest.raises(InputError, match="one row of 3 numbers"):
        verification_points(BOX, 5, np.random.default_rng(0), np.zeros((2, 4)))


def random_network(rng: np.random.Generator) -> Network:
    first = Layer("a", (Term(0, Dense(rng.normal(size=(6, 3)))),), rng.normal(size=6), True)
    second = Layer(
        "b",
        (Term(1, Dense(rng.normal(size=(4, 6)))), Term(0, Dense(rng.normal(size=(4, 3))))),
        rng.normal(size=4),
        True,
    )
    return Network(3, (first, second), (2, 1))


def test_gradients_are_those_of_finite_differences() -> None:
    rng = np.random.default_rng(1)
    network = random_network(rng)
    x, objective = rng.normal(size=(20, 3)), rng.normal(size=(20, 10))
    no_leak = np.zeros((20, 1))
    value, gradient = _value_and_gradient(network, x, objective, no_leak)
    outputs = concatenated_outputs(network, x)
    np.testing.assert_allclose(value, np.sum(objective * outputs, axis=1))
    step = 1e-7
    for feature in range(3):
        moved = x.copy()
        moved[:, feature] += step
        slope = (_value_and_gradient(network, moved, objective, no_leak)[0] - value) / step
        np.testing.assert_allclose(gradient[:, feature], slope, atol=1e-4)


def test_a_leak_is_the_slope_of_units_that_are_off() -> None:
    layer = Layer("h", (Term(0, Dense(np.array([[2.0]]))),), np.array([-9.0]), True)
    network = Network(1, (layer,), (1,))
    one = np.ones((1, 1))
    assert _value_and_gradient(network, 0 * one, one, 0 * one)[1][0, 0] == 0.0
    assert _value_and_gradient(network, 0 * one, one, LEAK * one)[1][0, 0] == 2.0 * LEAK


def test_the_search_improves_on_its_starts_and_stays_in_the_domain() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        first, second = random_network(rng), random_network(rng)
        starts = BOX.sample(5, rng)
        apart = concatenated_outputs(first, starts) - concatenated_outputs(second, starts)
        every = SearchOptions(ascents=40)  # 10 components, 2 signs, 2 ascents
        found = search_difference(first, second, BOX, starts, apart, every)
        assert BOX.contains(found).all()
        reached = concatenated_outputs(first, found) - concatenated_outputs(second, found)
        assert np.all(reached.max(axis=0) >= apart.max(axis=0))
        assert np.all(reached.min(axis=0) <= apart.min(axis=0))
        assert np.abs(reached).max() > np.abs(apart).max()


def test_equal_networks_and_no_ascents_find_nothing() -> None:
    network = random_network(np.random.default_rng(3))
    starts = BOX.sample(4, np.random.default_rng(4))
    found = search_difference(network, network, BOX, starts, np.zeros((4, 10)))
    assert not (concatenated_outputs(network, found) - concatenated_outputs(network, found)).any()
    none = SearchOptions(ascents=0)
    assert len(search_difference(network, network, BOX, starts, np.zeros((4, 10)), none)) == 0
