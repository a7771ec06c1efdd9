"""Rewrites that drop units, terms and layers without any deviation."""

from dataclasses import replace

import numpy as np
from rewrite_cases import chain, check, refused, subject, taken, unit_box

from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Scaled, Term
from leo_cli.rewrite.constant_units import constant_units
from leo_cli.rewrite.drop_inactive import drop_inactive
from leo_cli.rewrite.drop_unread import drop_unread
from leo_cli.rewrite.subject import subject_of
from leo_cli.stability.verdict import LayerStability, StabilityMap, State, Verdict


def test_inactive_units_go_with_their_columns() -> None:
    network = chain(([[1.0], [1.0], [-2.0]], [-1.0, 0.5, 1.0]), ([[3.0, 5.0, 7.0]], [0.25]))
    step = check(drop_inactive, subject(network), 0)
    assert step.units == (0,)  # max of x - 1 is 0: inactive
    assert step.deviation.tolist() == [0.0]
    assert step.network.layers[1].terms[0].map.rows(slice(None)).tolist() == [[5.0, 7.0]]
    assert step.network.layers[0].origin.tolist() == [1, 2]


def test_a_layer_that_is_inactive_throughout_leaves_a_constant() -> None:
    network = chain(([[1.0], [1.0]], [-2.0, -3.0]), ([[1.0, 1.0]], [1.5]), ([[2.0]], [0.5]))
    step = check(drop_inactive, subject(network), 0)
    assert [layer.name for layer in step.network.layers] == ["b", "c"]
    assert step.network.layers[0].terms == ()
    assert step.network.evaluate(np.zeros((1, 1)))[0].tolist() == [[3.5]]


def test_outputs_keep_their_units() -> None:
    network = replace(chain(([[1.0]], [-2.0]), ([[1.0]], [0.0])), outputs=(1, 2))
    assert "outside" in refused(drop_inactive(subject(network), 0))
    assert "outside" in refused(drop_inactive(subject(replace(network, outputs=(1,))), 0))


def test_a_layer_without_relu_has_no_inactive_units() -> None:
    network = chain(([[1.0]], [-2.0]), ([[1.0]], [0.0]))
    linear = replace(network.layers[0], relu=False)
    network = replace(network, layers=(linear, network.layers[1]))
    assert "ReLU" in refused(drop_inactive(subject(network), 0))


def test_trusted_claims_count_as_bounds() -> None:
    network = chain(([[1.0]], [-0.5]), ([[1.0]], [0.0]))
    verdict = Verdict(State.INACTIVE, "milp", -np.inf, np.inf, claim="x", trusted=True)
    unknown = np.array([np.inf])
    stability = StabilityMap(
        (LayerStability(-unknown, unknown, (verdict,)), LayerStability(-unknown, unknown)),
        np.zeros((0, 1)),
    )
    claimed = subject_of(network, stability, unit_box(1), np.zeros(1), subject(network).cost)
    assert taken(drop_inactive(claimed, 0)).units == (0,)
    undecided = replace(verdict, state=State.UNDECIDED, trusted=False)
    stability = replace(
        stability, layers=(replace(stability.layers[0], verdicts=(undecided,)), stability.layers[1])
    )
    kept = subject_of(network, stability, unit_box(1), np.zeros(1), subject(network).cost)
    assert "no unit" in refused(drop_inactive(kept, 0))


def test_unread_units_terms_and_layers() -> None:
    first = Layer("a", (Term(0, Dense(np.array([[1.0], [2.0]]))),), np.zeros(2), True)
    second = Layer(
        "b",
        (Term(1, Dense(np.array([[0.0, 3.0]]))), Term(0, Dense(np.zeros((1, 1))))),
        np.zeros(1),
        False,
    )
    network = Network(1, (first, second), (2,))
    step = check(drop_unread, subject(network), 0)
    assert step.units == (0,)
    step = check(drop_unread, subject(network), 1)
    assert [t.source for t in step.network.layers[1].terms] == [1]
    nobody = replace(network, outputs=(1,))
    step = check(drop_unread, subject(nobody), 1)
    assert [layer.name for layer in step.network.layers] == ["a"]


def test_dead_rows_of_a_selection_go_and_it_stays_one() -> None:
    scaled = Layer(
        "n", (Term(0, Scaled(np.arange(3), np.array([0.5, 2.0, 4.0]), 3)),), np.ones(3), False
    )
    head = Layer("a", (Term(1, Dense(np.array([[1.0, 0.0, 1.0]]))),), np.zeros(1), False)
    step = check(drop_unread, subject(Network(3, (scaled, head), (2,))), 0)
    kept = step.network.layers[0].terms[0].map
    assert isinstance(kept, Scaled)
    assert kept.index.tolist() == [0, 2]


def test_constant_units_go_into_the_next_bias() -> None:
    network = chain(
        ([[0.0], [0.0], [1.0]], [0.5, -1.0, 0.0]), ([[2.0, 1.0, 1.0], [4.0, 1.0, 1.0]], [1.0, 0.0])
    )
    step = check(constant_units, subject(network), 0)
    assert step.units == (0, 1)
    assert step.network.layers[1].bias.tolist() == [2.0, 2.0]
    assert not step.deviation.any()


def test_inputs_fixed_by_the_domain_make_units_constant() -> None:
    network = chain(([[2.0, 0.0], [0.0, 1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [0.0]))
    domain = Domain(np.array([0.25, 0.0]), np.array([0.25, 1.0]))
    step = check(constant_units, subject(network, domain), 0)
    assert step.units == (0,)
    assert step.network.layers[1].bias.tolist() == [0.5]


def test_a_bias_that_would_be_rounded_needs_an_allowance() -> None:
    network = chain(([[0.0], [1.0]], [1.0, 0.0]), ([[1.0, 1.0]], [2.0**-30]))
    assert "rounding" in refused(constant_units(subject(network), 0))
    step = check(constant_units, subject(network, allowed=1e-6), 0)
    assert 2.0**-30 <= step.deviation[0] < 2.0**-29


def test_an_operators_coefficients_are_not_changed() -> None:
    network = chain(([[0.0], [1.0]], [1.0, 0.0]), ([[1.0, 1.0]], [0.0]))
    computed = replace(network.layers[1], weight_error=2.0**-52)
    network = replace(network, layers=(network.layers[0], computed))
    assert "operator" in refused(constant_units(subject(network), 0))
