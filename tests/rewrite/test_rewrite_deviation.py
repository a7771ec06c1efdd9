"""The certificate: a change of pre-activations against what it really does, exactly."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rewrite_cases import chain, distance, planted, subject, unit_box
from support import examples
from support.exact import difference, exact
from support.oracle import enumerate_patterns

from leo_cli.domain import Domain
from leo_cli.network import Dense, Network, Term
from leo_cli.rewrite.deviation import Perturbation, effect
from leo_cli.rewrite.subject import Subject


def changed(seed: int, size: float) -> tuple[Subject, Perturbation, Network]:
    """A network, a change of one of its layers that is affine in the layer's sources, and the
    network after it."""
    network, domain = planted(seed)
    rng = np.random.default_rng(seed)
    c = int(rng.integers(3))
    layer = network.layers[c]
    offset = size * rng.choice([-1.0, 0.0, 0.5, 1.0], layer.width)
    maps, terms = {}, []
    for term in layer.terms:
        move = size * rng.choice([-1.0, 0.0, 0.0, 0.5], (layer.width, term.map.in_features))
        maps[term.source] = move
        terms.append(Term(term.source, Dense(term.map.rows(slice(None)) + move)))
    after = list(network.layers)
    after[c] = replace(layer, terms=tuple(terms), bias=layer.bias + offset)
    change = Perturbation({c: np.eye(layer.width)}, offset, np.zeros(layer.width), maps)
    return subject(network, domain), change, replace(network, layers=tuple(after))


@examples(150)
@given(st.integers(0, 10**6), st.sampled_from([2.0**-20, 2.0**-4, 1.0]))
def test_effects_are_bounds(seed: int, size: float) -> None:
    before, change, after = changed(seed, size)
    moved = effect(before, change)
    real = distance(before.network, after, before.domain)
    assert all(r <= d for r, d in zip(real, moved.deviation.tolist(), strict=True))
    for k in range(3):
        every = tuple(replace(layer, relu=j < k) for j, layer in enumerate(before.network.layers))
        ours = Network(before.network.inputs, every[: k + 1], (k + 1,))
        theirs = Network(
            before.network.inputs,
            tuple(replace(layer, relu=j < k) for j, layer in enumerate(after.layers[: k + 1])),
            (k + 1,),
        )
        gap = difference(exact(theirs), exact(ours))
        found = enumerate_patterns(gap, before.domain)
        for j in range(ours.width(k + 1)):
            low, high = found.range(len(gap.layers) - 1, j)
            assert moved.low[k][j] <= low <= high <= moved.high[k][j]


def test_signed_effects_cancel_before_absolute_values() -> None:
    # both units are active, and the output subtracts what both gain
    network = chain(([[1.0], [1.0]], [1.0, 2.0]), ([[1.0, -1.0]], [0.0]))
    same = Perturbation({0: np.array([[1.0], [1.0]])}, np.array([0.5]), np.array([0.25]))
    assert effect(subject(network), same).deviation[0] < 1e-12
    apart = Perturbation({0: np.array([[1.0], [-1.0]])}, np.array([0.5]), np.zeros(1))
    assert effect(subject(network), apart).deviation[0] >= 1.0


def test_inactive_units_feel_nothing_and_unstable_ones_at_most_all() -> None:
    network = chain(([[1.0], [1.0]], [-3.0, -0.5]), ([[1.0, 2.0]], [0.0]))
    shift = Perturbation({0: np.eye(2)}, np.array([0.25, 0.25]), np.zeros(2))
    moved = effect(subject(network), shift)
    assert moved.deviation[0] >= 0.5
    assert moved.deviation[0] <= 0.5 * (1 + 1e-9)


def test_a_margin_smaller_than_the_change_is_not_trusted() -> None:
    # inactive by 1/4, pushed by 1/2: the unit wakes up and moves the output by up to 1/4
    network = chain(([[1.0]], [-1.25]), ([[1.0]], [0.0]))
    push = Perturbation({0: np.eye(1)}, np.array([0.5]), np.zeros(1))
    assert effect(subject(network), push).deviation[0] >= 0.25


def test_no_change_has_no_effect() -> None:
    network, domain = planted(5)
    width = network.layers[0].width
    nothing = Perturbation({0: np.eye(width)}, np.zeros(width), np.zeros(width))
    moved = effect(subject(network, domain), nothing)
    assert not moved.deviation.any()
    assert all(
        not low.any() and not high.any() for low, high in zip(moved.low, moved.high, strict=True)
    )


def test_ranges_over_the_domain_not_norms() -> None:
    # the change is x - x' of two inputs that a box of one point ties together
    domain = Domain(np.array([0.5, 0.5]), np.array([0.5, 0.5]))
    network = chain(([[1.0, 1.0]], [0.0]))
    tied = Perturbation({0: np.eye(1)}, np.zeros(1), np.zeros(1), {0: np.array([[1.0, -1.0]])})
    assert effect(subject(network, domain), tied).deviation[0] < 1e-12
    assert effect(subject(network, unit_box(2)), tied).deviation[0] >= 1.0
