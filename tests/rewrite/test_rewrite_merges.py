"""Merges of units, and what becomes of those that pass their pre-activation on."""

from dataclasses import replace

import numpy as np
import pytest
from rewrite_cases import chain, check, holds, refused, subject, taken, unit_box

from leo_cli.network import Dense, Layer, Network, Scaled, Term
from leo_cli.rewrite.cost import Cost
from leo_cli.rewrite.fold import bypass, fold_linear, fold_stable
from leo_cli.rewrite.merge_dependent import merge_dependent
from leo_cli.rewrite.negligible_units import negligible_units
from leo_cli.rewrite.opposite_rows import opposite_rows
from leo_cli.rewrite.product_rank import product_rank
from leo_cli.rewrite.same_direction import same_direction
from leo_cli.rewrite.subject import LayerRewrite, Rewrite, Subject, subject_of
from leo_cli.rewrite.unused_inputs import unused_inputs
from leo_cli.stability.verdict import LayerStability, StabilityMap


def matrix(network: Network, k: int, term: int = 0) -> list[list[float]]:
    return network.layers[k].terms[term].map.rows(slice(None)).tolist()


def test_duplicates_and_multiples_become_one_unit() -> None:
    network = chain(
        ([[3.0, -3.0], [1.0, -1.0], [1.0, -1.0]], [0.75, 0.25, 0.25]), ([[2.0, 1.0, 4.0]], [0.0])
    )
    step = check(same_direction, subject(network), 0)
    assert step.deviation.tolist() == [0.0]
    # the row of which the others are exact multiples stays: 3, not 1/3
    assert matrix(step.network, 0) == [[1.0, -1.0]]
    assert matrix(step.network, 1) == [[2.0 * 3.0 + 1.0 + 4.0]]


def test_opposite_directions_are_not_the_same() -> None:
    network = chain(([[1.0], [-1.0]], [-0.5, 0.5]), ([[1.0, 1.0]], [0.0]))
    assert "direction" in refused(same_direction(subject(network), 0))
    linear = replace(network.layers[0], relu=False)
    flat = replace(network, layers=(linear, network.layers[1]))
    assert check(same_direction, subject(flat), 0).network.layers[0].width == 1


