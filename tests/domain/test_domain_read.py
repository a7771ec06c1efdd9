"""`read_domain`: forms of bounds.json, errors that name file, key and way out, and no traceback
whatever comes."""

from __future__ import annotations

import json
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

SHA = "ab" * 32
PIXELS = TensorSpec("pixels", ("batch", 4), (4,), "float32")
IMAGE = TensorSpec("image", (None, 2, 1, 2), (2, 1, 2), "float32")
FULL = {
    "leo_bounds": 1,
    "model_sha256": SHA,
    "inputs": {
        "pixels": {"lower": 0, "upper": 1},
        "tabular": {
            "names": ["age", "pay", "m", "f", "mode"],
            "lower": 0,
            "upper": [120, 900, 1, 1, 1],
            "fixed": {"mode": 1},
            "integer": ["age"],
            "one_hot": [["m", "f"]],
            "linear": [{"coef": {"pay": 1, "age": -10}, "op": "<=", "rhs": 0}],
        },
        "image": {
            "space": "raw",
            "lower": 0,
            "upper": 255,
            "normalize": {"mean": [123.7, 116.3], "std": [58.4, 57.1], "axis": 0},
        },
    },
    "provenance": {"from": "train.csv", "method": "minmax", "margin": 0.05, "odd": 1e999},
}
FULL_INPUTS = (PIXELS, TensorSpec("tabular", ("n", 5), (5,), "float32"), IMAGE)


def read(document: object, *inputs: TensorSpec) -> Domain:
    text = document if isinstance(document, str) else json.dumps(document)
    return read_domain(text, inputs or (PIXELS,), SHA, name="b.json")


def message(document: object, *inputs: TensorSpec) -> str:
    with pytest.raises(DomainError) as caught:
        read(document, *inputs)
    text = str(caught.value)
    assert text.startswith("b.json: ")
    assert "\n" not in text
    assert text.isascii()
    return text.removeprefix("b.json: ")


def exact(number: np.floating) -> Fraction:
    return Fraction(float(number))


def test_short_forms() -> None:
    unit = Domain(np.zeros(4), np.ones(4))
    assert read({"lower": 0, "upper": 1}) == unit
    assert read({"lower": [0, 0.0, -0.0, 0e9], "upper": [1, 1.0, 10e-1, 0.01e2]}) == unit
    assert read({"pixels": {"lower": 0, "upper": 1}}) == unit
    assert read({"inputs": {"pixels": {"lower": 0, "upper": 1}}}) == unit
    nested = {"lower": [[[0, 1]], [[2, 3]]], "upper": [[[4, 5]], [[6, 7]]]}
    assert read(nested, IMAGE).lower.tolist() == [0, 1, 2, 3]
    assert read({"lower": [0, 1, 2, 3], "upper": 9}, IMAGE).lower.tolist() == [0, 1, 2, 3]
    scalar = TensorSpec("s", ("n",), (), "float64")
    assert read({"s": {"lower": 0.1, "upper": [0.3]}}, scalar).inputs == 1


def test_the_full_form() -> None:
    domain = read(FULL, *FULL_INPUTS)
    assert domain.inputs == 13
    assert domain.lower[4:9].tolist() == [0, 0, 0, 0, 1]
    assert domain.upper[4:9].tolist() == [120, 900, 1, 1, 1]
    assert np.flatnonzero(domain.integer).tolist() == [4]
    assert [group.members.tolist() for group in domain.one_hot] == [[6, 7]]
    (cut,) = domain.constraints
    assert (cut.op, cut.rhs, cut.coefficients[4], cut.coefficients[5]) == ("<=", 0.0, -10.0, 1.0)
    exact = [(0 - 123.7) / 58.4] * 2 + [(0 - 116.3) / 57.1] * 2
    assert np.allclose(domain.lower[9:], exact, rtol=1e-6)
    assert domain.contains(domain.sample(20, np.random.default_rng(0))).all()


