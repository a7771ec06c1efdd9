"""Linear maps: what is derived from a large matrix in blocks is what the small one holds whole."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leo_cli import linear_map
from leo_cli.arrays import frozen
from leo_cli.linear_map import Dense, Entrywise, Scaled

ENTRIES = st.sampled_from([0.0, 1.0, -1.0, 0.5, -3.0, 2.0**-60, -(2.0**40)])


@st.composite
def matrices(draw):
    rows, columns = draw(st.integers(1, 7)), draw(st.integers(1, 5))
    entries = draw(st.lists(ENTRIES, min_size=rows * columns, max_size=rows * columns))
    return np.array(entries).reshape(rows, columns)


def _real(linear, x):
    """linear x in rational arithmetic, from its rows."""
    rows = linear.rows(slice(None))
    return [sum(Fraction(w) * Fraction(v) for w, v in zip(r, x, strict=True)) for r in rows]


@given(matrices(), st.integers(0, 10**6))
def test_derived_maps_of_a_large_matrix_are_made_in_blocks(matrix, seed) -> None:
    small = Dense(matrix)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_map, "LARGE", 0)
        patch.setattr(linear_map, "BLOCK", 4)
        large = Dense(matrix)
        pairs = [(small.magnitude(), large.magnitude())]
        pairs += zip(small.parts(), large.parts(), strict=True)
        pairs += [(a.magnitude(), b.magnitude()) for a, b in pairs]
        pairs += [(a.parts()[1], b.parts()[1]) for a, b in pairs]
        x = np.random.default_rng(seed).integers(-4, 5, (3, matrix.shape[1])).astype(float)
        y = np.random.default_rng(seed).integers(-4, 5, (2, len(matrix))).astype(float)
        assert isinstance(large.magnitude(), Entrywise)
        assert large.smallest == small.smallest
        for whole, blocked in pairs:
            assert np.array_equal(whole.rows(slice(None)), blocked.rows(slice(None)))
            assert whole.smallest == blocked.smallest
            assert blocked.apply(x[0]).shape == (len(matrix),)
            np.testing.assert_allclose(blocked.apply(x), whole.apply(x), rtol=1e-12, atol=1e-3)
            backwards = blocked.apply_transposed(y), whole.apply_transposed(y)
            np.testing.assert_allclose(*backwards, rtol=1e-12, atol=1e-3)
            rows, columns = np.arange(0, len(matrix), 2), np.arange(matrix.shape[1] - 1)
            kept = blocked.take(rows, columns).rows(slice(None))
            assert np.array_equal(kept, whole.take(rows, columns).rows(slice(None)))


@given(matrices())
def test_parts_add_up_to_the_matrix_and_its_magnitude(matrix) -> None:
    plus, minus = (part.rows(slice(None)) for part in Dense(matrix).parts())
    assert np.array_equal(plus + minus, matrix)
    assert np.array_equal(plus - minus, Dense(matrix).magnitude().rows(slice(None)))


@given(matrices(), st.integers(0, 10**6))
def test_a_selection_computes_what_its_rows_say(matrix, seed) -> None:
    rng = np.random.default_rng(seed)
    chosen = Scaled(rng.integers(0, 4, 6), matrix.ravel()[rng.integers(0, matrix.size, 6)], 4)
    x = rng.integers(-9, 10, 4).astype(float)
    assert [Fraction(v) for v in chosen.apply(x)] == _real(chosen, x)
    columns = rng.permutation(4)[:3]
    taken = chosen.take(None, columns).rows(slice(None))
    assert np.array_equal(taken, chosen.rows(slice(None))[:, columns])


def test_all_of_a_map_is_the_map_itself() -> None:
    dense = Dense(np.eye(3))
    assert dense.take(np.arange(3), np.arange(3)) is dense
    assert np.array_equal(dense.take(np.array([2, 1, 0])).matrix, np.eye(3)[::-1])


def test_what_is_frozen_can_be_changed_by_nobody() -> None:
    source = np.arange(4.0)
    kept = frozen(source)
    source[0] = 9.0
    assert kept[0] == 0.0 and not kept.flags.writeable
    assert frozen(kept) is kept, "no copy where nobody can write"
    view = source[:2]
    view.setflags(write=False)  # read-only, but what it looks into is not
    again = frozen(view)
    source[1] = 7.0
    assert again[1] == 1.0
