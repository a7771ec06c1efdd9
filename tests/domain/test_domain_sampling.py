"""Samples, corners and projections: in the domain, of the float type, as many as asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import strategies

from leo_cli.arrays import Floats
from leo_cli.domain import Domain, LinearConstraint, OneHot


def representable(points: Floats, dtype: str) -> bool:
    return np.array_equal(points.astype(dtype).astype(np.float64), points)


@given(st.data())
def test_samples_and_corners_lie_in_the_domain(data: st.DataObject) -> None:
    domain = data.draw(strategies.domains())
    rng = np.random.default_rng(data.draw(st.integers(0, 3)))
    for points in (domain.sample(9, rng), domain.corners(7, rng), domain.feasible_point()[None, :]):
        assert domain.contains(points).all()
        assert representable(points, domain.dtype)
    assert domain.sample(9, rng).shape == (9, domain.inputs)
    assert domain.corners(7, rng).shape == (7, domain.inputs)
    assert domain.sample(0, rng).shape == domain.corners(0, rng).shape == (0, domain.inputs)


@given(st.data())
def test_projection_lands_on_everything_but_linear_constraints(data: st.DataObject) -> None:
    domain = data.draw(strategies.domains())
    relaxed = Domain(domain.lower, domain.upper, domain.dtype, domain.integer, domain.one_hot)
    numbers = st.floats(-10, 10) | st.sampled_from([np.nan, np.inf, -np.inf, 1e300])
    points = np.array([[data.draw(numbers) for _ in range(domain.inputs)] for _ in range(4)])
    before = points.copy()
    moved = domain.project(points)
    assert np.array_equal(points, before, equal_nan=True)
    assert relaxed.contains(moved).all()
    assert representable(moved, domain.dtype)
    inside = relaxed.sample(3, np.random.default_rng(0))
    assert np.array_equal(relaxed.project(inside), inside)


def test_the_most_hot_member_that_may_be_hot_is_chosen() -> None:
    group = OneHot(np.arange(3), np.array([0.0, 1.0, -1.0]), np.array([1.0, 0.0, 3.0]))
    free = Domain(np.array([0.0, 0.0, -1.0]), np.array([1.0, 1.0, 3.0]), one_hot=(group,))
    point = np.array([[0.3, 0.6, 1.5]])  # shares of the way from cold to hot: 0.3, 0.4, 0.625
    assert free.project(point).tolist() == [[0.0, 1.0, 3.0]]
    shut = free.sub_box(np.full(3, -9.0), np.array([9.0, 9.0, 2.0]))
    assert shut.project(point).tolist() == [[0.0, 0.0, -1.0]]


def test_samples_fill_the_box_and_corners_take_both_ends() -> None:
    rng = np.random.default_rng(0)
    domain = Domain(np.array([0.0, -1.0, 5.0]), np.array([1.0, 3.0, 5.0]))
    points = domain.sample(4000, rng)
    assert np.allclose(points.mean(axis=0), [0.5, 1.0, 5.0], atol=0.1)
    corners = domain.corners(100, rng)
    assert len(np.unique(corners, axis=0)) == 4
    assert ((corners == domain.lower) | (corners == domain.upper)).all()
    integer = Domain(np.zeros(1), np.full(1, 3.0), integer=np.ones(1, dtype=bool))
    values, counts = np.unique(integer.sample(4000, rng), return_counts=True)
    assert values.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert counts.min() > 850


def test_the_same_seed_gives_the_same_points() -> None:
    cut = LinearConstraint(np.ones(4), "<=", 1.0)
    domain = Domain(np.zeros(4), np.ones(4), constraints=(cut,))
    first = domain.sample(50, np.random.default_rng(7))
    assert np.array_equal(first, domain.sample(50, np.random.default_rng(7)))
    assert not np.array_equal(first, domain.sample(50, np.random.default_rng(8)))


def test_a_box_as_wide_as_the_type_is_sampled_without_overflow() -> None:
    domain = Domain(np.array([-1.7e308]), np.array([1.7e308]), "float64")
    points = domain.sample(200, np.random.default_rng(0))
    assert np.isfinite(points).all()
    assert points.min() < -1e307
    assert points.max() > 1e307


def test_a_sub_box_between_two_numbers_of_the_type_still_has_points() -> None:
    low = np.nextafter(1.0, 2.0)  # no float32 in [low, 1 + 3e-16]
    domain = Domain(np.zeros(1), np.full(1, 2.0), "float32").sub_box(
        np.array([low]), np.array([1 + 3e-16])
    )
    rng = np.random.default_rng(0)
    assert domain.contains(domain.sample(3, rng)).all()
    assert domain.contains(domain.feasible_point()[None, :])[0]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_constraints_leave_different_points_and_corners_reach_them(dtype: str) -> None:
    rng = np.random.default_rng(0)
    plane = LinearConstraint(np.ones(6), "<=", 1.0)
    above = LinearConstraint(-np.ones(6), "<=", -0.98)
    domain = Domain(np.zeros(6), np.ones(6), dtype, constraints=(plane, above))
    points = domain.sample(200, rng)
    assert domain.contains(points).all()
    assert len(np.unique(points, axis=0)) > 150
    assert points.std(axis=0).min() > 0.05
    half = Domain(np.zeros(2), np.ones(2), dtype, constraints=(plane_of(2, 0.5),))
    corners = half.corners(100, rng)
    assert half.contains(corners).all()
    assert corners.sum(axis=1).max() > 0.49


def plane_of(inputs: int, rhs: float) -> LinearConstraint:
    return LinearConstraint(np.ones(inputs), "<=", rhs)


def test_walks_change_integers_and_groups_too() -> None:
    group = OneHot(np.arange(3), np.zeros(3), np.ones(3))
    tie = LinearConstraint(
        np.array([1.0, 2.0, 3.0, -1.0, 0.0]), "==", 0.0
    )  # x3 = the hot one's number
    integer = np.array([False, False, False, True, False])
    domain = Domain(
        np.zeros(5), np.array([1.0, 1.0, 1.0, 9.0, 1.0]), "float32", integer, (group,), (tie,)
    )
    points = domain.sample(300, np.random.default_rng(0))
    assert domain.contains(points).all()
    assert set(points[:, 3]) == {1.0, 2.0, 3.0}
