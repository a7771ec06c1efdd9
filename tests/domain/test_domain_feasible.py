"""A feasible point is found exactly where enumeration finds one; the simplex never claims anything
false."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leo_cli.domain import Domain, LinearConstraint, OneHot
from leo_cli.domain.feasible import _exact_search, search
from leo_cli.domain.simplex import LinearSystem, SearchLimitError, Work
from leo_cli.errors import DomainError

SMALL = st.sampled_from([0, 0, 1, -1, 2, -3])


@given(st.data())
def test_integers_and_groups_against_enumeration(data: st.DataObject) -> None:
    """All features discrete: the domain is finite, and searched completely here."""
    members = data.draw(st.integers(0, 3))
    inputs = members + data.draw(st.integers(1, 2))
    lower = np.zeros(inputs)
    upper = np.ones(inputs)
    for i in range(members, inputs):
        lower[i] = data.draw(st.integers(-2, 1))
        upper[i] = lower[i] + data.draw(st.integers(0, 3))
    groups = ()
    if members:
        cold = np.array([float(data.draw(SMALL)) for _ in range(members)])
        hot = cold + np.array([data.draw(st.sampled_from([1, -2, 3])) for _ in range(members)])
        lower[:members], upper[:members] = np.minimum(cold, hot), np.maximum(cold, hot)
        groups = (OneHot(np.arange(members), cold, hot),)
    integer = np.arange(inputs) >= members
    constraints = tuple(
        LinearConstraint(
            np.array([float(data.draw(SMALL)) for _ in range(inputs)]),
            data.draw(st.sampled_from(["<=", "=="])),
            data.draw(st.integers(-4, 4)) / data.draw(st.sampled_from([1, 2])),
        )
        for _ in range(data.draw(st.integers(1, 3)))
    )
    domain = Domain(lower, upper, "float32", integer, groups, constraints)
    ranges = [range(int(a), int(b) + 1) for a, b in zip(lower, upper, strict=True)]
    everything = np.array(list(product(*ranges)), dtype=np.float64)
    if domain.contains(everything).any():
        for point in (domain.feasible_point(), _exact_search(domain, domain.lower)):
            assert domain.contains(point[None, :])[0]
    else:
        with pytest.raises(DomainError, match="empty"):
            domain.feasible_point()


@given(st.data())
def test_the_simplex_against_all_vertices_of_the_plane(data: st.DataObject) -> None:
    """Two variables in a box: feasible if and only if a point where two boundaries meet is."""
    lower = {0: Fraction(data.draw(SMALL)), 1: Fraction(data.draw(SMALL))}
    upper = {i: low + data.draw(st.integers(0, 4)) for i, low in lower.items()}
    rows = []
    for _ in range(data.draw(st.integers(1, 4))):
        a = {0: Fraction(data.draw(SMALL)), 1: Fraction(data.draw(SMALL))}
        rows.append((a, Fraction(data.draw(st.integers(-6, 6)), data.draw(st.integers(1, 3)))))
    values = LinearSystem(lower, upper, rows).solve(Work(10**6))
    box = [({i: Fraction(1)}, upper[i]) for i in (0, 1)]
    box += [({i: Fraction(-1)}, -lower[i]) for i in (0, 1)]
    limits = [(a.get(0, Fraction(0)), a.get(1, Fraction(0)), b) for a, b in rows + box]

    def feasible(x: Fraction, y: Fraction) -> bool:
        return all(a * x + b * y <= c for a, b, c in limits)

    if values is not None:
        assert feasible(values[0], values[1])
        return
    for (a, b, c), (d, e, f) in combinations(limits, 2):
        determinant = a * e - b * d
        if determinant:
            assert not feasible((c * e - b * f) / determinant, (a * f - c * d) / determinant)


def test_equalities_of_the_simplex() -> None:
    one = Fraction(1)
    system = LinearSystem(
        {0: Fraction(0), 1: Fraction(0)}, {0: one, 1: one}, (), [({0: one, 1: one}, Fraction(3, 2))]
    )
    values = system.solve(Work(1000))
    assert values is not None
    assert values[0] + values[1] == Fraction(3, 2)
    none = LinearSystem({0: one}, {0: one}, (), [({0: one}, Fraction(3, 2))])
    assert none.solve(Work(1000)) is None
    with pytest.raises(SearchLimitError):
        system.solve(Work(0))


def test_a_thin_slab_that_random_points_miss_is_found() -> None:
    rng = np.random.default_rng(3)
    inputs = 40
    centre = rng.random(inputs).astype(np.float32).astype(np.float64)
    constraints = []
    for _ in range(12):
        a = rng.normal(size=inputs)
        value = float(a @ centre)
        constraints += [
            LinearConstraint(a, "<=", value + 1e-5), LinearConstraint(-a, "<=", 1e-5 - value)
        ]  # fmt: skip
    domain = Domain(np.zeros(inputs), np.ones(inputs), constraints=tuple(constraints))
    assert domain.contains(domain.feasible_point()[None, :])[0]


def test_exhausted_effort_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leo_cli.domain.feasible._EFFORT", 2)
    monkeypatch.setattr("leo_cli.domain.lagrange.MOST_WORK", 0)  # or multipliers show it
    a = np.array([1.0, 1.0])
    cuts = (LinearConstraint(a, "<=", 1.0), LinearConstraint(-a, "<=", -1.5))
    with pytest.raises(DomainError, match="may be empty"):
        search(Domain(np.zeros(2), np.ones(2), constraints=cuts))


def test_an_empty_domain_and_one_without_numbers_of_the_type() -> None:
    a = np.array([1.0, 1.0])
    cuts = (LinearConstraint(a, "<=", 1.0), LinearConstraint(-a, "<=", -1.5))
    with pytest.raises(DomainError, match="the domain is empty"):
        Domain(np.zeros(2), np.ones(2), constraints=cuts).feasible_point()
    third = LinearConstraint(np.array([3.0]), "==", 1.0)  # no float is 1/3
    with pytest.raises(DomainError, match=r"no point of type float32 was found .* though real"):
        Domain(np.zeros(1), np.ones(1), constraints=(third,)).feasible_point()


TINY = st.integers(-3, 3).map(lambda k: k * 5e-324)


@given(TINY, TINY, st.sampled_from([1.0, -1.0, 0.5, 3.0, 2.0**-30]), TINY, st.booleans())
def test_a_denormal_box_is_called_empty_only_if_it_is(
    one: float, other: float, slope: float, rhs: float, equal: bool
) -> None:
    lower, upper = min(one, other), max(one, other)
    cut = LinearConstraint(np.array([slope]), "==" if equal else "<=", rhs)
    domain = Domain(np.array([lower]), np.array([upper]), "float64", constraints=(cut,))
    border = Fraction(rhs) / Fraction(slope)
    ends = (Fraction(lower), Fraction(upper))
    if equal:
        empty = not ends[0] <= border <= ends[1]
    else:
        empty = border < ends[0] if slope > 0 else border > ends[1]
    try:
        assert domain.contains(domain.feasible_point()[None, :])[0]
    except DomainError as error:
        assert empty == ("the domain is empty" in str(error))
