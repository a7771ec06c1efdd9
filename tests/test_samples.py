"""The user's own inputs: formats, what fits the model, and what the domain lets in."""

import io
from pathlib import Path

import numpy as np
import pytest

from leo_cli.domain import Domain
from leo_cli.errors import InputError
from leo_cli.samples import read_samples
from leo_cli.tensors import TensorSpec

IMAGE = (TensorSpec("image", ("n", 2, 2), (2, 2), "float32"),)
TWO = (
    TensorSpec("a", ("n", 1), (1,), "float32"),
    TensorSpec("b", ("n", 2), (2,), "float32"),
)
ROWS = np.array([[0.0, 0.25, 0.5, 1.0], [1.0, 1.0, 0.0, 0.0]])


def _box(features: int) -> Domain:
    return Domain(np.zeros(features), np.ones(features))


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        _npy(ROWS),
        _npy(ROWS.reshape(2, 2, 2).astype(np.float16)),
        _npz(image=ROWS, label=np.array([0, 1])),
        _npz(X=ROWS, y=np.array([0, 1])),
        _npz(anything=ROWS),
        b"0,0.25,0.5,1\n1,1,0,0\n",
        b"\xef\xbb\xbfa,b,c,d\r\n0,.25,5e-1,1\r\n\r\n1,1,0,0",
    ],
)
def test_every_format_gives_the_same_rows(content: bytes) -> None:
    samples = read_samples(content, IMAGE, _box(4))
    np.testing.assert_array_equal(samples.points, ROWS)
    assert samples.notes == ()


def test_a_file_is_read_like_its_bytes(tmp_path) -> None:
    path = tmp_path / "rows.of.any.suffix"
    path.write_bytes(_npy(ROWS))
    np.testing.assert_array_equal(read_samples(path, IMAGE, _box(4)).points, ROWS)


def test_one_row_may_stand_alone() -> None:
    np.testing.assert_array_equal(read_samples(_npy(ROWS[0]), IMAGE, _box(4)).points, ROWS[:1])


def test_several_inputs_by_name_or_side_by_side() -> None:
    a, b = np.array([[0.5]]), np.array([[0.25, 1.0]])
    expected = [[0.5, 0.25, 1.0]]
    assert read_samples(_npz(b=b, a=a), TWO, _box(3)).points.tolist() == expected
    assert read_samples(b"0.5,0.25,1", TWO, _box(3)).points.tolist() == expected


def test_rows_outside_the_domain_are_dropped_with_a_note() -> None:
    rows = np.vstack([ROWS, [[2, 0, 0, 0]], [[np.nan, 0, 0, 0]], [[np.inf, 0, 0, 0]]])
    samples = read_samples(_npy(rows), IMAGE, _box(4), "mine.npy")
    np.testing.assert_array_equal(samples.points, ROWS)
    assert samples.notes == ("mine.npy: 3 of 5 samples lie outside the domain, dropped",)


def test_rows_are_rounded_to_the_type_of_the_inputs() -> None:
    (row,) = read_samples(b"0.1,0.1,0.1,0.1", IMAGE, _box(4)).points
    assert row.tolist() == [float(np.float32(0.1))] * 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no rows"),
        (b"a,b,c,d\n", "no rows"),
        (b"1,2,3\n", "rows of 3 values"),
        (b"1,2,3,4\n1,2\n", "comma-separated numbers"),
        (b"1,2,3,4\n1,2,3,x\n", "comma-separated numbers"),
        (b"\xff\xfe\x00", "neither .npy"),
        (_npy(ROWS)[:-3], "not a readable"),
        (b"PK\x03\x04 and nothing", "not a readable"),
        (_npy(np.array([[None] * 4])), "not a readable"),
        (_npy(np.array([["a"] * 4])), "not numbers"),
        (_npy(np.array(1.0)), "rows of 1 values"),
        (_npz(x=ROWS[:, :3], y=ROWS), "rows of 3 values"),
        (_npz(p=ROWS, q=ROWS), "no array named 'image'"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        read_samples(content, IMAGE, _box(4), "mine.npy")
    assert str(error.value).startswith("mine.npy: ") and "\n" not in str(error.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputError, match=r"no/such.npy: No such file"):
        read_samples(Path("no/such.npy"), IMAGE, _box(4))


def test_arrays_of_different_length_do_not_fit() -> None:
    with pytest.raises(InputError, match="number of rows"):
        read_samples(_npz(a=np.zeros((2, 1)), b=np.zeros((3, 2))), TWO, _box(3))
