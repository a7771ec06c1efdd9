"""Distances between arrays of outputs, in value, in units in the last place and in bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples

from leo_cli.errors import InputError
from leo_cli.verify.difference import difference
from leo_cli.verify.formats import format_of, ulps

TYPES = ("float16", "float32", "float64")


@pytest.mark.parametrize("dtype", TYPES)
def test_the_table_of_formats_is_that_of_numpy(dtype: str) -> None:
    info, found = np.finfo(dtype), format_of(dtype)
    assert found.roundoff == info.eps / 2
    assert found.smallest == info.smallest_subnormal
    assert found.largest == info.max
    kind, last = np.dtype(dtype).type, int(found.integers)
    assert int(kind(last)) == last
    assert int(kind(last + 1)) != last + 1


def test_other_types_have_no_format() -> None:
    with pytest.raises(InputError, match="int8"):
        format_of("int8")


@pytest.mark.parametrize("dtype", TYPES)
def test_stepping_to_the_next_number_is_one_ulp(dtype: str) -> None:
    kind = np.dtype(dtype).type
    start = np.array([0, 1, -1, 3.5, 1e-5, -65000, format_of(dtype).smallest], dtype=kind)
    walked = start
    for steps in range(1, 5):
        walked = np.nextafter(walked, kind(np.inf))
        assert np.all(ulps(start, walked) == steps)
        assert np.all(ulps(walked, start) == steps)


@examples(200)
@given(st.floats(allow_nan=False), st.floats(allow_nan=False), st.sampled_from(TYPES))
def test_ulps_count_the_numbers_between(a: float, b: float, dtype: str) -> None:
    with np.errstate(over="ignore"):
        first, second = np.array([a], dtype=dtype), np.array([b], dtype=dtype)
    bits = np.dtype(dtype).itemsize * 8

    def place(value: np.ndarray) -> int:
        raw = int(value.view(f"uint{bits}")[0])
        size = raw & ((1 << (bits - 1)) - 1)
        return -size if raw >> (bits - 1) else size

    expected = min(abs(place(first) - place(second)), 2**63 - 1)
    assert ulps(first, second)[0] == expected


def test_zeros_have_different_bits_and_no_distance() -> None:
    found = difference(np.array([[0.0]]), np.array([[-0.0]]))
    assert not found.identical[0, 0]
    assert found.largest == 0.0
    assert found.max_ulp == 0


def test_nan_and_infinity_equal_their_own_bits_only() -> None:
    nan, other_nan = np.array([0x7FC00000, 0x7FC00001], dtype="uint32").view("float32")
    inf = np.float32(np.inf)
    a = np.array([[nan, nan, inf, inf, nan, 1]], dtype="float32")
    b = np.array([[nan, other_nan, inf, -inf, 1, inf]], dtype="float32")
    found = difference(a, b)
    assert found.identical.tolist() == [[True, False, True, False, False, False]]
    assert found.absolute.tolist() == [[0, np.inf, 0, np.inf, np.inf, np.inf]]
    assert not found.rows[0]
    assert found.max_ulp == 0


def test_ulps_at_the_scale_of_a_component() -> None:
    a = np.array([[8.0, 1.0], [1e-30, 2.0]], dtype="float32")
    b = a.copy()
    b[1, 0] = -1e-30
    b[0, 0] = np.nextafter(np.float32(8), np.float32(9))
    b[0, 1] = np.nextafter(np.float32(1), np.float32(2))
    found = difference(a, b)
    assert found.max_ulp > 1e8
    assert found.scaled_ulp == 1.0
    only_zero = difference(np.zeros((1, 1), "float32"), np.zeros((1, 1), "float32"))
    assert only_zero.scaled_ulp == 0.0


def test_labels_are_equal_or_not() -> None:
    strings = difference(np.array([["a"], ["b"]]), np.array([["a"], ["c"]]))
    assert strings.absolute.tolist() == [[0.0], [np.inf]]
    assert strings.rows.tolist() == [True, False]
    integers = difference(np.array([[1], [2]]), np.array([[1], [3]]))
    assert integers.rows.tolist() == [True, False]


def test_other_shapes_and_types_are_never_equal() -> None:
    assert np.isinf(difference(np.zeros((2, 3)), np.zeros((2, 2))).largest)
    assert np.isinf(difference(np.zeros((2, 1)), np.zeros((2, 1), dtype=int)).largest)
    mixed = difference(np.zeros((2, 1), "float32"), np.full((2, 1), 0.5))
    assert not mixed.identical.any()
    assert mixed.largest == 0.5
