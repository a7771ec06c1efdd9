"""The minimum of linear forms against enumeration of all vertices in rational arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leo_cli.arrays import Floats
from leo_cli.domain import Domain, OneHot, linear_form
from leo_cli.rounding import SMALLEST, UNIT_ROUNDOFF

SIMPLE = [0.0, 0.0, 1.0, -1.0, 0.5, -0.25, 3.0, 0.1, -0.7]
EXTREME = [1e-200, -3e-200, 5e-324, -1e-310, 1e150, -2e150, 1.0 + 2.0**-52]


@st.composite
def domains(draw: st.DrawFn) -> Domain:
    inputs = draw(st.integers(1, 5))
    numbers = st.sampled_from(SIMPLE + (EXTREME if draw(st.booleans()) else []))
    ends = np.array([[draw(numbers), draw(numbers)] for _ in range(inputs)])
    lower, upper = ends.min(axis=1), ends.max(axis=1)
    groups = []
    members = list(draw(st.permutations(range(inputs))))
    for _ in range(draw(st.integers(0, 2))):
        size = draw(st.integers(1, 3))
        if len(members) < size:
            break
        chosen, members = np.array(members[:size]), members[size:]
        cold = np.array([draw(st.sampled_from([0.0, 0.0, -0.3, 1.0])) for _ in chosen])
        hot = cold + np.array([draw(st.sampled_from([1.0, 2.5, -1.0])) for _ in chosen])
        lower[chosen], upper[chosen] = np.minimum(cold, hot), np.maximum(cold, hot)
        if size > 1 and draw(st.booleans()):  # one member can only be cold
            lower[chosen[0]] = upper[chosen[0]] = cold[0]
        groups.append(OneHot(chosen, cold, hot))
    return Domain(lower, upper, "float64", one_hot=tuple(groups))


@st.composite
def forms(draw: st.DrawFn, inputs: int) -> Floats:
    rows = draw(st.integers(1, 4))
    numbers = st.sampled_from(SIMPLE + (EXTREME if draw(st.booleans()) else []))
    return np.array([[draw(numbers) for _ in range(inputs)] for _ in range(rows)])


def vertices(domain: Domain) -> Iterator[tuple[Fraction, ...]]:
    """All combinations of the ends of the box in which every group has exactly one hot member."""
    ends = [{Fraction(a), Fraction(b)} for a, b in zip(domain.lower, domain.upper, strict=True)]
    for point in product(*ends):
        if all(
            sum(point[i] == Fraction(hot) for i, hot in zip(g.members, g.hot, strict=True)) == 1
            for g in domain.one_hot
        ):
            yield point


def value(row: Floats, point: tuple[Fraction, ...]) -> Fraction:
    return sum((Fraction(a) * x for a, x in zip(row, point, strict=True)), Fraction(0))


@given(st.data())
def test_minimum_is_a_tight_lower_bound_and_the_minimiser_attains_it(data: st.DataObject) -> None:
    domain = data.draw(domains())
    A = data.draw(forms(domain.inputs))
    bounds, points = domain.minimum(A), domain.minimiser(A)
    assert domain.contains(points).all()
    for row, bound, x in zip(A, bounds, points, strict=True):
        least = min(value(row, vertex) for vertex in vertices(domain))
        attained = value(row, tuple(Fraction(v) for v in x))
        size = sum(
            abs(Fraction(a)) * Fraction(m) for a, m in zip(row, domain.magnitude, strict=True)
        )
        room = Fraction(64 * UNIT_ROUNDOFF) * 2 * size + 64 * Fraction(SMALLEST)
        assert bound <= least
        assert least <= attained <= least + room
        assert np.isfinite(bound)
        assert least - Fraction(bound) <= room


@given(st.data())
def test_where_all_products_are_zero_the_minimum_is_exactly_zero(data: st.DataObject) -> None:
    inputs = data.draw(st.integers(1, 6))
    A = np.abs(data.draw(forms(inputs)))
    top = np.abs(data.draw(forms(inputs)))[0]
    assert (Domain(np.zeros(inputs), top, "float64").minimum(A) == 0.0).all()
    assert (Domain(-top, np.zeros(inputs), "float64").minimum(-A) == 0.0).all()
    # columns that are zero do not matter, whatever their bounds
    wide = np.where((A == 0).all(axis=0), -1e300, 0.0)
    assert (Domain(wide, np.maximum(wide, top), "float64").minimum(A) == 0.0).all()


def test_a_zero_minimum_over_one_hot_groups_is_exact() -> None:
    group = OneHot(np.arange(3), np.zeros(3), np.ones(3))
    domain = Domain(np.zeros(4), np.ones(4), one_hot=(group,))
    assert domain.minimum(np.array([[0.0, 0.3, 0.7, 0.1]]))[0] == 0.0
    assert 0.29 < domain.minimum(np.array([[0.4, 0.3, 0.7, 0.1]]))[0] <= 0.3


@pytest.mark.parametrize("seed", range(20))
def test_sums_that_cancel_are_bounded_by_the_size_of_their_terms(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=40)
    A = rng.random((8, 40))
    A[:, -1] = -(A[:, :-1] @ x[:-1]) / x[-1]  # A x is about 0: all its digits are rounding errors
    domain = Domain(x, x, "float64")
    point = tuple(Fraction(v) for v in x)
    for row, bound in zip(A, domain.minimum(A), strict=True):
        assert bound <= value(row, point) <= bound + 1e-11


@pytest.mark.parametrize("seed", range(20))
def test_hot_and_cold_values_that_nearly_cancel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cold = rng.normal(size=2) * 1e6
    group = OneHot(np.arange(2), cold, cold + rng.random(2))
    box = (np.minimum(group.cold, group.hot), np.maximum(group.cold, group.hot))
    domain = Domain(*box, "float64", one_hot=(group,))
    A = rng.normal(size=(8, 2))
    hottest = linear_form._hottest(A, group, np.arange(2))
    for row, bound, gain in zip(A, domain.minimum(A), hottest, strict=True):
        a, c, h = (list(map(Fraction, v)) for v in (row, group.cold, group.hot))
        gains = [a[j] * (h[j] - c[j]) for j in range(2)]
        assert gain <= min(gains)
        assert bound <= min(gains) + a[0] * c[0] + a[1] * c[1]


def test_products_that_underflow_are_not_taken_for_zero() -> None:
    domain = Domain(np.full(3, -1e-200), np.full(3, 1e-200), "float64")
    bound = domain.minimum(np.full((1, 3), 1e-200))[0]
    assert -1e-300 < bound < 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_without_a_finite_bound_the_minimum_is_minus_infinity(bad: float) -> None:
    group = OneHot(np.array([1, 2]), np.zeros(2), np.ones(2))
    for groups in ((), (group,)):
        domain = Domain(np.full(3, -1.0), np.ones(3), one_hot=groups)
        for i in range(3):
            row = np.ones((1, 3))
            row[0, i] = bad
            assert domain.minimum(row)[0] <= -1.0
            assert not np.isnan(domain.minimum(row)[0])


def test_overflow_gives_minus_infinity() -> None:
    domain = Domain(np.full(4, -1e200), np.full(4, 1e200), "float64")
    assert domain.minimum(np.full((2, 4), 1e200)).tolist() == [-np.inf, -np.inf]


def test_large_matrices_are_bounded_in_blocks_as_small_ones_are() -> None:
    rng = np.random.default_rng(0)
    inputs, rows = 1500, 200  # several blocks
    lower = rng.normal(size=inputs)
    domain = Domain(lower, lower + rng.random(inputs), "float64")
    A = rng.normal(size=(rows, inputs))
    together = domain.minimum(A)
    alone = np.concatenate([domain.minimum(row[None, :]) for row in A])
    assert np.allclose(together, alone, rtol=1e-9, atol=1e-9)
    assert np.array_equal(domain.minimum(A[:, ::-1][:, ::-1]), together)  # a view without copies
    assert domain.minimum(A[:0]).shape == (0,)
    assert domain.minimum(A.astype(np.float32)).shape == (rows,)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (-2.0, 3.0), (0.5, 2.0)])
def test_the_bound_is_within_a_few_roundings_of_float64(low: float, high: float) -> None:
    rng = np.random.default_rng(1)
    inputs = 784
    domain = Domain(np.full(inputs, low), np.full(inputs, high))
    A = rng.normal(size=(50, inputs))
    plain = np.where(A > 0, A * low, A * high).sum(axis=1)
    gap = plain - domain.minimum(A)
    assert (gap > 0).all()
    assert gap.max() < 1e-9