def test_nearly_parallel_rows_need_an_allowance() -> None:
    near = 1.0 + 2.0**-20
    network = chain(([[1.0, -1.0], [near, -1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [0.0]))
    assert "deviation" in refused(same_direction(subject(network), 0))
    step = check(same_direction, subject(network, allowed=1e-5), 0)
    assert 0 < step.deviation[0] <= 1e-5


def test_opposite_pairs_become_linear_where_the_kink_cancels() -> None:
    # relu(z) - relu(-z) = z for three z, which one row of readers can take as one linear unit
    rows = [[1.0, -1.0, 0.5], [0.5, 1.0, -1.0], [1.0, 1.0, -2.0]]
    both = [*rows, *[[-w for w in row] for row in rows]]
    network = chain((both, [0.0] * 6), ([[1.0, 2.0, 0.5, -1.0, -2.0, -0.5]], [0.25]))
    before = subject(network, allowed=1e-6)
    step = check(opposite_rows, before, 0)
    assert step.network.connections <= 4
    assert "product_rank" in step.note or "fold_stable" in step.note


def test_opposite_rows_that_do_not_pay_stay() -> None:
    network = chain(([[1.0], [-1.0]], [-0.5, 0.5]), ([[1.0, 3.0]], [0.0]))
    assert "costs" in refused(opposite_rows(subject(network), 0))


def test_dependent_active_rows_merge_exactly() -> None:
    # LEO, section 4.2: the third row is the sum of the first two
    network = chain(
        ([[1.0, 2.0], [3.0, -1.0], [4.0, 1.0]], [8.0, 8.0, 1.0]),
        ([[1.0, 2.0, 0.5], [1.0, 1.0, 1.0]], [0.0, 1.0]),
    )
    step = check(merge_dependent, subject(network), 0)
    assert step.deviation.tolist() == [0.0, 0.0]
    assert step.network.layers[0].width == 2
    independent = chain(([[1.0, 2.0], [3.0, -1.0]], [8.0, 8.0]), ([[1.0, 2.0]], [0.0]))
    assert "independent" in refused(merge_dependent(subject(independent), 0))


def test_the_product_rank_counts_what_readers_tell_apart() -> None:
    # three independent active rows, one reader: one linear unit
    network = chain(
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [1.0, 1.0, 1.0]),
        ([[1.0, 2.0, -4.0]], [0.5]),
    )
    before = subject(network, allowed=1e-6)
    assert "independent" in refused(merge_dependent(subject(network), 0))
    step = check(product_rank, before, 0)
    assert step.network.layers[0].width == 1
    assert step.network.layers[0].origin.tolist() == [-1]
    assert step.lower[0][0] > 0  # kept positive, with room


def test_original_rows_are_preferred_and_unstable_ones_stay() -> None:
    network = chain(
        ([[1.0, 1.0], [1.0, -1.0], [2.0, 2.0], [-1.0, 1.0]], [1.0, 0.0, 3.0, 3.0]),
        ([[1.0, 1.0, 1.0, 2.0], [1.0, -1.0, 1.0, 0.0]], [0.0, 0.0]),
    )
    step = check(product_rank, subject(network, allowed=1e-6), 0)
    assert 1 in step.network.layers[0].origin.tolist()
    assert (step.network.layers[0].origin >= 0).all()
    assert step.network.layers[0].width == 3


def test_precision_costs_units_not_correctness() -> None:
    # readers that amplify: float32 factors alone are too coarse for the allowance
    rng = np.random.default_rng(1)

    def stored(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32).astype(np.float64)

    rows, reader = stored(9, 2), stored(5, 9)
    network = chain(
        (rows.tolist(), (np.abs(rows).sum(axis=1) + 1).astype(np.float32).tolist()),
        (reader.tolist(), stored(5).tolist()),
    )
    coarse = check(product_rank, subject(network, allowed=1e-5), 0)
    fine = check(product_rank, subject(network, allowed=1e-10), 0)
    assert coarse.network.layers[0].width == 2
    assert 2 < fine.network.layers[0].width < 9
    assert fine.deviation.max() <= 1e-10


def test_several_readers_and_sources() -> None:
    first = Layer(
        "a",
        (Term(0, Dense(np.array([[1.0, 2.0], [2.0, 4.0], [1.0, -1.0]]))),),
        np.full(3, 2.0),
        True,
    )
    second = Layer(
        "b",
        (Term(1, Dense(np.array([[1.0, 1.0, 1.0]]))), Term(0, Dense(np.array([[1.0, 0.0]])))),
        np.array([-1.0]),
        True,
    )
    last = Layer(
        "c",
        (Term(2, Dense(np.array([[1.0]]))), Term(1, Dense(np.array([[1.0, -1.0, 0.5]])))),
        np.zeros(1),
        False,
    )
    network = Network(2, (first, second, last), (3,))
    for rewrite in (product_rank, merge_dependent):
        assert check(rewrite, subject(network, allowed=1e-5), 0).network.layers[0].width == 2


def test_stable_layers_fold_and_only_where_smaller() -> None:
    network = chain(([[1.0, 0.5], [2.0, 1.0]], [1.0, 1.0]), ([[1.0, 1.0]], [0.0]), ([[2.0]], [0.0]))
    before = subject(network)
    step = check(fold_stable, before, 0)
    assert [layer.name for layer in step.network.layers] == ["b", "c"]
    assert matrix(step.network, 0) == [[3.0, 1.5]]
    assert step.network.layers[0].bias.tolist() == [2.0]
    assert not step.deviation.any()
    growing = chain(([[1.0] * 9], [1.0]), ([[1.0]] * 9, [0.0] * 9))
    before = subject(growing)
    step = taken(fold_stable(before, 0))
    assert not before.cost.cheaper(step.network, growing)
    unstable = chain(([[1.0], [1.0]], [-0.5, 1.0]), ([[1.0, 1.0]], [0.0]))
    assert "active" in refused(fold_stable(subject(unstable), 0))


def test_linear_layers_and_normalisations_fold() -> None:
    scaled = Layer(
        "n",
        (Term(1, Scaled(np.array([1, 0]), np.array([0.5, 2.0]), 2)),),
        np.array([1.0, 0.0]),
        True,
    )
    first = Layer(
        "a", (Term(0, Dense(np.array([[1.0, 2.0], [3.0, 4.0]]))),), np.array([0.5, 0.0]), False
    )
    head = Layer("c", (Term(2, Dense(np.array([[1.0, 1.0]]))),), np.zeros(1), False)
    network = Network(2, (first, scaled, head), (3,))
    step = check(fold_linear, subject(network), 0)
    assert [layer.name for layer in step.network.layers] == ["n", "c"]
    assert matrix(step.network, 0) == [[1.5, 2.0], [2.0, 4.0]]
    assert "ReLU" in refused(fold_linear(subject(network), 1))


def test_a_normalisation_computed_by_an_operator_becomes_stored_numbers() -> None:
    first = Layer("a", (Term(0, Dense(np.array([[1.0, 2.0]]))),), np.zeros(1), False)
    third = Layer(
        "n",
        (Term(1, Scaled(np.array([0]), np.array([1 / 3]), 1)),),
        np.zeros(1),
        True,
        weight_error=2.0**-52,
    )
    network = Network(2, (first, third), (2,))
    before = subject(network, allowed=1e-6)
    step = check(fold_linear, before, 0)
    folded = step.network.layers[0]
    assert folded.weight_error == 0.0
    assert matrix(step.network, 0) == [[float(np.float32(1 / 3)), float(np.float32(2 / 3))]]
    # half of what rounding moves over the domain: the other half is absorbed in the bias
    assert step.deviation[0] >= abs(float(np.float32(1 / 3)) - 1 / 3) * 1.5


def test_a_stable_part_can_be_bypassed() -> None:
    # two inputs, two readers: a direct path has 4 connections, four active units have 16
    rows = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [1.0, -1.0]]
    network = chain(
        (rows, [1.0, 1.0, 1.0, 1.0, 0.0]), ([[1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]], [0.0, 0.0])
    )
    step = check(bypass, subject(network), 0)
    assert step.network.layers[0].width == 1
    assert [t.source for t in step.network.layers[1].terms] == [1, 0]
    assert step.network.connections == 2 + 2 + 4
    assert not step.deviation.any()


