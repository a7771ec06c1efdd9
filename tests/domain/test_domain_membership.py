"""`contains` against rational arithmetic, above all at the boundary."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support import strategies
from support.checks import inside

from leo_cli.domain import Domain, LinearConstraint, OneHot
from leo_cli.domain.membership import satisfies

NUMBERS = [0.0, 1.0, -1.0, 0.1, 0.3, -0.7, 3.0, 1e-8, 1e17, -1e17, 1.0 + 2.0**-52]
EXTREME = [1e-300, -1e-200, 5e-324, 1e300, -1e200]


@given(st.data())
def test_contains_agrees_with_rational_arithmetic(data: st.DataObject) -> None:
    domain = data.draw(strategies.domains())
    points = []
    for _ in range(6):
        point = []
        for low, high in zip(domain.lower, domain.upper, strict=True):
            near = [low, high, (low + high) / 2, np.nextafter(low, -np.inf), 0.0, 1.0]
            point.append(data.draw(st.sampled_from(near)))
        points.append(point)
    found = domain.contains(np.array(points))
    for point, answer in zip(points, found, strict=True):
        assert answer == inside(domain, [Fraction(x) for x in point])


@given(st.data())
def test_constraints_are_decided_exactly_at_the_tie(data: st.DataObject) -> None:
    inputs = data.draw(st.integers(1, 6))
    numbers = st.sampled_from(NUMBERS + (EXTREME if data.draw(st.booleans()) else []))
    a = np.array([data.draw(numbers) for _ in range(inputs)])
    x = np.array([data.draw(numbers) for _ in range(inputs)])
    with np.errstate(over="ignore", invalid="ignore"):
        rhs = float(a @ x)
    if not np.isfinite(rhs):
        rhs = data.draw(st.sampled_from([1e300, -1e300]))
    rhs = data.draw(st.sampled_from([rhs, np.nextafter(rhs, -np.inf), np.nextafter(rhs, np.inf)]))
    value = sum(Fraction(u) * Fraction(v) for u, v in zip(a, x, strict=True))
    for op in ("<=", "=="):
        answer = satisfies(LinearConstraint(a, op, float(rhs)), x[None, :])[0]
        assert answer == (value <= Fraction(rhs) if op == "<=" else value == Fraction(rhs))


def test_a_sum_that_float64_gets_wrong() -> None:
    cut = LinearConstraint(np.array([1.0, 1.0, -1.0]), "<=", 0.0)
    domain = Domain(np.full(3, -1e17), np.full(3, 1e17), "float64", constraints=(cut,))
    assert not domain.contains(np.array([[1e16, 1.0, 1e16]]))[0]  # 1e16 + 1 is 1e16 in float64
    assert domain.contains(np.array([[1e16, -1.0, 1e16]]))[0]


def test_nan_and_infinity_are_outside() -> None:
    domain = Domain(np.zeros(2), np.ones(2))
    points = np.array([[np.nan, 0.5], [0.5, np.inf], [0.5, 0.5]])
    assert domain.contains(points).tolist() == [False, False, True]
    assert domain.contains(points[:0]).shape == (0,)


def test_one_hot_groups_take_exactly_one_member_at_exact_values() -> None:
    group = OneHot(np.array([0, 1]), np.array([-0.5, 0.25]), np.array([1.5, -2.0]))
    domain = Domain(np.array([-0.5, -2.0]), np.array([1.5, 0.25]), one_hot=(group,))
    points = np.array([[1.5, 0.25], [-0.5, -2.0], [1.5, -2.0], [-0.5, 0.25], [1.0, 0.25]])
    assert domain.contains(points).tolist() == [True, True, False, False, False]
