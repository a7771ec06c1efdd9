"""Making a Domain, and what it says of itself."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from leo_cli.domain import Domain, LinearConstraint, OneHot
from leo_cli.errors import DomainError


def group(*members: int) -> OneHot:
    return OneHot(np.array(members), np.zeros(len(members)), np.ones(len(members)))


def test_integer_bounds_are_rounded_inward() -> None:
    domain = Domain(np.array([-0.5, 0.2]), np.array([2.5, 0.9]), integer=np.array([True, False]))
    assert domain.lower.tolist() == [0.0, 0.2]
    assert domain.upper.tolist() == [2.0, 0.9]
    assert not domain.is_box


@pytest.mark.parametrize(
    ("lower", "upper", "integer", "groups"),
    [
        ([0.0, 1.0], [1.0, 0.5], [False, False], ()),
        ([0.0, 0.1], [1.0, 0.9], [False, True], ()),
        ([0.0, np.nan], [1.0, 1.0], [False, False], ()),
        ([0.0, 0.0], [1.0, np.inf], [False, False], ()),
        ([0.0, 0.0], [0.0, 0.5], [False, False], (group(0, 1),)),  # nobody can be hot
        ([1.0, 1.0], [1.0, 1.0], [False, False], (group(0, 1),)),  # both must be hot
    ],
)
def test_what_leaves_no_input_is_an_error(
    lower: list[float], upper: list[float], integer: list[bool], groups: tuple[OneHot, ...]
) -> None:
    with pytest.raises(DomainError, match=r"feature"):
        Domain(np.array(lower), np.array(upper), "float32", np.array(integer), groups)


def test_structural_mistakes_of_a_caller_are_value_errors() -> None:
    two = np.zeros(2)
    with pytest.raises(ValueError, match="shapes"):
        Domain(two, np.zeros(3))
    with pytest.raises(ValueError, match="type"):
        Domain(two, two, "int8")
    with pytest.raises(ValueError, match="flags"):
        Domain(two, two, integer=np.ones(3, dtype=bool))
    with pytest.raises(ValueError, match="two one-hot groups"):
        Domain(two, np.ones(2), one_hot=(group(0, 1), group(1)))
    with pytest.raises(ValueError, match="coefficient"):
        Domain(two, two, constraints=(LinearConstraint(np.ones(3), "<=", 1.0),))
    with pytest.raises(ValueError, match="op"):
        LinearConstraint(two, "<", 1.0)
    with pytest.raises(ValueError, match="finite"):
        LinearConstraint(two, "<=", float("nan"))
    with pytest.raises(ValueError, match="equal cold and hot"):
        OneHot(np.array([0]), np.zeros(1), np.zeros(1))
    with pytest.raises(ValueError, match="twice"):
        group(1, 1)
    with pytest.raises(ValueError, match="one cold"):
        OneHot(np.array([0]), np.zeros(2), np.zeros(2))


def test_members_of_groups_are_fixed_where_the_bounds_decide() -> None:
    upper = np.array([1.0, 0.5, 1.0, 1.0])
    domain = Domain(np.zeros(4), upper, one_hot=(group(0, 1, 2), group(3)))
    assert domain.upper.tolist() == [1.0, 0.0, 1.0, 1.0]
    assert domain.lower.tolist() == [0.0, 0.0, 0.0, 1.0]
    assert domain.free.tolist() == [0, 2]
    forced = Domain(np.array([0.0, 1.0, 0.0]), np.ones(3), one_hot=(group(0, 1, 2),))
    assert forced.lower.tolist() == forced.upper.tolist() == [0.0, 1.0, 0.0]
    assert forced.groups == ()


def test_magnitude_free_and_relaxed() -> None:
    domain = Domain(np.array([-3.0, 0.0, 1.0]), np.array([2.0, 0.0, 4.0]))
    assert domain.magnitude.tolist() == [3.0, 0.0, 4.0]
    assert domain.free.tolist() == [0, 2]
    assert domain.is_box
    assert not domain.relaxed
    cut = LinearConstraint(np.ones(3), "<=", 1.0)
    cut_domain = Domain(domain.lower, domain.upper, constraints=(cut,))
    assert cut_domain.relaxed
    assert not cut_domain.is_box


def test_the_hash_tells_different_sets_apart_and_ignores_order_and_notes() -> None:
    lower, upper = np.zeros(4), np.ones(4)
    cut = LinearConstraint(np.arange(4.0), "<=", 2.0)
    other = LinearConstraint(np.ones(4), "==", 2.0)
    variants = [
        Domain(lower, upper),
        Domain(lower, upper, "float64"),
        Domain(lower, 2 * upper),
        Domain(lower - 1, upper),
        Domain(lower, upper, integer=np.array([True, False, False, False])),
        Domain(lower, upper, one_hot=(group(0, 1),)),
        Domain(lower, upper, one_hot=(group(0, 2),)),
        Domain(lower, upper, constraints=(cut,)),
        Domain(lower, upper, constraints=(LinearConstraint(np.arange(4.0), "==", 2.0),)),
        Domain(lower, upper, constraints=(LinearConstraint(np.arange(4.0), "<=", 2.5),)),
        Domain(lower, upper, constraints=(cut, other)),
    ]
    assert len({d.sha256 for d in variants}) == len(variants)
    assert Domain(-lower, upper, notes=("a remark",)) == variants[0]
    assert hash(Domain(lower, upper)) == hash(variants[0])
    assert Domain(lower, upper, constraints=(other, cut)) == variants[-1]
    assert Domain(lower, upper, one_hot=(group(1, 0),)) == variants[5]
    assert variants[0] != variants[1]
    assert variants[0] != "a domain"


def test_a_sub_box_restricts_every_part() -> None:
    cut = LinearConstraint(np.ones(4), "<=", 3.0)
    integer = np.array([True, False, False, False])
    domain = Domain(np.zeros(4), np.full(4, 2.0), "float32", integer, (), (cut,))
    part = domain.sub_box(np.array([0.5, 0.5, -1.0, 0.0]), np.array([1.5, 0.75, 9.0, 2.0]))
    assert part.lower.tolist() == [1.0, 0.5, 0.0, 0.0]
    assert part.upper.tolist() == [1.0, 0.75, 2.0, 2.0]
    assert part.constraints == domain.constraints
    with pytest.raises(DomainError):
        domain.sub_box(np.full(4, 0.4), np.full(4, 0.6))  # no integer
    with pytest.raises(DomainError):
        domain.sub_box(np.full(4, 3.0), np.full(4, 4.0))


def test_arrays_are_copies_that_nobody_can_write_to() -> None:
    lower = np.zeros(2)
    domain = Domain(lower, np.ones(2))
    lower[0] = -5.0
    assert domain.lower[0] == 0.0
    for array in (domain.lower, domain.upper, domain.integer, domain.magnitude):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


def test_a_domain_can_be_sent_to_another_process() -> None:
    domain = Domain(
        np.zeros(3), np.ones(3), "float64", one_hot=(group(0, 1),),
        constraints=(LinearConstraint(np.ones(3), "<=", 1.5),),
    )  # fmt: skip
    domain.feasible_point()
    copy = pickle.loads(pickle.dumps(domain))
    assert copy == domain
    assert np.array_equal(copy.feasible_point(), domain.feasible_point())


def test_a_domain_without_features() -> None:
    domain = Domain(np.zeros(0), np.zeros(0))
    rng = np.random.default_rng(0)
    assert domain.minimum(np.zeros((3, 0))).tolist() == [0.0, 0.0, 0.0]
    assert domain.sample(2, rng).shape == (2, 0)
    assert domain.contains(domain.corners(2, rng)).all()
    assert domain.feasible_point().shape == (0,)
