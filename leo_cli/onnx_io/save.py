"""Put files on disk so that a reader sees the old content or the new one, never a part.

Each file is written under a temporary name in its own directory, synced, and renamed. A model with
external data is two files: both are complete on disk before the first is renamed, data before
model.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import onnx

from leo_cli.errors import InputError
from leo_cli.onnx_io.external import data_files, resolve
from leo_cli.onnx_io.model import Model
from leo_cli.onnx_io.write import Rendered

LARGEST_FILE = 1_900_000_000  # bytes; protobuf ends at 2 GiB
SMALLEST_EXTERNAL = 1024  # bytes; smaller tensors stay in the model file, as exporters do it
ALIGNMENT = 64  # of tensors in the data file, so that it can be mapped


def save(content: Rendered | Model | bytes, path: Path) -> None:
    """Write a model, a plain copy of a model with its data files, or bytes.

    Raises InputError where the place cannot be written to; what was there before is untouched then.
    """
    if isinstance(content, Model):
        _replace([*_data_copies(content, path), (path, content.source)])
    elif isinstance(content, Rendered) and (content.external or _size(content) > LARGEST_FILE):
        location = f"{path.name}.data"
        proto, data = _with_external_data(content.proto, location)
        _replace(
            [
                (path.with_name(location), data),
                (path, proto.SerializeToString(deterministic=True)),
            ]
        )
    else:
        _replace([(path, content if isinstance(content, bytes) else content.to_bytes())])


def _size(rendered: Rendered) -> int:
    return sum(len(t.raw_data) for t in rendered.proto.graph.initializer)


def _with_external_data(proto: onnx.ModelProto, location: str) -> tuple[onnx.ModelProto, bytes]:
    """The model with its large initializers moved to a data file, and the data file's content."""
    light = onnx.ModelProto()
    light.CopyFrom(proto)
    data = bytearray()
    for tensor in light.graph.initializer:
        if len(tensor.raw_data) < SMALLEST_EXTERNAL:
            continue
        data.extend(b"\0" * (-len(data) % ALIGNMENT))
        entries = (
            ("location", location),
            ("offset", str(len(data))),
            ("length", str(len(tensor.raw_data))),
        )
        data.extend(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in entries:
            tensor.external_data.add(key=key, value=value)
    return light, bytes(data)


def _data_copies(model: Model, path: Path) -> list[tuple[Path, bytes]]:
    """The data files that a plain copy in another directory needs beside it."""
    if not model.has_external_data or model.directory is None:
        return []
    target = path.absolute().parent
    if target.resolve() == model.directory.resolve():
        return []
    proto = onnx.ModelProto.FromString(model.source)
    return [
        (target / location, resolve(model.directory, location, model.name, location).read_bytes())
        for location in data_files(proto)
    ]


def _replace(files: list[tuple[Path, bytes]]) -> None:
    """Write all files under temporary names, then rename them in order."""
    waiting: list[tuple[Path, Path]] = []
    try:
        for path, content in files:
            waiting.append((_written_beside(path, content), path))
        for temporary, path in waiting:
            temporary.replace(path)
    except OSError as error:
        raise InputError(f"{files[-1][0]}: cannot be written ({error.strerror})") from None
    finally:
        for temporary, _ in waiting:
            temporary.unlink(missing_ok=True)
    for directory in {path.absolute().parent for path, _ in files}:
        _sync_directory(directory)


def _written_beside(path: Path, content: bytes) -> Path:
    """A temporary file in the directory of `path` with this content, synced."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(_mode(path))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _mode(path: Path) -> int:
    """The permissions of the file that is replaced, or those that a new file gets."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_directory(directory: Path) -> None:
    """Make renames in a directory durable, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