@pytest.mark.parametrize(
    "name", ["lower", "upper", "inputs", "leo_bounds", "fixed", "", "0", "é\n"]
)
def test_an_input_may_have_any_name(name: str) -> None:
    spec = TensorSpec(name, ("n", 2), (2,), "float32")
    bounds = {"lower": 0, "upper": 1}
    assert read({name: bounds}, spec).upper.tolist() == [1, 1]
    assert read({"leo_bounds": 1, "inputs": {name: bounds}}, spec).upper.tolist() == [1, 1]
    assert read({"inputs": {name: bounds}}, spec).upper.tolist() == [1, 1]
    assert read(bounds, spec).upper.tolist() == [1, 1]


def test_two_inputs_named_lower_and_upper() -> None:
    inputs = [TensorSpec(name, ("n", 1), (1,), "float32") for name in ("lower", "upper")]
    document = {"upper": {"lower": 3, "upper": 4}, "lower": {"lower": 1, "upper": 2}}
    assert read(document, *inputs).lower.tolist() == [1, 3]
    assert "no name of an input" in message({"lower": 0, "upper": 1}, *inputs)


def test_box_bounds_go_outward_integers_inward_and_fixed_values_to_the_nearest() -> None:
    for dtype in ("float16", "float32", "float64"):
        spec = TensorSpec("x", ("n", 3), (3,), dtype)
        document = {"lower": 0.1, "upper": 0.3, "fixed": {"1": 0.2}}
        domain = read(document, spec)
        kind = np.dtype(dtype).type
        low, high = kind(domain.lower[0]), kind(domain.upper[0])
        assert exact(low) <= Fraction("0.1") < exact(np.nextafter(low, kind(1)))
        assert exact(high) >= Fraction("0.3") > exact(np.nextafter(high, kind(0)))
        assert domain.lower[1] == domain.upper[1] == kind(0.2)
    whole = read({"lower": -1.5, "upper": 2.999, "integer": [0, 1, 2, 3]})
    assert (whole.lower.tolist(), whole.upper.tolist()) == ([-1] * 4, [2] * 4)


def test_inputs_of_integer_type_are_integer_boxes() -> None:
    counts = TensorSpec("counts", ("n", 2), (2,), "int64")
    flag = TensorSpec("flag", ("n", 1), (1,), "bool")
    document = {"counts": {"lower": -1.5, "upper": 3}, "flag": {"lower": 0, "upper": 1}}
    domain = read(document, counts, flag)
    assert domain.integer.all()
    assert domain.lower.tolist() == [-1, -1, 0]
    assert domain.dtype == "float64"
    document["flag"]["upper"] = 2
    assert "bool" in message(document, counts, flag)
    assert "integer" in message({"lower": 0.2, "upper": 0.4}, counts)


def test_mixed_float_types_take_the_narrowest() -> None:
    inputs = [TensorSpec(name, (1, 1), (1,), name) for name in ("float64", "float16", "float32")]
    domain = read({spec.name: {"lower": 0.1, "upper": 0.1} for spec in inputs}, *inputs)
    assert domain.dtype == "float16"
    assert (domain.lower < domain.upper).all()
    assert "type" in message({"lower": 0, "upper": 1}, TensorSpec("t", (1, 1), (1,), "string"))


FEATURES = {"names": ["a", "b", "c", "d"], "lower": 0, "upper": 1}


