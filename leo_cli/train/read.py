"""Reading training data of any known kind: .npz, .csv, IDX files or a folder of them."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leo_cli.errors import InputError
from leo_cli.train.csv_table import parse_csv
from leo_cli.train.dataset import Dataset, make_dataset
from leo_cli.train.idx import find_pair, is_idx, parse_idx, unzipped

TRAINING_PREFIXES = ("train", "")
TEST_PREFIXES = ("t10k", "test")


def read_data(
    source: Path | bytes,
    *,
    name: str = "",
    task: str = "auto",
    target: str | None = None,
    labels: Path | None = None,
) -> tuple[Dataset, Dataset | None]:
    """(training data, test data that lies beside it or None).

    source: content, or the path of an .npz with x and y, a .csv, an IDX file of samples (`labels`
    is its IDX file of labels), or a folder with IDX files as MNIST comes: train-images...,
    train-labels..., perhaps t10k-.... Bytes of IDX files become numbers in [0, 1]. Raises
    InputError naming the file and the place.
    """
    name = name or (str(source) if isinstance(source, Path) else "<stdin>")
    if isinstance(source, Path) and source.is_dir():
        if labels is not None:
            raise InputError(f"--labels {labels}: the folder {source} brings its own labels")
        return _read_folder(source, task)
    content = _content(source) if isinstance(source, Path) else source
    sha256 = hashlib.sha256(content).hexdigest()
    plain = unzipped(content, name)
    if is_idx(plain):
        if labels is None:
            raise InputError(f"{name}: IDX samples need their labels: give --labels FILE")
        return _idx_pair((content, name), labels, task), None
    if labels is not None:
        raise InputError(
            f"--labels {labels}: {name} is not an IDX file, so its labels are inside it"
        )
    if zipfile.is_zipfile(io.BytesIO(plain)):
        if target is not None:
            raise InputError(
                f"--target {target}: {name} is no CSV file; its targets are the array y"
            )
        x, y = _npz(plain, name)
        return make_dataset(x, y, source=name, sha256=sha256, task=task), None
    if plain[:6] == b"\x93NUMPY":
        raise InputError(
            f"{name}: a single array; put samples and targets into one .npz as x and y"
        )
    try:
        text = plain.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: neither .npz, IDX nor a CSV file in UTF-8 ({error})") from error
    x, y, features = parse_csv(text, name, target)
    return make_dataset(x, y, source=name, sha256=sha256, task=task, features=features), None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read_folder(folder: Path, task: str) -> tuple[Dataset, Dataset | None]:
    pair = find_pair(folder, TRAINING_PREFIXES)
    if pair is None:
        raise InputError(
            f"{folder}: no IDX files of images and labels in this folder "
            "(as train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz)"
        )
    training = _idx_pair((_content(pair[0]), str(pair[0])), pair[1], task)
    beside = find_pair(folder, TEST_PREFIXES)
    if beside is None or beside == pair:
        return training, None
    test = _idx_pair((_content(beside[0]), str(beside[0])), beside[1], task)
    if test.x.shape[1] != training.x.shape[1] or test.classes != training.classes:
        raise InputError(
            f"{folder}: {test.source} and {training.source} differ in features or classes"
        )
    return training, test


def _idx_pair(images: tuple[bytes, str], labels: Path, task: str) -> Dataset:
    """images: content and name of the file of samples."""
    content, name = images
    contents = content, _content(labels)
    x = parse_idx(content, name)
    y = parse_idx(contents[1], str(labels))
    sha256 = hashlib.sha256(b"".join(contents)).hexdigest()
    if x.ndim == 1:
        x = x[:, None]
    if x.dtype == np.uint8:
        scaled = x.astype(np.float32) / np.float32(255)
        return make_dataset(scaled, y, source=name, sha256=sha256, task=task, range=(0.0, 1.0))
    return make_dataset(x, y, source=name, sha256=sha256, task=task)


def _npz(content: bytes, name: str) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    try:
        archive = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{name}: broken .npz file ({error})") from error
    arrays: list[NDArray[np.generic]] = []
    for key in ("x", "y"):
        found = [k for k in archive.files if k.lower() == key]
        if not found:
            raise InputError(
                f'{name}: no array "{key}"; it holds {", ".join(archive.files) or "nothing"}'
            )
        try:
            arrays.append(archive[found[0]])
        except ValueError as error:
            raise InputError(
                f'{name}: "{found[0]}" holds Python objects (ragged rows?), not a plain array'
            ) from error
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
            raise InputError(f'{name}: "{found[0]}" is damaged ({error})') from error
    return arrays[0], arrays[1]
