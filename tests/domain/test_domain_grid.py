"""Rounding of rationals to float types: never to the wrong side, never further than one number."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leo_cli.domain.grid import (
    FLOAT_TYPES,
    grid_down,
    grid_up,
    round_down,
    round_nearest,
    round_up,
    spacing,
)


@st.composite
def rationals(draw: st.DrawFn, dtype: str) -> Fraction:
    """Rationals of all sizes, numbers of the type, midpoints of neighbours, and what is just
    beside these."""
    if draw(st.booleans()):
        return draw(st.fractions(-65000, 65000, max_denominator=10**6))
    number = np.dtype(dtype).type(draw(st.floats(-60000, 60000, width=16)))
    scale = Fraction(2) ** draw(st.integers(-30, 0) | st.just(-1080))
    beside = np.nextafter(number, np.dtype(dtype).type(np.inf))
    value = (Fraction(float(number)) + Fraction(float(beside))) / 2
    value = draw(st.sampled_from([Fraction(float(number)), value])) * scale
    return value + draw(st.sampled_from([0, 0, 1, -1])) * Fraction(1, 10**30)


@given(st.data())
def test_rounding_is_to_the_right_side_and_no_further_than_needed(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(FLOAT_TYPES))
    values = data.draw(st.lists(rationals(dtype), min_size=1, max_size=5))
    below, above = round_down(values, dtype), round_up(values, dtype)
    near = round_nearest(values, dtype)
    for value, down, up, nearest in zip(values, below, above, near, strict=True):
        for number in (down, up, nearest):
            assert float(np.dtype(dtype).type(number)) == number
        low, high = Fraction(float(down)), Fraction(float(up))
        assert low <= value <= high
        assert (low == high) == (low == value)
        if low < high:
            assert np.nextafter(down.astype(dtype), np.dtype(dtype).type(np.inf)) == up
        assert abs(Fraction(float(nearest)) - value) == min(value - low, high - value)
        if value - low == high - value and low < high:
            assert nearest.astype(dtype).view(f"u{np.dtype(dtype).itemsize}") % 2 == 0


@given(st.data())
def test_rounding_of_float64_values_agrees(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(FLOAT_TYPES))
    values = np.array(data.draw(st.lists(st.floats(-60000, 60000), min_size=1, max_size=5)))
    exact = [Fraction(v) for v in values]
    assert np.array_equal(grid_down(values, dtype), round_down(exact, dtype))
    assert np.array_equal(grid_up(values, dtype), round_up(exact, dtype))
    moved = np.maximum(
        np.abs(grid_up(values, dtype) - values), np.abs(grid_down(values, dtype) - values)
    )
    assert (moved <= spacing(np.abs(values), dtype)).all()


@pytest.mark.parametrize("dtype", FLOAT_TYPES)
def test_beyond_the_range_outward_rounding_is_infinite(dtype: str) -> None:
    top = Fraction(float(np.finfo(dtype).max))
    values = [top, top + 1, 10**400 * Fraction(1), -(10**400) * Fraction(1)]
    assert np.isinf(round_up(values, dtype)).tolist() == [False, True, True, False]
    assert np.isinf(round_down(values, dtype)).tolist() == [False, False, False, True]


def test_zero_has_no_sign() -> None:
    tiny = [Fraction(0), Fraction(-1, 10**400), Fraction(1, 10**400)]
    for rounded in (round_down(tiny, "float32"), round_up(tiny, "float32")):
        assert not np.signbit(rounded[rounded == 0]).any()
