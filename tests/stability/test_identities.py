"""Networks as exact sums of different units: equal to the network, and what they settle is true."""

import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples
from support.checks import check_stability
from support.exact import exact
from support.oracle import enumerate_patterns
from support.strategies import TAME, networks_with_domain

from leo_cli.arrays import Bools, Floats
from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.stability import Budget, ClassifyOptions, StabilityMap, State, classify
from leo_cli.stability.canonical import (
    CONSTANT,
    Canonical,
    Sum,
    TooLarge,
    alike,
    as_network,
    canonical,
)
from leo_cli.stability.encoding import findings_from, findings_to
from leo_cli.stability.evidence import IdentityEvidence
from leo_cli.stability.knowledge import Bound, Findings

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflow is meant to happen

PLENTY = 100_000


def value(sum_: Sum, x: list[Fraction], atoms: list[Fraction]) -> Fraction:
    known = {CONSTANT: Fraction(1), **{(0, i): v for i, v in enumerate(x)}}
    known |= {(1, i): v for i, v in enumerate(atoms)}
    return sum((c * known[at] for at, c in sum_.items()), Fraction(0))


def values(form: Canonical, x: list[Fraction]) -> list[Fraction]:
    atoms: list[Fraction] = []
    for atom in form.atoms:
        atoms.append(max(Fraction(0), value(atom.sum, x, atoms)))
    return [value(sum_, x, atoms) for sum_ in form.sums]


@examples(60)
@given(networks_with_domain(palettes=TAME))
def test_sums_are_the_units(case: tuple[Network, Domain]) -> None:
    """With and without what is proved on the domain, at vertices of the regions in which the
    network is affine."""
    network, domain = case
    truth = enumerate_patterns(network, domain)
    last = len(network.layers) - 1
    width = network.layers[last].width
    nothing = [np.zeros(layer.width, dtype=bool) for layer in network.layers]
    states: dict[str, list[Bools]] = {"inactive": [], "active": []}
    for k, layer in enumerate(network.layers):
        known = np.array([truth.state(k, j) for j in range(layer.width)])
        for name, masks in states.items():
            masks.append(known == name)
    for inactive, active in ((nothing, nothing), (states["inactive"], states["active"])):
        form = canonical(network, inactive, active, last, range(width), PLENTY)
        for vertex in truth.vertices[:10]:
            assert values(form, list(vertex)) == exact(network).pre_activations(vertex)[last]


@examples(60)
@given(networks_with_domain(palettes=TAME))
def test_the_network_of_the_sums_has_their_ranges(case: tuple[Network, Domain]) -> None:
    network, domain = case
    last = len(network.layers) - 1
    rows = list(range(network.layers[last].width))
    nothing = [np.zeros(layer.width, dtype=bool) for layer in network.layers]
    form = canonical(network, nothing, nothing, last, rows, PLENTY)
    try:
        small = as_network(network.inputs, form, rows, "float64")
    except TooLarge:
        return  # denormal numbers
    if any(layer.weight_error for layer in small.layers):
        return  # rounded, and says so
    truth, same = enumerate_patterns(network, domain), enumerate_patterns(small, domain)
    for row in rows:
        assert same.range(len(small.layers) - 1, row) == truth.range(last, row)


@examples(60)
@given(networks_with_domain())
def test_what_identities_settle_is_true(case: tuple[Network, Domain]) -> None:
    network, domain = case
    options = ClassifyOptions(deciders=("samples", "interval", "identities"))
    found = classify(network, domain, options, Budget(time.monotonic() + 0.2))
    check_stability(network, domain, found, enumerate_patterns(network, domain))