def test_a_bypass_joins_a_path_that_is_there() -> None:
    first = Layer("a", (Term(0, Dense(np.array([[1.0], [-1.0]]))),), np.array([1.0, 0.5]), True)
    second = Layer(
        "b",
        (Term(1, Dense(np.array([[2.0, 1.0]]))), Term(0, Dense(np.array([[3.0]])))),
        np.zeros(1),
        False,
    )
    step = check(bypass, subject(Network(1, (first, second), (2,))), 0)
    assert matrix(step.network, 1, 1) == [[5.0]]


def test_negligible_units_stable_or_not() -> None:
    network = chain(
        ([[1.0], [2.0**-20], [1.0]], [-0.5, -(2.0**-21), 0.0]), ([[1.0, 1.0, 2.0**-22]], [0.0])
    )
    assert "allowed" in refused(negligible_units(subject(network), 0))
    step = check(negligible_units, subject(network, allowed=1e-6), 0)
    assert set(step.units) == {1, 2}
    assert "more than" in refused(negligible_units(subject(network, allowed=1e-9), 0))


def wide_input(columns: np.ndarray) -> Network:
    hidden = Layer("a", (Term(0, Dense(columns)),), np.zeros(len(columns)), True)
    head = Layer("b", (Term(1, Dense(np.ones((1, len(columns))))),), np.zeros(1), False)
    return Network(columns.shape[1], (hidden, head), (2,))


def input_subject(network: Network, allowed: float) -> Subject:
    """With interval bounds only."""
    unknown = StabilityMap(
        tuple(
            LayerStability(np.full(layer.width, -np.inf), np.full(layer.width, np.inf))
            for layer in network.layers
        ),
        np.zeros((0, network.inputs)),
    )
    return subject_of(network, unknown, unit_box(network.inputs), np.full(1, allowed), Cost())


def test_unused_inputs_are_selected_away() -> None:
    rng = np.random.default_rng(0)
    columns = rng.choice([-1.0, 0.5, 1.0], (40, 120))
    columns[:, ::2] = 0.0
    network = wide_input(columns)
    step = taken(unused_inputs(input_subject(network, 0.0), 0))
    assert not step.deviation.any()
    assert step.units == tuple(range(0, 120, 2))
    assert step.network.inputs == 120
    assert isinstance(step.network.layers[0].terms[0].map, Scaled)
    x = rng.random((20, 120))
    assert np.allclose(network.evaluate(x)[0], step.network.evaluate(x)[0], atol=1e-12)
    assert "saved" in refused(unused_inputs(input_subject(wide_input(columns[:2]), 0.0), 0))
    both = replace(network, outputs=(0, 2))
    assert "output" in refused(unused_inputs(replace(input_subject(network, 0.0), network=both), 0))


def test_faint_inputs_go_within_the_allowance() -> None:
    rng = np.random.default_rng(0)
    columns = rng.choice([-1.0, 0.5, 1.0], (40, 120))
    columns[:, ::2] *= 2.0**-30
    network = wide_input(columns)
    assert "needed" in refused(unused_inputs(input_subject(network, 0.0), 0))
    step = taken(unused_inputs(input_subject(network, 1e-4), 0))
    assert len(step.units) == 60
    assert 0 < step.deviation[0] <= 1e-4


@pytest.mark.parametrize("rewrite", [product_rank, merge_dependent, same_direction, opposite_rows])
def test_a_node_read_twice_is_left_alone(rewrite: LayerRewrite) -> None:
    first = Layer("a", (Term(0, Dense(np.array([[1.0], [2.0]]))),), np.ones(2), True)
    twice = Layer(
        "b", (Term(1, Dense(np.ones((1, 2)))), Term(1, Dense(np.ones((1, 2))))), np.zeros(1), False
    )
    assert "twice" in refused(rewrite(subject(Network(1, (first, twice), (2,))), 0))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_half_precision_stays_in_range() -> None:
    network = chain(([[60000.0], [60000.0]], [1.0, 2.0]), ([[1.0, 1.0]], [0.0]), dtype="float16")
    before = subject(network, allowed=1e6)
    for rewrite in (same_direction, merge_dependent, product_rank, fold_stable):
        answer = rewrite(before, 0)
        if isinstance(answer, Rewrite):
            assert holds(answer, before)
            for layer in answer.network.layers:
                assert all(np.isfinite(t.map.rows(slice(None))).all() for t in layer.terms)
