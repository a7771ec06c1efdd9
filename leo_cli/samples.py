"""Real inputs given by the user: .npy, .npz or .csv, one input a row.

They serve as witnesses and as verification points, so they count only where the promise does: rows
outside the domain are dropped, with a note. The format is told by the content, not by the suffix.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.errors import InputError
from leo_cli.tensors import TensorSpec

_NPY_MAGIC = b"\x93NUMPY"
_ZIP_MAGIC = b"PK\x03\x04"
_ANY_INPUT = ("X", "x", "data", "inputs")  # usual names of the features in an .npz of a data set


@dataclass(frozen=True)
class Samples:
    """points: (m, inputs) of the domain, in its dtype. notes: what was dropped."""

    points: Floats
    notes: tuple[str, ...] = ()


def read_samples(
    source: Path | bytes, inputs: Sequence[TensorSpec], domain: Domain, name: str = ""
) -> Samples:
    """Read the rows of `source`, round them to the inputs' type and keep those inside `domain`.

    Raises InputError when the file cannot be read or does not fit the model's inputs.
    """
    name = name or (str(source) if isinstance(source, Path) else "<stdin>")
    rows = _rows(_content(source, name), inputs, name)
    with np.errstate(over="ignore"):
        points = rows.astype(domain.dtype).astype(np.float64)
    finite = points[np.isfinite(points).all(axis=1)]
    kept = finite[domain.contains(finite)]
    dropped = len(points) - len(kept)
    notes = (f"{name}: {dropped} of {len(points)} samples lie outside the domain, dropped",)
    return Samples(kept, notes if dropped else ())


def _content(source: Path | bytes, name: str) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return source.read_bytes()
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}: give a .npy, .npz or .csv file") from error


def _rows(content: bytes, inputs: Sequence[TensorSpec], name: str) -> Floats:
    if content.startswith(_NPY_MAGIC):
        return _all_features(_load(content, name), inputs, name)
    if content.startswith(_ZIP_MAGIC):
        return _from_archive(_load(content, name), inputs, name)
    return _all_features(_from_text(content, name), inputs, name)


def _load(content: bytes, name: str) -> Any:
    try:
        return np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{name}: not a readable .npy or .npz file: {error}") from error


def _from_archive(
    archive: Mapping[str, NDArray[Any]], inputs: Sequence[TensorSpec], name: str
) -> Floats:
    try:
        arrays = {key: archive[key] for key in archive}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{name}: not a readable .npz file: {error}") from error
    wanted = [spec.name for spec in inputs]
    if all(key in arrays for key in wanted):
        parts = [_features(arrays[spec.name], spec, name) for spec in inputs]
        if len({len(part) for part in parts}) > 1:
            raise InputError(f"{name}: {', '.join(wanted)} differ in their number of rows")
        return np.hstack(parts)
    usual = [key for key in _ANY_INPUT if key in arrays]
    if len(arrays) == 1:
        return _all_features(next(iter(arrays.values())), inputs, name)
    if usual:
        return _all_features(arrays[usual[0]], inputs, name)
    raise InputError(
        f"{name}: no array named {', '.join(map(repr, wanted))}; it has {', '.join(arrays)}"
    )


def _from_text(content: bytes, name: str) -> Floats:
    try:
        lines = [line for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: neither .npy, .npz nor comma-separated text") from error
    if lines and not _is_numeric(lines[0]):
        lines = lines[1:]  # a header
    if not lines:
        raise InputError(f"{name}: no rows: give one input a row, its features separated by commas")
    try:
        return np.loadtxt(lines, delimiter=",", dtype=np.float64, ndmin=2)
    except ValueError as error:
        raise InputError(f"{name}: not rows of comma-separated numbers: {error}") from error


def _is_numeric(line: str) -> bool:
    try:
        [float(cell) for cell in line.split(",")]
    except ValueError:
        return False
    return True


def _all_features(array: NDArray[Any], inputs: Sequence[TensorSpec], name: str) -> Floats:
    """(m, sum of sizes) from rows that hold all inputs one after the other, or the only input."""
    if len(inputs) == 1:
        return _features(array, inputs[0], name)
    whole = TensorSpec("all inputs", (), (sum(spec.size for spec in inputs),), "float64")
    return _features(array, whole, name)


def _features(array: NDArray[Any], spec: TensorSpec, name: str) -> Floats:
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name}: holds {array.dtype}, not numbers")
    if array.ndim == 1 and len(array) == spec.size:
        array = array[None]
    columns = int(np.prod(array.shape[1:], dtype=np.int64)) if array.ndim > 1 else 1
    if array.ndim == 0 or columns != spec.size:
        raise InputError(
            f"{name}: rows of {columns} values do not fit the model's input "
            f"{spec.name!r}, which has {spec.size} features"
        )
    return np.asarray(array.reshape(len(array), spec.size), dtype=np.float64)