@pytest.mark.parametrize(
    ("document", "parts"),
    [
        ("lower: -1", ["line 1, column 1", "not JSON"]),
        ('{"lower": 0,\n "upper": }', ["line 2, column 11", "not JSON"]),
        ("", ["line 1", "not JSON"]),
        ("3", ["the number 3"]),
        ("null", ["null"]),
        ('"text"', ["the text"]),
        ('{"lower": 0, "lower": 1, "upper": 1}', ['"lower" occurs twice']),
        ("[" * 100_000, ["nested"]),
        ('{"lower": ' + "[" * 50_000 + "]" * 50_000 + "}", ["nested"]),
        ({}, ['no bounds for input "pixels"', "add"]),
        ({"lower": 0}, ['input "pixels"', "feature 0", "no upper bound"]),
        ({"lower": 0, "uper": 1}, ['"uper"', 'did you mean "upper"']),
        ({"pixel": {"lower": 0, "upper": 1}}, ['no input "pixel"', 'did you mean "pixels"']),
        ({"zz": {"lower": 0, "upper": 1}}, ['its inputs: "pixels"']),
        ({"pixels": {"lower": 0, "upper": 1}, "extra": {}}, ['no input "extra"']),
        ({"lower": 0, "upper": float("nan")}, ["upper", "NaN", "finite"]),
        ({"lower": float("-inf"), "upper": 1}, ["lower", "-Infinity"]),
        ({"lower": 0, "upper": True}, ["upper", "true"]),
        ({"lower": 0, "upper": "1"}, ["upper", 'the text "1"']),
        ({"lower": None, "upper": 1}, ["lower", "null"]),
        ({"lower": {}, "upper": 1}, ["lower", "an object"]),
        ({"lower": [0, 0, 0, "x"], "upper": 1}, ["lower", "value 3"]),
        ({"lower": 1, "upper": -1}, ["feature 0", "lower 1 > upper -1"]),
        ({"lower": [0, 0, 2, 0], "upper": 1}, ["feature 2", "lower 2 > upper 1"]),
        ({"lower": 0, "upper": [1, 1, 1]},
         ["upper has 3 values, the model's input has 4 (shape [batch, 4])"]),
        ({"lower": 0, "upper": [[1, 1], [1, 1]]}, ["upper", "[4]"]),
        ({"lower": 0, "upper": [[1], 1, 1, 1]}, ["upper", "nested too deeply"]),
        ({"lower": 0, "upper": []}, ["upper has 0 values"]),
        ({"lower": 0, "upper": 1e39}, ["feature 0", "float32"]),
        ('{"lower": 0, "upper": 1e999999999}', ["upper", "out of range"]),
        ('{"lower": 0, "upper": 1e99999999999999999999999999}', ["upper", "out of range"]),
        ('{"lower": 0, "upper": ' + "9" * 5000 + "}", ["upper", "too long"]),
        ({"leo_bounds": 2, "inputs": {}}, ["leo_bounds 2", "newer leo"]),
        ({"leo_bounds": "1", "inputs": {}}, ["leo_bounds", "the text"]),
        ({"leo_bounds": 1}, ['"inputs" is missing']),
        ({"leo_bounds": 1, "inputs": []}, ["inputs", "a list"]),
        ({"leo_bounds": 1, "input": {}}, ['"input"', 'did you mean "inputs"']),
        ({"leo_bounds": 1, "inputs": {}}, ['no bounds for input "pixels"']),
        ({"leo_bounds": 1, "inputs": {"pixels": 3}}, ['input "pixels"', "the number 3"]),
        ({"model_sha256": "cd" * 32, "inputs": {"pixels": FEATURES}}, ["hash cdcdcdcdcdcd"]),
        ({"model_sha256": "xyz", "inputs": {"pixels": FEATURES}}, ["no SHA-256"]),
        ({"model_sha256": 3, "inputs": {"pixels": FEATURES}}, ["model_sha256", "the number 3"]),
        (FEATURES | {"names": ["a", "b"]}, ["names has 2 names, the model's input has 4"]),
        (FEATURES | {"names": ["a", "b", "c", "a"]}, ['"a" occurs twice']),
        (FEATURES | {"names": ["a", "b", "c", 4]}, ["names", "name 3", "the number 4"]),
        (FEATURES | {"fixed": {"e": 1}}, ["fixed", 'unknown feature "e"']),
        (FEATURES | {"fixed": {"4": 1}}, ["fixed", "no feature 4", "4 features"]),
        (FEATURES | {"fixed": {"a": 1, "0": 1}}, ["fixed", "named twice"]),
        (FEATURES | {"fixed": {"a": 2}}, ['feature 0 ("a")', "fixed value 2", "outside"]),
        (FEATURES | {"fixed": [1]}, ["fixed", "an object"]),
        (FEATURES | {"integer": "a"}, ["integer", "a list"]),
        (FEATURES | {"integer": [1.5]}, ["integer", "no feature 1.5"]),
        (FEATURES | {"integer": [-1]}, ["integer", "no feature -1"]),
        (FEATURES | {"integer": [True]}, ["integer", "true"]),
        (FEATURES | {"lower": 0.2, "upper": 0.8, "integer": ["b"]}, ["no integer between"]),
        (FEATURES | {"one_hot": [["a", "b"], ["b", "c"]]}, ["one_hot", "group 1", "overlap"]),
        (FEATURES | {"one_hot": [[]]}, ["one_hot", "group 0", "empty"]),
        (FEATURES | {"one_hot": ["a"]}, ["one_hot", "a list"]),
        (FEATURES | {"upper": 0.5, "one_hot": [["a", "b"]]}, ["the domain is empty", "one-hot"]),
        (FEATURES | {"lower": 0.5, "one_hot": [["a", "b"]]}, ["the domain is empty", "one-hot"]),
        (FEATURES | {"lower": 0.5, "upper": 0.6, "one_hot": [["a"]]}, ["0 or 1"]),
        (FEATURES | {"linear": [{"coef": {"a": 1}, "op": "<", "rhs": 0}]}, ["op", "<="]),
        (FEATURES | {"linear": [{"coef": {"a": 1}, "op": "<="}]}, ['"rhs" is missing']),
        (FEATURES | {"linear": [{"coef": {"z": 1}, "op": "<=", "rhs": 0}]}, ["coef", '"z"']),
        (FEATURES | {"linear": [{"coef": {"a": 1, "0": 1}, "op": "<=", "rhs": 0}]}, ["twice"]),
        (FEATURES | {"linear": [{"cof": {"a": 1}, "op": "<=", "rhs": 0}]}, ['"coef"?']),
        (FEATURES | {"linear": [{"coef": {"a": "1"}, "op": "<=", "rhs": 0}]}, ["coef", '"a"']),
        (FEATURES | {"linear": [{"coef": {"a": 1e22, "b": 1}, "op": "<=", "rhs": -1}]}, ["empty"]),
        (FEATURES | {"linear": [{"coef": {}, "op": ">=", "rhs": 1}]}, ["empty", "never hold"]),
        (FEATURES | {"linear": [{"coef": {"a": 1, "b": 1}, "op": ">=", "rhs": 3}]}, ["is empty"]),
        (FEATURES | {"linear": {}}, ["linear", "a list"]),
        (FEATURES | {"space": "raw"}, ["normalize"]),
        (FEATURES | {"space": "Raw"}, ["space", '"Raw"']),
        (FEATURES | {"normalize": {"mean": 0, "std": 1}}, ["space"]),
        (FEATURES | {"space": "raw", "normalize": {"mean": 0}}, ['"std" is missing']),
        (FEATURES | {"space": "raw", "normalize": {"mean": 0, "std": 0}}, ["std", "positive"]),
        (FEATURES | {"space": "raw", "normalize": {"mean": [1, 2], "std": 1}}, ["mean has 2"]),
        (FEATURES | {"space": "raw", "normalize": {"mean": 0, "std": 1, "axis": 1}}, ["no axis 1"]),
        (FEATURES | {"space": "raw", "normalize": {"mean": 0, "sd": 1}}, ['did you mean "std"']),
        (FEATURES | {"space": "raw", "normalize": {"mean": [1], "std": 1, "axis": 0}}, ["axis 0"]),
    ],
)  # fmt: skip
def test_errors_name_the_key_and_the_way_out(document: object, parts: list[str]) -> None:
    text = message(document)
    for part in parts:
        assert part in text


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, content, part in (
        (tmp_path / "absent.json", None, "No such file"),
        (tmp_path, None, "directory"),
        (tmp_path / "latin.json", b'{"\xe9": 1}', "not UTF-8"),
        (tmp_path / "zeros.json", bytes(100), "not JSON"),
        (Path("nul\0.json"), None, "cannot be read"),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DomainError, match=part) as caught:
            read_domain(path, (PIXELS,), SHA)
        assert str(caught.value).startswith(f"{path}: ".split("\0")[0])
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(100 * 2**20)
    with pytest.raises(DomainError, match="64 MB"):
        read_domain(huge, (PIXELS,), SHA)
    mark = tmp_path / "mark.json"
    mark.write_bytes(b'\xef\xbb\xbf{"lower": 0, "upper": 1}')
    assert read_domain(mark, (PIXELS,), SHA).upper.tolist() == [1] * 4


