"""Bounds of linear forms under linear constraints, against the vertices of the domain."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples
from support.cells import domain_cells
from support.strategies import BIG_M, DECIMAL, DENORMAL, SMALL, WIDE, raw_domains

from leo_cli.domain import Domain, LinearConstraint, lagrange
from leo_cli.errors import DomainError

NUMBERS = [*SMALL, *DECIMAL, *BIG_M, *WIDE, *DENORMAL]


def vertices(domain: Domain) -> set[tuple[Fraction, ...]]:
    return {
        tuple(Fraction(v, vertex[0]) for v in vertex[1:])
        for cell in domain_cells(domain)
        for vertex in cell.vertices
    }


def value(row: np.ndarray, point: tuple[Fraction, ...]) -> Fraction:
    return sum((Fraction(a) * x for a, x in zip(row.tolist(), point, strict=True)), Fraction(0))


@examples(150)
@given(st.data())
def test_the_minimum_is_never_above_the_exact_one(data: st.DataObject) -> None:
    raw = data.draw(raw_domains())
    inputs = len(raw["lower"])
    more = [
        LinearConstraint(
            np.array(
                data.draw(st.lists(st.sampled_from(NUMBERS), min_size=inputs, max_size=inputs))
            ),
            data.draw(st.sampled_from(["<=", "<=", "=="])),
            data.draw(st.sampled_from(NUMBERS)),
        )
        for _ in range(data.draw(st.integers(1, 3)))
    ]
    try:
        domain = Domain(**{**raw, "constraints": (*raw["constraints"], *more)})
    except DomainError:
        return
    points = vertices(domain)
    A = np.array(
        data.draw(
            st.lists(
                st.lists(st.sampled_from(NUMBERS), min_size=inputs, max_size=inputs),
                min_size=1,
                max_size=4,
            )
        )
    )
    bounds = domain.minimum(A)
    for row, bound in zip(A, bounds.tolist(), strict=True):
        if points and np.isfinite(bound):
            assert Fraction(bound) <= min(value(row, point) for point in points)


@pytest.mark.parametrize("seed", range(20))
def test_any_multipliers_give_a_valid_bound(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    cuts = tuple(LinearConstraint(rng.normal(size=3), "<=", float(rng.random())) for _ in range(2))
    domain = Domain(-np.ones(3), np.ones(3), "float64", constraints=cuts)
    A = rng.normal(size=(20, 3))
    monkeypatch.setattr(
        lagrange, "multipliers", lambda *_: 10.0 ** rng.integers(-3, 4) * rng.random((20, 2))
    )
    points = vertices(domain)
    for row, bound in zip(A, domain.minimum(A).tolist(), strict=True):
        assert Fraction(bound) <= min(value(row, point) for point in points)


@pytest.mark.parametrize("seed", range(30))
def test_with_one_constraint_the_bound_is_the_minimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = int(rng.integers(1, 6))
    coefficients = rng.normal(size=inputs) * (rng.random(inputs) < 0.8)
    inside = rng.uniform(-1, 1, size=inputs)
    cut = LinearConstraint(coefficients, "<=", float(coefficients @ inside))
    domain = Domain(-np.ones(inputs), np.ones(inputs), "float64", constraints=(cut,))
    A, points = rng.normal(size=(10, inputs)), vertices(domain)
    for row, bound in zip(A, domain.minimum(A), strict=True):
        assert bound == pytest.approx(float(min(value(row, p) for p in points)), abs=1e-9)


def test_a_sum_of_shares_is_known_to_be_one() -> None:
    whole = LinearConstraint(np.ones(4), "==", 1.0)
    domain = Domain(np.zeros(4), np.ones(4), constraints=(whole,))
    assert domain.minimum(np.ones((1, 4)))[0] == pytest.approx(1.0)
    assert -domain.minimum(-np.ones((1, 4)))[0] == pytest.approx(1.0)
    assert domain.minimum(np.array([[3.0, 1.0, 2.0, 5.0]]))[0] == pytest.approx(1.0)


def test_too_many_breaks_are_not_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = LinearConstraint(np.ones(4), "==", 1.0)
    domain = Domain(np.zeros(4), np.ones(4), constraints=(whole,))
    monkeypatch.setattr(lagrange, "MOST_WORK", 1)
    assert domain.minimum(np.ones((1, 4)))[0] == 0.0


@examples(100)
@given(st.data())
def test_narrowing_keeps_every_point(data: st.DataObject) -> None:
    domain = Domain(**data.draw(raw_domains()))
    share = data.draw(st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    middle = domain.lower + share * (domain.upper - domain.lower)
    axis = data.draw(st.integers(0, domain.inputs - 1))
    ends = np.stack([domain.lower] * 3), np.stack([domain.upper] * 3)
    ends[1][1, axis] = ends[0][2, axis] = middle[axis]
    lower, upper, empty = domain.narrow(*ends)
    assert (lower >= ends[0]).all() or empty.any()
    for point in vertices(domain):
        for i in range(3):
            inside = all(a <= x <= b for a, x, b in zip(ends[0][i], point, ends[1][i], strict=True))
            kept = all(a <= x <= b for a, x, b in zip(lower[i], point, upper[i], strict=True))
            assert not inside or (kept and not empty[i])


def test_narrowing_finds_what_is_excluded() -> None:
    cut = LinearConstraint(np.array([1.0, 2.0]), "<=", 1.0)
    domain = Domain(np.zeros(2), np.ones(2), constraints=(cut,))
    lower, upper, empty = domain.narrow(np.array([[0.0, 0.0], [0.5, 0.5]]), np.ones((2, 2)))
    assert upper[0] == pytest.approx([1.0, 0.5])
    assert empty.tolist() == [False, True]
    assert (lower[0] == 0).all()
