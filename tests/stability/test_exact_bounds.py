"""Bounds contain the exact range, whatever the magnitudes: domain minima, intervals, linear
bounds.

Bounds of each layer are computed from proved bounds of the layers before it, as classification
does, and also from the exact ranges rounded outward, which leave no room for an error to hide in.
"""

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support import examples
from support.cells import domain_cells
from support.checks import check_bounds, inside
from support.exact import exact, rational
from support.oracle import Exact, enumerate_patterns, rounded_outward
from support.strategies import (
    PALETTES,
    domains,
    inexact_networks,
    networks_with_domain,
    raw_domains,
)

from leo_cli.arrays import Floats
from leo_cli.bounds.dual import initial
from leo_cli.bounds.interval import propagate
from leo_cli.bounds.linear import Relaxed, backward, relaxed
from leo_cli.bounds.slopes import optimise
from leo_cli.domain import Domain
from leo_cli.network import Network

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflow is meant to happen

Ranges = list[tuple[Floats, Floats]]


def interval_ranges(network: Network, domain: Domain) -> Ranges:
    found: Ranges = []
    for k, layer in enumerate(network.layers):
        lower, upper = [a for a, _ in found], [b for _, b in found]
        found.append(propagate(layer, domain, lower, upper, network.layers[:k]))
    return found


def each_problem(network: Network, domain: Domain, ranges: Ranges) -> list[Relaxed]:
    """What a linear bound of each layer starts from, where the bounds before it are finite."""
    lower, upper = [a for a, _ in ranges], [b for _, b in ranges]
    return [
        relaxed(network, domain, lower, upper, k)
        for k in range(len(network.layers))
        if all(np.isfinite(b).all() for b in (*lower[:k], *upper[:k]))
    ]


def sides(problem: Relaxed) -> Floats:
    """Objectives for min z and min -z of every unit of the target."""
    eye = np.eye(problem.network.layers[-1].width)
    return np.vstack([eye, -eye])


def check_sides(problem: Relaxed, bound: Floats, truth: Exact) -> None:
    width = problem.network.layers[-1].width
    # A NaN must not come out either: whoever compares with it would take the question for settled.
    check_bounds(bound[:width].tolist(), (-bound[width:]).tolist(), truth, problem.target)


@examples(100)
@given(raw_domains())
def test_normalising_a_domain_keeps_its_points(raw: dict[str, object]) -> None:
    # `domain_cells` reads attributes only, so it can enumerate what the constructor has not seen.
    before = {v for cell in domain_cells(SimpleNamespace(**raw)) for v in cell.vertices}  # type: ignore[arg-type]
    after = {v for cell in domain_cells(Domain(**raw)) for v in cell.vertices}  # type: ignore[arg-type]
    assert before == after


@examples(100)
@given(st.data())
def test_minimum_of_a_linear_form_over_the_domain(data: st.DataObject) -> None:
    domain = data.draw(domains())
    palette = data.draw(st.sampled_from(PALETTES))
    row = st.lists(st.sampled_from(palette), min_size=domain.inputs, max_size=domain.inputs)
    A = np.array(data.draw(st.lists(row, min_size=1, max_size=4)))
    cells = list(domain_cells(domain))
    points = domain.minimiser(A)
    for a, bound, point in zip(
        A.tolist(), domain.minimum(A).tolist(), rational(points), strict=True
    ):
        coefficients = [Fraction(c) for c in a]
        value = min(
            sum((c * v for c, v in zip(coefficients, vertex[1:], strict=True)), Fraction(0))
            / vertex[0]
            for cell in cells
            for vertex in cell.vertices
        )
        assert bound <= value
        size = sum(
            abs(c) * Fraction(m) for c, m in zip(coefficients, domain.magnitude, strict=True)
        )
        if not domain.relaxed and size < 2**1000:
            assert value - Fraction(bound) <= size / 2**45 + Fraction(1, 2**1000)
            attained = sum(c * x for c, x in zip(coefficients, point, strict=True))
            assert attained - value <= size / 2**45
            assert inside(domain, point)


@examples(100)
@given(networks_with_domain(), st.booleans())
def test_interval_bounds_contain_the_range(pair: tuple[Network, Domain], tight: bool) -> None:
    network, domain = pair
    truth = enumerate_patterns(network, domain)
    ranges = interval_ranges(network, domain)
    for k, layer in enumerate(network.layers):
        if tight:
            known = [rounded_outward(truth, before) for before in range(k)]
            lower, upper = [a for a, _ in known], [b for _, b in known]
            low, high = propagate(layer, domain, lower, upper, network.layers[:k])
        else:
            low, high = ranges[k]
        check_bounds(low.tolist(), high.tolist(), truth, k)


@examples(120)
@given(networks_with_domain(), st.booleans())
def test_linear_bounds_contain_the_range(pair: tuple[Network, Domain], tight: bool) -> None:
    network, domain = pair
    truth = enumerate_patterns(network, domain)
    exact_ranges = [rounded_outward(truth, k) for k in range(len(network.layers))]
    ranges = exact_ranges if tight else interval_ranges(network, domain)
    for problem in each_problem(network, domain, ranges):
        check_sides(problem, backward(problem, sides(problem)).bound, truth)


@examples(80)
@given(networks_with_domain(), st.booleans())
def test_optimised_slopes_contain_the_range(pair: tuple[Network, Domain], tight: bool) -> None:
    network, domain = pair
    truth = enumerate_patterns(network, domain)
    exact_ranges = [rounded_outward(truth, k) for k in range(len(network.layers))]
    ranges = exact_ranges if tight else interval_ranges(network, domain)
    for problem in each_problem(network, domain, ranges):
        objective = sides(problem)
        found = optimise(problem, objective, initial(problem, len(objective)), 5)
        check_sides(problem, found.bound, truth)


@examples(100)
@given(networks_with_domain(), st.data())
def test_any_slopes_in_range_give_a_valid_bound(
    pair: tuple[Network, Domain], data: st.DataObject
) -> None:
    network, domain = pair
    truth = enumerate_patterns(network, domain)
    ranges = [rounded_outward(truth, k) for k in range(len(network.layers))]
    slopes = st.sampled_from([0.0, 1.0, 0.5, 1 / 3, 5e-324, float(np.nextafter(1.0, 0.0))])
    for problem in each_problem(network, domain, ranges):
        objective = sides(problem)
        dual = initial(problem, len(objective))
        for alpha, default in zip(dual.alphas, problem.relaxations[:-1], strict=True):
            if alpha is not None and default is not None:
                free = (default.intercept > 0).nonzero()[0]
                for j in free:
                    alpha[:, j] = data.draw(slopes)
        check_sides(problem, optimise(problem, objective, dual, 0).bound, truth)


@examples(100)
@given(inexact_networks(), st.randoms(use_true_random=False))
def test_bounds_hold_for_all_that_declared_errors_allow(
    pair: tuple[Network, Domain], errors: object
) -> None:
    network, domain = pair
    real = exact(network, errors)  # type: ignore[arg-type]
    truth = enumerate_patterns(real, domain)
    assume(not truth.empty)
    ranges = interval_ranges(network, domain)
    for k, (low, high) in enumerate(ranges):
        check_bounds(low.tolist(), high.tolist(), truth, k)
    for problem in each_problem(network, domain, ranges):
        check_sides(problem, backward(problem, sides(problem)).bound, truth)