def test_a_model_with_too_many_features_is_refused_before_anything_is_made() -> None:
    huge = TensorSpec("x", ("n", 2**40), (2**40,), "float32")
    assert "features" in message({"lower": 0, "upper": 1}, huge)


def test_many_constraints_over_many_features_are_refused() -> None:
    wide = TensorSpec("x", (1, 200_000), (200_000,), "float32")
    cut = {"coef": {"0": 1}, "op": "<=", "rhs": 1}
    assert "too many" in message({"lower": 0, "upper": 1, "linear": [cut] * 300}, wide)


KEYS = [
    "lower", "upper", "names", "fixed", "integer", "one_hot", "linear", "space", "normalize",
    "coef", "op", "rhs", "mean", "std", "axis", "pixels", "image", "inputs", "leo_bounds",
    "model_sha256", "provenance", "0", "1", "key", "lower_bound", "upper_bound", "a", "b",
]  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["raw", "model", "<=", "==", ">=", 1e300, -1e-300, 10**30, SHA, *KEYS])
)
TREES = st.recursive(
    LEAVES,
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(st.sampled_from(KEYS), below, max_size=4)
    ),
    max_leaves=15,
)
SPECS = st.fixed_dictionaries(
    {"lower": st.sampled_from([0, -1, 0.1]), "upper": st.sampled_from([1, 3, 0.9])},
    optional={
        "names": st.just(["a", "b", "c", "d"]),
        "fixed": st.dictionaries(st.sampled_from(["0", "3", "a"]), st.integers(0, 1)),
        "integer": st.lists(st.sampled_from([0, 1, "2", "a"])),
        "one_hot": st.lists(st.lists(st.sampled_from([0, 1, 2, "3", "b"]), max_size=3), max_size=2),
        "linear": st.lists(
            st.fixed_dictionaries(
                {
                    "coef": st.dictionaries(
                        st.sampled_from(["0", "1", "2", "a"]),
                        st.sampled_from([1, -1, 0.1, 0, 1e300, -1e-300]),
                    ),
                    "op": st.sampled_from(["<=", ">=", "=="]),
                    "rhs": st.sampled_from([0, 1, 0.3, -2, 1e308]),
                }
            ),
            max_size=3,
        ),
        "space": st.sampled_from(["raw", "model"]),
        "normalize": st.fixed_dictionaries(
            {"mean": st.sampled_from([0, 0.5, [1, 2, 3, 4]]), "std": st.sampled_from([1, 0.3])}
        ),
        "odd": TREES,
    },
)


