"""Reading training data: what is read is what was written; bad data is refused with its place."""

import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from leo_cli.errors import InputError
from leo_cli.train.dataset import make_dataset, split
from leo_cli.train.idx import parse_idx
from leo_cli.train.read import read_data

IDX_CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx_bytes(array: np.ndarray) -> bytes:
    code = IDX_CODES[array.dtype.str[1:]]
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def npz_bytes(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def labelled(folder: Path, prefix: str, count: int, zipped: bool) -> None:
    images = np.arange(count * 6, dtype=np.uint8).reshape(count, 2, 3)
    labels = np.arange(count, dtype=np.uint8) % 2
    for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
        content = idx_bytes(array)
        name = f"{prefix}-{kind}-ubyte" + (".gz" if zipped else "")
        (folder / name).write_bytes(gzip.compress(content) if zipped else content)


@given(
    st.sampled_from(sorted(IDX_CODES)).flatmap(
        lambda code: hnp.arrays(
            np.dtype(code),
            hnp.array_shapes(min_dims=1, max_dims=3, max_side=4),
            elements={"allow_nan": False} if code[0] == "f" else None,
        )
    ),
    st.booleans(),
)
def test_idx_arrays_come_back_as_written(array: np.ndarray, zipped: bool) -> None:
    content = idx_bytes(array)
    back = parse_idx(gzip.compress(content) if zipped else content, "a.idx")
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        data, _ = read_data(content, name="a")
    except InputError as error:
        assert str(error).startswith("a: ")
    else:
        assert np.isfinite(data.x).all()


@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_of_idx_files_has_training_and_test_data(tmp_path: Path, zipped: bool) -> None:
    labelled(tmp_path, "train", 7, zipped)
    labelled(tmp_path, "t10k", 3, zipped)
    training, test = read_data(tmp_path)
    assert training.x.shape == (7, 6)
    assert test is not None
    assert test.x.shape == (3, 6)
    assert training.x[0, 5] == np.float32(5) / np.float32(255)
    assert training.classes == ("0", "1")
    lower, upper = training.bounds()
    assert (lower == 0).all() and (upper == 1).all()


def test_a_pair_of_idx_files_equals_their_folder(tmp_path: Path) -> None:
    labelled(tmp_path, "train", 7, True)
    folder, _ = read_data(tmp_path)
    pair, _ = read_data(
        tmp_path / "train-images-idx3-ubyte.gz", labels=tmp_path / "train-labels-idx1-ubyte.gz"
    )
    np.testing.assert_array_equal(folder.x, pair.x)
    np.testing.assert_array_equal(folder.y, pair.y)
    assert folder.sha256 == pair.sha256


def test_npz_axes_are_flattened_and_classes_named() -> None:
    x = np.arange(24.0).reshape(4, 2, 3)
    data, _ = read_data(npz_bytes(X=x, y=np.array(["b", "a", "b", "a"])), name="d.npz")
    np.testing.assert_array_equal(data.x, x.reshape(4, 6))
    assert data.classes == ("a", "b")
    np.testing.assert_array_equal(data.y, [1, 0, 1, 0])


@pytest.mark.parametrize(
    ("y", "task", "classification"),
    [
        (np.array([0, 1, 2, 0]), "auto", True),
        (np.array([0.0, 1.0, 2.0, 0.0]), "auto", False),
        (np.array([0.0, 1.0, 2.0, 0.0]), "classify", True),
        (np.array([0, 1, 2, 0]), "regress", False),
        (np.array([True, False, True, True]), "auto", True),
        (np.array([[0.5, 1.5]] * 4), "auto", False),
    ],
)
def test_the_task_follows_the_targets(y: np.ndarray, task: str, classification: bool) -> None:
    data = make_dataset(np.ones((4, 2)), y, source="d", sha256="", task=task)
    assert data.is_classification is classification
    assert data.outputs == (len(np.unique(y)) if classification else y.reshape(4, -1).shape[1])


def test_many_integer_targets_are_quantities() -> None:
    data = make_dataset(np.ones((100, 2)), np.arange(100), source="d", sha256="")
    assert not data.is_classification


def test_csv_columns_and_target() -> None:
    text = "\ufeffage, kind ,pay\r\n1,cat,2.5\r\n\r\n3,dog,4\r\n"
    data, _ = read_data(text.encode(), name="d.csv", target="kind")
    np.testing.assert_array_equal(data.x, [[1, 2.5], [3, 4]])
    assert data.features == ("age", "pay")
    assert data.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (b"a,b,y\n1,2,0\n1,2\n", {}, "d: line 3 has 2 fields, the header has 3"),
        (b"a,b,y\n1,oops,0\n1,2,1\n", {}, 'd: line 2, column "b": "oops" is not a number'),
        (b"a,b,y\n1,nan,0\n1,2,1\n", {}, 'd: line 2, column "b": nan is not finite'),
        (b"a,b,y\n1,,0\n1,2,1\n", {}, 'd: line 2, column "b": empty'),
        (b"a,b,y\n1,2,\n1,2,1\n", {}, 'd: line 2, column "y": the target is empty'),
        (b"a,b,y\n1,2,0.5\n1,2,inf\n", {}, 'd: line 3, column "y": inf is not finite'),
        (b"a,b,y\n1,2,0\n1,2,1\n", {"target": "z"}, 'd: no column "z"; the columns are: a, b, y'),
        (b"a,b,c\n1,2,0\n1,2,1\n", {}, "--target, one of: a, b, c"),
        (b"a,a,y\n1,2,0\n1,2,1\n", {}, 'd: two columns are called "a"'),
        (b"1,2,0\n1,2,1\n", {}, "d: the first line holds numbers"),
        (b"a,b,y\n1,2,3\n1,2,3\n", {}, "d: all samples are of one class, 3"),
        (b"a,b,y\n1,2,3\n", {}, "d: 1 samples are too few"),
        (b'a,b,y\n1,"2,3\n', {}, "d: line 2: unexpected end of data"),
        (b"\xff\xfe\x00\x01", {}, "d: neither .npz, IDX nor a CSV file"),
        (b"", {}, "d: the first line must name at least two"),
        (b"\x93NUMPY\x01\x00", {}, "d: a single array"),
        (b"\x1f\x8b\x08\x00broken", {}, "d: broken gzip file"),
        (npz_bytes(x=np.ones((3, 2))), {}, 'd: no array "y"; it holds x'),
        (npz_bytes(x=np.ones(3), y=np.arange(3)), {}, "d: x has 1 axes"),
        (npz_bytes(x=np.ones((3, 2)), y=np.arange(2)), {}, "d: x has 3 samples but y has 2"),
        (npz_bytes(x=np.ones((3, 0)), y=np.arange(3)), {}, "d: x has no features"),
        (
            npz_bytes(x=np.array([[1, 2], [3, np.nan]]), y=np.arange(2)),
            {},
            "d: x: sample 1, feature 1 is nan, not a finite float32",
        ),
        (
            npz_bytes(x=np.array([[1, 2], [1e300, 3]]), y=np.arange(2)),
            {},
            "d: x: sample 1, feature 0 is 1e+300, not a finite float32",
        ),
        (
            npz_bytes(x=np.ones((3, 2)), y=np.array([0.1, np.inf, 2])),
            {},
            "d: y: sample 1, feature 0 is inf",
        ),
        (
            npz_bytes(x=np.ones((3, 2)), y=np.array([0, np.nan, 2])),
            {"task": "classify"},
            "d: y: sample 1, feature 0 is nan",
        ),
        (npz_bytes(x=np.ones((3, 2)), y=np.array(["a", "b", "c"])), {"task": "regress"}, "is text"),
        (npz_bytes(x=np.ones((3, 2)), y=np.ones((3, 2), int)), {"task": "classify"}, "one axis"),
        (npz_bytes(x=np.array([["1"], ["2"]]), y=np.arange(2)), {}, "numbers are needed"),
        (idx_bytes(np.ones((3, 2), np.uint8)), {}, "give --labels FILE"),
        (npz_bytes(x=np.ones((3, 2)), y=np.arange(3)), {"target": "a"}, "d is no CSV file"),
    ],
)
def test_bad_data_is_refused_with_its_place(content: bytes, options: dict, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_data(content, name="d", **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ragged_rows_in_an_npz_are_refused() -> None:
    ragged = np.empty(2, dtype=object)
    ragged[:] = [[1.0, 2.0], [3.0]]
    with pytest.raises(InputError, match=r'd: "x" holds Python objects \(ragged rows\?\)'):
        read_data(npz_bytes(x=ragged, y=np.arange(2)), name="d")


def test_a_truncated_npz_is_refused() -> None:
    content = bytearray(npz_bytes(x=np.ones((30, 2)), y=np.arange(30)))
    content[150:300] = bytes(150)
    with pytest.raises(InputError, match=r"^d: "):
        read_data(bytes(content), name="d")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\0\0\x08\x02\0\0\0\x02", "header ends before its 2 dimensions"),
        (b"\0\0\x08\x01\0\0\0\x05abc", "promises 5 bytes of shape [5], the file has 3"),
        (b"\0\0\x07\x01\0\0\0\x01a", "not an IDX file"),
    ],
)
def test_broken_idx_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_idx(content, "a.idx")
    assert str(caught.value).startswith("a.idx: ")
    assert words in str(caught.value)


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.csv: cannot be read"):
        read_data(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="no IDX files"):
        read_data(tmp_path)


@given(st.integers(4, 60), st.floats(0.01, 0.6), st.integers(0, 5))
def test_a_split_shares_out_every_sample_once(samples: int, share: float, seed: int) -> None:
    x = np.arange(samples, dtype=np.float32)[:, None]
    data = make_dataset(x, np.arange(samples) % 2, source="d", sha256="")
    training, held_out = split(data, share, seed)
    assert held_out is not None
    together = np.concatenate([training.x, held_out.x])
    np.testing.assert_array_equal(np.sort(together, axis=0), x)
    again, _ = split(data, share, seed)
    np.testing.assert_array_equal(again.x, training.x)


def test_bounds_hold_every_sample_and_the_margin() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3)) * [1, 10, 0]
    data = make_dataset(x, np.arange(50) % 2, source="d", sha256="")
    lower, upper = data.bounds()
    np.testing.assert_array_equal(lower, data.x.min(axis=0))
    np.testing.assert_array_equal(upper, data.x.max(axis=0))
    wide_lower, wide_upper = data.bounds(0.1)
    np.testing.assert_allclose(wide_upper - wide_lower, (upper - lower) * 1.2, rtol=1e-5)