def minimum(k: int, sources: int, pairs: list[tuple[int, int]]) -> tuple[Layer, Layer]:
    """min(a, b) of pairs of units of node k, by relu(a + b), relu(-a - b), relu(a - b),
    relu(b - a)."""
    matrix, gather = np.zeros((4 * len(pairs), sources)), np.zeros((len(pairs), 4 * len(pairs)))
    for i, (a, b) in enumerate(pairs):
        for row, (p, q) in enumerate(((1, 1), (-1, -1), (1, -1), (-1, 1))):
            matrix[4 * i + row, a] += p
            matrix[4 * i + row, b] += q
        gather[i, 4 * i : 4 * i + 4] = 0.5, -0.5, -0.5, -0.5
    return (
        Layer(f"min{k}", (Term(k, Dense(matrix)),), np.zeros(4 * len(pairs)), relu=True),
        Layer(f"out{k}", (Term(k + 1, Dense(gather)),), np.zeros(len(pairs)), relu=False),
    )


def lattice(seed: int) -> Network:
    """min(min(a, b), c) - min(min(b, a), c), min(a, b) - min(min(a, b), c), and the opposites."""
    rng = np.random.default_rng(seed)
    forms = rng.normal(size=(3, 2)).astype(np.float32).astype(np.float64)
    bias = 0.1 * rng.normal(size=3).astype(np.float32).astype(np.float64)
    first = Layer("forms", (Term(0, Dense(forms)),), bias, relu=False)
    # a, b, c -> ab, ba, c -> ab, (ab)c, (ba)c
    second = minimum(1, 3, [(0, 1), (1, 0), (2, 2)])
    third = minimum(3, 3, [(0, 0), (0, 2), (2, 1)])
    rows = np.array([[0.0, 1.0, -1.0], [0.0, -1.0, 1.0], [1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]])
    last = Layer("differences", (Term(5, Dense(rows)),), np.zeros(4), relu=True)
    return Network(2, (first, *second, *third, last), (6,))


def states(found: StabilityMap) -> list[State]:
    return [verdict.state for verdict in found.layers[-1].verdicts]


@pytest.mark.parametrize("seed", range(4))
def test_minima_built_in_different_ways_are_seen_to_be_equal(seed: int) -> None:
    network, domain = lattice(seed), Domain(-np.ones(2), np.ones(2), "float64")
    found = classify(network, domain, budget=Budget(time.monotonic() + 5))
    # where a < c everywhere, or the like, bounds alone settle more than that
    truth = enumerate_patterns(network, domain)
    assert [state.value for state in states(found)] == [truth.state(5, j) for j in range(4)]
    without = ClassifyOptions(
        deciders=("samples", "interval", "linear", "exact", "slopes", "ascent")
    )
    assert State.UNDECIDED in states(classify(network, domain, without))


def test_sums_that_are_too_large_are_refused() -> None:
    network = lattice(0)
    nothing = [np.zeros(layer.width, dtype=bool) for layer in network.layers]
    with pytest.raises(TooLarge):
        canonical(network, nothing, nothing, 5, range(4), 10)


def test_coefficients_that_float64_cannot_hold_are_declared() -> None:
    """Two multiples of one unit with a ratio that is not dyadic."""
    first = Layer("a", (Term(0, Dense(np.array([[3.0], [1.0]]))),), np.zeros(2), relu=True)
    last = Layer("b", (Term(1, Dense(np.array([[0.0, 1.0]]))),), np.zeros(1), relu=True)
    network = Network(1, (first, last), (2,))
    nothing = [np.zeros(2, dtype=bool), np.zeros(1, dtype=bool)]
    form = canonical(network, nothing, nothing, 1, [0], PLENTY)
    assert form.sums[0] == {(1, 0): Fraction(1, 3)}
    small = as_network(1, form, [0], "float64")
    assert small.layers[0].weight_error == 0.0
    assert small.layers[1].weight_error > 0.0


@given(st.integers(0, 10**6), st.sampled_from([2.0, 0.1, -1.0, -3.7, 0.0]))
@examples(40)
def test_multiples_are_noticed(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    columns: Floats = rng.normal(size=(24, 5))
    assert not alike(columns)
    assert alike(np.hstack([columns, factor * columns[:, :1]]))


def test_evidence_goes_through_the_journal() -> None:
    bound = Bound(3, 1, True, -0.0, IdentityEvidence())
    assert findings_from(findings_to(Findings((bound,)))).bounds == (bound,)