def survives(text: str) -> None:
    """Either a domain that holds what it promises, or a DomainError of one line."""
    try:
        domain = read_domain(text, (PIXELS,), SHA, name="b.json")
    except DomainError as error:
        assert str(error).startswith("b.json: ")
        assert len(str(error).splitlines()) == 1
        assert len(str(error)) < 500
    else:
        assert domain.contains(domain.feasible_point()[None, :])[0]
        assert domain.contains(domain.sample(3, np.random.default_rng(0))).all()
        assert np.isfinite(domain.minimum(np.ones((1, 4)))[0])


@examples(300)
@given(TREES | SPECS | st.builds(lambda spec: {"pixels": spec}, SPECS | TREES))
def test_no_json_gives_a_traceback(document: object) -> None:
    survives(json.dumps(document))


@given(SPECS, st.integers(0, 400), st.text(max_size=3))
def test_no_damaged_text_gives_a_traceback(document: object, at: int, patch: str) -> None:
    text = json.dumps(document)
    survives(text[: at % (len(text) + 1)] + patch + text[at % (len(text) + 1) + len(patch) :])


@pytest.mark.shared
def test_malformed_bounds_of_the_shared_models(shared: Path) -> None:
    spec = TensorSpec("x", ("N", 4), (4,), "float32")
    expected = {
        "nan_bound": "NaN", "inverted": "lower 1 > upper -1", "notjson": "not JSON",
        "wrong_length": "lower has 5 values, the model's input has 4",
        "empty": 'no bounds for input "x"',
    }  # fmt: skip
    for case, part in expected.items():
        path = shared / "models" / "malformed" / f"baseline_ok.bad_{case}.json"
        with pytest.raises(DomainError) as caught:
            read_domain(path, (spec,), SHA)
        assert part in str(caught.value)
        assert str(path) in str(caught.value)
    point = read_domain(
        shared / "models" / "malformed" / "baseline_ok.bad_point.json", (spec,), SHA
    )
    assert point.lower.tolist() == point.upper.tolist() == [0.5] * 4
