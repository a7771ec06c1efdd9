"""OMLT's lists of bounds."""

from __future__ import annotations

import json

import pytest

from leo_cli.domain import Domain, read_domain
from leo_cli.errors import DomainError
from leo_cli.tensors import TensorSpec

IMAGE = TensorSpec("image", ("n", 2, 3), (2, 3), "float32")
SCALAR = TensorSpec("s", ("n", 1), (1,), "float32")


def entries(keys: list[object]) -> list[dict[str, object]]:
    return [{"key": key, "lower_bound": i, "upper_bound": i + 1} for i, key in enumerate(keys)]


def read(document: object, *inputs: TensorSpec) -> Domain:
    return read_domain(json.dumps(document), inputs or (IMAGE,), "", name="b.json")


@pytest.mark.parametrize(
    "keys",
    [
        [0, 1, 2, 3, 4, 5],
        ["0", "1", "2", "3", "4", "5"],
        [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]],
        [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0], [0, 1, 1], [0, 1, 2]],
        ["image[0]", "image[1]", "image[2]", "image[3]", "image[4]", "image[5]"],
        ["image[0,0]", "image[0, 1]", "image[0,2]", "image[1,0]", "image[1,1]", "image[1,2]"],
    ],
)
def test_all_kinds_of_keys(keys: list[object]) -> None:
    domain = read(entries(keys))
    assert domain.lower.tolist() == [0, 1, 2, 3, 4, 5]
    assert domain.upper.tolist() == [1, 2, 3, 4, 5, 6]
    backwards = entries(keys)[::-1]
    assert read(backwards) == domain


def test_several_inputs_and_names_without_an_index() -> None:
    domain = read(entries([*range(6), "s"]), IMAGE, SCALAR)
    assert domain.lower.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert read(entries([*range(7)]), IMAGE, SCALAR) == domain
    assert read(entries(["s"]), SCALAR).lower.tolist() == [0]


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ([], "feature 0: no lower bound"),
        (entries([0, 1, 2, 3, 4]), "feature 5: no lower bound"),
        (entries([0, 1, 2, 3, 4, 4]), "feature 4 has bounds already"),
        (entries([6]), "no feature [6]"),
        (entries([-1]), "no index"),
        (entries([0.5]), "no index"),
        (entries(["image"]), "give"),
        (entries(["imag[0]"]), 'did you mean "image"'),
        (entries(["image[9]"]), "no feature [9]"),
        (entries(["image[2,0]"]), "no feature [2, 0]"),
        (entries(["image[,]"]), "no index"),
        (entries([[0, 0, 0, 0]]), "no feature"),
        (entries([[1, 0, 0]]), "no feature"),
        (entries([["a"]]), "list of indices"),
        (entries([None]), "null"),
        (entries([[]]), "no feature"),
        ([3], "entry 0: must be an object"),
        ([{"key": 0, "lower_bound": 0}], '"upper_bound" is missing'),
        ([{"key": 0, "lower_bound": 0, "upper_bound": None}], "null"),
        ([{"key": 0, "lower": 0, "upper_bound": 1}], 'did you mean "lower_bound"'),
        ([{"key": i, "lower_bound": 1, "upper_bound": 0} for i in range(6)], "lower 1 > upper 0"),
    ],
)
def test_errors(document: object, part: str) -> None:
    with pytest.raises(DomainError) as caught:
        read(document)
    assert part in str(caught.value)
    assert str(caught.value).startswith("b.json: ")


def test_a_list_of_indices_needs_one_input() -> None:
    with pytest.raises(DomainError, match="no feature"):
        read(entries([[0, 0]]), IMAGE, SCALAR)
