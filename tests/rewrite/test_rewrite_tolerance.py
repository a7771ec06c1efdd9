"""Tolerances, and what they allow."""

import numpy as np
import pytest
from rewrite_cases import chain, unit_box

from leo_cli.domain import Domain, LinearConstraint
from leo_cli.errors import InputError
from leo_cli.rewrite.attained import attained_magnitude
from leo_cli.rewrite.tolerance import Tolerance, allowance, parse_tolerance


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("half-ulp", "half-ulp", 0.0),
        ("0", "absolute", 0.0),
        ("1e-6", "absolute", 1e-6),
        ("1e-5r", "relative", 1e-5),
        ("0r", "relative", 0.0),
    ],
)
def test_parse(text: str, kind: str, value: float) -> None:
    assert parse_tolerance(text) == Tolerance(kind, value)
    assert parse_tolerance(str(parse_tolerance(text))) == parse_tolerance(text)


@pytest.mark.parametrize("text", ["", "r", "-1", "nan", "inf", "1e-5%", "half", "1e999"])
def test_parse_says_what_is_possible(text: str) -> None:
    with pytest.raises(InputError, match="half-ulp"):
        parse_tolerance(text)


def test_zero_is_zero_in_each_spelling() -> None:
    assert parse_tolerance("0").is_zero
    assert parse_tolerance("0r").is_zero
    assert not parse_tolerance("half-ulp").is_zero


def test_allowance_is_of_the_magnitude_attained() -> None:
    # outputs x + y in [0, 2] and 3 (x - y) in [-3, 3], both attained at corners
    network = chain(([[1.0, 1.0], [3.0, -3.0]], [0.0, 0.0]))
    domain = unit_box(2)
    size = attained_magnitude(network, domain)
    assert np.allclose(size, [2.0, 3.0], rtol=1e-12)
    assert (size <= [2.0, 3.0]).all()
    half = allowance(Tolerance(), network, domain)
    # just below 2, where an ulp of float32 is 2**-23
    assert half.tolist() == [2.0**-24, 2.0**-23]
    relative = allowance(Tolerance("relative", 1e-3), network, domain)
    assert (relative <= [2e-3, 3e-3]).all()
    assert np.allclose(relative, [2e-3, 3e-3])
    assert allowance(Tolerance("absolute", 0.25), network, domain).tolist() == [0.25, 0.25]


def test_upper_bounds_buy_nothing() -> None:
    # relu(x - y) + relu(y - x) is at most 1, its interval bound is 2
    network = chain(([[1.0, -1.0], [-1.0, 1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [0.0]))
    assert allowance(Tolerance("relative", 1.0), network, unit_box(2))[0] <= 1.0


def test_magnitudes_are_attained_inside_linear_constraints() -> None:
    network = chain(([[1.0, 1.0]], [0.0]))
    constraint = LinearConstraint(np.array([1.0, 1.0]), "<=", 0.5)
    domain = Domain(np.zeros(2), np.ones(2), constraints=(constraint,))
    size = attained_magnitude(network, domain)
    assert 0.4 < size[0] <= 0.5


def test_the_search_climbs_to_a_corner_that_samples_miss() -> None:
    rng = np.random.default_rng(3)
    row = rng.normal(size=60).astype(np.float32).astype(np.float64)
    network = chain(([row.tolist()], [0.0]))
    best = max(row[row > 0].sum(), -row[row < 0].sum())
    assert attained_magnitude(network, unit_box(60))[0] == pytest.approx(best, rel=1e-9)


def test_the_same_seed_allows_the_same() -> None:
    network = chain(([[1.0, -2.0], [0.5, 1.0]], [0.1, -0.2]), ([[1.0, -1.0]], [0.0]))
    first = attained_magnitude(network, unit_box(2), seed=7)
    assert np.array_equal(first, attained_magnitude(network, unit_box(2), seed=7))
