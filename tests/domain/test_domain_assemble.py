"""Nothing that a file allows is lost by normalising and rounding."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples

from leo_cli.domain import Domain, read_domain
from leo_cli.domain.grid import round_nearest
from leo_cli.errors import DomainError
from leo_cli.tensors import TensorSpec

RAW = ["0", "1", "-0.7", "0.1", "255", "3.14159", "17.5"]
MEANS, STDS = ["0", "0.1", "123.675", "2"], ["1", "0.3", "58.395", "255"]


def decimal(text: str) -> Fraction:
    return Fraction(text)


class Written(str):
    """A number that `json` writes as it stands."""


def dump(value: object) -> str:
    if isinstance(value, Written):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {dump(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(dump, value)) + "]"
    return json.dumps(value)


@examples(200)
@given(st.data())
def test_every_input_that_the_file_allows_is_in_the_domain_after_rounding(
    data: st.DataObject,
) -> None:
    """Draw a point first, then a file that allows it; normalise it exactly, and round it."""
    inputs = data.draw(st.integers(1, 4))
    dtype = data.draw(st.sampled_from(["float16", "float32", "float64"]))
    raw = [decimal(data.draw(st.sampled_from(RAW))) for _ in range(inputs)]
    mean = data.draw(st.sampled_from(MEANS))
    std = data.draw(st.sampled_from(STDS))
    scaled = data.draw(st.booleans())
    room = [Fraction(data.draw(st.sampled_from(["0", "0.1", "3"]))) for _ in range(inputs)]
    document: dict[str, object] = {}
    document["lower"] = [Written(text(x - r)) for x, r in zip(raw, room, strict=True)]
    document["upper"] = [Written(text(x + r)) for x, r in zip(raw, room, strict=True)]
    if data.draw(st.booleans()):
        document["fixed"] = {"0": Written(text(raw[0]))}
    coefficients = [data.draw(st.sampled_from(["1", "-10", "0.1", "0"])) for _ in range(inputs)]
    value = sum((decimal(c) * x for c, x in zip(coefficients, raw, strict=True)), Fraction(0))
    op = data.draw(st.sampled_from(["<=", ">=", "=="]))
    document["linear"] = [
        {
            "coef": {str(i): Written(c) for i, c in enumerate(coefficients)},
            "op": op,
            "rhs": Written(text(value)),
        }
    ]
    if scaled:
        document |= {"space": "raw", "normalize": {"mean": Written(mean), "std": Written(std)}}
    point = [(x - decimal(mean)) / decimal(std) if scaled else x for x in raw]
    stored = round_nearest(point, dtype)
    representable = all(Fraction(v) == x for v, x in zip(stored, point, strict=True))
    domain = read_domain(
        dump(document), (TensorSpec("x", ("n", inputs), (inputs,), dtype),), "", name="b.json"
    )
    if scaled or op == "==" or representable:
        assert domain.contains(stored[None, :])[0]


def text(value: Fraction) -> str:
    """Exact: every value here is a decimal."""
    digits = 12
    scaled = value * 10**digits
    assert scaled.denominator == 1
    return f"{scaled.numerator}e-{digits}"


def read(document: object, dtype: str = "float32", inputs: int = 4) -> Domain:
    spec = TensorSpec("x", ("n", inputs), (inputs,), dtype)
    return read_domain(json.dumps(document), (spec,), "", name="b.json")


def test_normalised_bounds_are_rounded_outward_from_the_exact_quotient() -> None:
    document = {"space": "raw", "lower": 0, "upper": 255, "normalize": {"mean": 123.7, "std": 58.4}}
    for dtype in ("float16", "float32", "float64"):
        domain = read(document, dtype)
        low, high = Fraction("-123.7") / Fraction("58.4"), Fraction("131.3") / Fraction("58.4")
        kind = np.dtype(dtype).type
        below, above = Fraction(float(domain.lower[0])), Fraction(float(domain.upper[0]))
        assert below < low < Fraction(float(np.nextafter(kind(domain.lower[0]), kind(9))))
        assert above > high > Fraction(float(np.nextafter(kind(domain.upper[0]), kind(-9))))


def test_one_hot_and_fixed_raw_features_take_their_normalised_values() -> None:
    document = {
        "space": "raw", "lower": 0, "upper": 1, "one_hot": [[0, 1]], "fixed": {"2": 0.5},
        "normalize": {"mean": [0.5, 0.25, 0.1, 0], "std": 0.5},
    }  # fmt: skip
    domain = read(document)
    (group,) = domain.one_hot
    assert (group.cold.tolist(), group.hot.tolist()) == ([-1.0, -0.5], [1.0, 1.5])
    assert domain.lower.tolist()[:2] == [-1.0, -0.5]
    assert domain.upper.tolist()[:2] == [1.0, 1.5]
    assert domain.lower[2] == domain.upper[2] == np.float32(0.8)
    fixed = read(document | {"fixed": {"0": 1}})
    assert fixed.upper[1] == -0.5
    assert fixed.lower[0] == 1.0
    with pytest.raises(DomainError, match="told apart"):
        read(document | {"normalize": {"mean": 1e8, "std": 1}})


def test_integers_stay_integers_only_where_the_model_sees_integers() -> None:
    raw = {"space": "raw", "lower": 0.5, "upper": 3.5, "integer": [0, 1]}
    shifted = read(raw | {"normalize": {"mean": 1, "std": 1}})
    assert shifted.integer.tolist() == [True, True, False, False]
    assert shifted.lower.tolist() == [0.0, 0.0, -0.5, -0.5]
    assert shifted.notes == ()
    halved = read(raw | {"normalize": {"mean": 1, "std": 2}})
    assert not halved.integer.any()
    assert halved.lower.tolist() == [0.0, 0.0, -0.25, -0.25]
    assert halved.upper.tolist() == [1.0, 1.0, 1.25, 1.25]
    assert "interval" in halved.notes[0]


def test_constraints_of_representable_numbers_are_kept_as_they_are() -> None:
    box = {"lower": 0, "upper": 4, "integer": [0, 1]}
    exact = read(box | {"linear": [{"coef": {"0": 2, "1": -1}, "op": "==", "rhs": 1}]})
    assert [(c.op, c.rhs) for c in exact.constraints] == [("==", 1.0)]
    above = read(box | {"linear": [{"coef": {"2": 2, "3": 1}, "op": ">=", "rhs": 3}]})
    assert [(c.op, c.rhs, c.coefficients[2]) for c in above.constraints] == [("<=", -3.0, -2.0)]
    decimal_rhs = read(box | {"linear": [{"coef": {"2": 1}, "op": "<=", "rhs": 0.3}]})
    assert Fraction(decimal_rhs.constraints[0].rhs) >= Fraction("0.3")


def test_an_equality_over_real_features_allows_their_rounding() -> None:
    box = {"lower": 0, "upper": 1}
    domain = read(box | {"linear": [{"coef": {str(i): 1 for i in range(4)}, "op": "==", "rhs": 1}]})
    assert [c.op for c in domain.constraints] == ["<=", "<="]
    assert sum(c.rhs for c in domain.constraints) < 1e-5
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(4), size=500).astype(np.float32).astype(np.float64)
    assert domain.contains(shares).all()
    assert len(np.unique(domain.sample(200, rng), axis=0)) == 200


def test_a_constraint_that_always_holds_is_dropped() -> None:
    empty = {"lower": 0, "upper": 1, "linear": [{"coef": {"0": 0}, "op": "<=", "rhs": 0}]}
    assert read(empty).constraints == ()
