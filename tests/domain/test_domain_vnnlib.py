"""VNN-LIB properties: the box, hulls of disjunctions, and what is ignored or refused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples

from leo_cli.domain import Domain, read_domain
from leo_cli.errors import DomainError
from leo_cli.tensors import TensorSpec

TWO = (TensorSpec("x", (1, 2), (1, 2), "float64"),)
HEAD = """; a property
(declare-const X_0 Real)(declare-const X_1 Real) ; two inputs
(declare-fun Y_0 () Real)
(declare-const Y_1 Real)
"""
BOX = "(assert (<= X_0 1))(assert (>= X_0 -1.0))(assert (<= X_1 2e0))(assert (>= X_1 +.5E-0))"


def read(body: str, inputs: tuple[TensorSpec, ...] = TWO, head: str = HEAD) -> Domain:
    return read_domain(head + body, inputs, "", name="p.vnnlib")


def bounds(domain: Domain) -> list[tuple[float, float]]:
    return list(zip(domain.lower.tolist(), domain.upper.tolist(), strict=True))


@pytest.mark.parametrize(
    "body",
    [
        BOX,
        BOX + "(assert (or (and (<= Y_0 Y_1)) (and (>= Y_0 3) (<= Y_1 0))))(check-sat)",
        BOX + "(assert (<= (+ Y_0 (* 2 X_0)) 0))",
        "(assert (and (<= -1 X_0 1) (>= 2 X_1 0.5)))",
        "(assert (not (or (> X_0 1) (< X_0 -1) (not (<= X_1 2)) (< X_1 (/ 1 2)))))",
        "(assert (<= (* 2 X_0) 2))(assert (>= (- X_0) (- 1)))(assert (>= X_0 -1))"
        "(assert (<= (- X_1 1) 1))(assert (<= 1 (+ X_1 X_1)))",
        BOX + "(assert true)(assert (not false))(assert (<= 0 1))",
        BOX + "(assert (or (and (>= X_0 -1) (<= X_0 0)) (and (>= X_0 0) (<= X_0 1) (>= Y_0 0))))",
        BOX + "(assert (or (>= X_0 5) (<= X_0 1)))",
        BOX + "(assert (not (= X_0 0)))",
        BOX + "(assert (or (<= X_0 -7) (>= Y_0 0)))",
    ],
)
def test_the_same_box_in_many_ways(body: str) -> None:
    assert bounds(read(body)) == [(-1.0, 1.0), (0.5, 2.0)]


def test_a_disjunction_of_boxes_becomes_its_hull() -> None:
    body = """(assert (or
        (and (>= X_0 0) (<= X_0 1) (>= X_1 4) (<= X_1 5))
        (and (>= X_0 3) (<= X_0 2) (>= X_1 -9) (<= X_1 9))
        (and (>= X_0 2) (<= X_0 3) (= X_1 2))))"""  # the second case is empty
    assert bounds(read(body)) == [(0.0, 3.0), (2.0, 5.0)]


def test_linear_atoms_over_inputs_are_kept_except_in_disjunctions() -> None:
    domain = read(BOX + "(assert (<= (+ X_0 (* 2 X_1)) 3))")
    (cut,) = domain.constraints
    assert (cut.op, cut.rhs, cut.coefficients.tolist()) == ("<=", 3.0, [1.0, 2.0])
    single = read(BOX + "(assert (or (and (<= X_1 X_0) (>= Y_0 1))))")
    assert len(single.constraints) == 1
    hull = read(BOX + "(assert (or (<= X_1 X_0) (>= X_0 0)))")
    assert hull.constraints == ()
    assert "disjunction" in hull.notes[0]


def test_decimals_are_exact_and_rounded_outward() -> None:
    spec = (TensorSpec("x", (1, 1), (1,), "float32"),)
    head = "(declare-const X_0 Real)(declare-const Y_0 Real)"
    domain = read("(assert (>= X_0 0.1))(assert (<= X_0 679857769e-9))", spec, head)
    assert Fraction(domain.lower[0]) <= Fraction("0.1") < Fraction(float(np.float32(0.1)))
    assert Fraction(domain.upper[0]) >= Fraction("0.679857769")
    assert domain.upper[0] - 0.679857769 < 1e-7


def test_several_inputs_are_flattened_in_order() -> None:
    pair = tuple(TensorSpec(name, (1, 1), (1,), "float32") for name in ("b", "a"))
    assert bounds(read(BOX, pair)) == [(-1.0, 1.0), (0.5, 2.0)]


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ("(assert (<= X_0 1))", 'feature 0 ("X_0"): no lower bound'),
        (BOX + "(assert (>= X_0 2))", "empty"),
        (BOX + "(assert (or (>= X_0 2) (<= X_1 0)))", "empty"),
        (BOX + "(assert false)", "empty"),
        (BOX + "(assert (>= (+ X_0 X_1) 9))", "empty"),
        (BOX + "(assert (<= X_2 1))", "X_2 is not declared"),
        (BOX + "(assert (<= X_0 abc))", "abc"),
        (BOX + "(assert (<= X_0 1e99999))", "1e99999"),
        (BOX + "(assert (<= (* X_0 X_1) 1))", "linear constraints only"),
        (BOX + "(assert (<= (/ 1 X_0) 1))", "division"),
        (BOX + "(assert (<= (/ X_0 0) 1))", "division"),
        (BOX + "(assert (<= (sin X_0) 1))", '"sin"'),
        (BOX + "(assert (xor (<= X_0 1) (<= X_1 1)))", '"xor"'),
        (BOX + "(assert X_0)", "no formula"),
        (BOX + "(assert)", "one formula"),
        (BOX + "(assert (<= X_0))", '"<="'),
        (BOX + "(assert ())", "not understood"),
        (BOX + "(declare-const X_0 Real)", "declared twice"),
        (BOX + "(declare-const Z_0 Real)", "X_i"),
        (BOX + "(declare-const X_9 Bool)", "Real"),
        (BOX + "(declare-const X_2 Real)", "declares 3 inputs X_i, the model has 2"),
        (BOX + "(vnnlib-version 2.0)", "VNN-LIB 1.0"),
        (BOX + "(assert (<= X_0 1)", "never closed"),
        (BOX + ")", 'line 5: ")"'),
        (BOX + "stray", "stray"),
        (BOX + "(" * 500, "nested"),
        (BOX + "(assert (or " + "(and " * 99 + ")" * 101, "nested"),
    ],
)
def test_errors_name_the_line(body: str, part: str) -> None:
    with pytest.raises(DomainError) as caught:
        read(body)
    assert part in str(caught.value)
    assert str(caught.value).startswith("p.vnnlib: ")
    assert "\n" not in str(caught.value)


def test_a_text_is_known_for_vnnlib_by_its_first_character(tmp_path: Path) -> None:
    assert read_domain(HEAD + BOX, TWO, "") == read(BOX)
    path = tmp_path / "P.VNNLIB"
    path.write_text(HEAD + BOX)
    assert read_domain(path, TWO, "") == read(BOX)


ATOMS = st.sampled_from(
    ["(<= X_0 1)", "(>= X_0 0)", "(<= X_1 X_0)", "(>= X_1 -2.5)", "(= X_1 1)", "(>= Y_0 X_0)",
     "true", "(<= (+ X_0 1 (* 3 X_1)) 2)", "(< X_1 1e3)", "(<= X_0", "X_0", ")", "(sin 1)",
     "; note\n", "(- 1)"]
)  # fmt: skip
FORMULAS = st.recursive(
    ATOMS,
    lambda below: st.builds(
        lambda head, parts: f"({head} {' '.join(parts)})",
        st.sampled_from(["and", "or", "not", "assert", "<=", "+"]),
        st.lists(below, max_size=3),
    ),
    max_leaves=8,
)


@examples(300)
@given(st.lists(FORMULAS, max_size=3), st.booleans())
def test_no_property_gives_a_traceback(formulas: list[str], boxed: bool) -> None:
    body = (BOX if boxed else "") + "".join(f"(assert {formula})" for formula in formulas)
    try:
        domain = read(body)
    except DomainError as error:
        assert str(error).startswith("p.vnnlib: ")
        assert len(str(error).splitlines()) == 1
    else:
        assert domain.contains(domain.feasible_point()[None, :])[0]


@given(
    st.lists(
        st.tuples(st.integers(-4, 4), st.integers(0, 3), st.integers(-4, 4), st.integers(0, 3)),
        min_size=1,
        max_size=4,
    )
)
def test_the_hull_contains_every_case_and_is_the_smallest(cases: list[tuple[int, ...]]) -> None:
    texts = [
        f"(and (>= X_0 {a}) (<= X_0 {a + b}) (>= X_1 {c}) (<= X_1 {c + d}))" for a, b, c, d in cases
    ]
    domain = read(f"(assert (or {' '.join(texts)}))")
    assert domain.lower.tolist() == [min(c[0] for c in cases), min(c[2] for c in cases)]
    assert domain.upper.tolist() == [
        max(c[0] + c[1] for c in cases),
        max(c[2] + c[3] for c in cases),
    ]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("properties", "bounds_file", "spec"),
    [
        *[
            (
                f"acasxu_prop_{k}",
                f"acasxu/ACASXU_run2a_1_1_batch_2000.bounds.prop{k}.json",
                TensorSpec("input", (1, 1, 1, 5), (1, 1, 5), "float32"),
            )
            for k in (1, 2, 3, 5)
        ],
        (
            "mnistfc_prop_0_0.03",
            "mnistfc/mnist-net_256x2.bounds.prop.json",
            TensorSpec("0", (1, 784, 1), (784, 1), "float32"),
        ),
    ],
)
def test_shared_properties_are_the_boxes_beside_the_models(
    shared: Path, properties: str, bounds_file: str, spec: TensorSpec
) -> None:
    written = read_domain(shared / "properties" / f"{properties}.vnnlib", (spec,), "")
    boxed = read_domain(shared / "models" / "vnncomp" / bounds_file, (spec,), "")
    assert written == boxed
