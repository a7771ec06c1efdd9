"""Weights in files beside the model (ONNX external data), read without trusting the model.

A location must stay inside the model's directory, symbolic links resolved; offset and length must
lie inside the file and agree with the tensor's shape. What is read becomes `raw_data`, so that the
rest of the package knows one kind of tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import TensorProto

from leo_cli.errors import ModelError
from leo_cli.onnx_io.constants import expected_bytes


def tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """All stored tensors of a graph: initializers and tensors in attributes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def is_external(tensor: TensorProto) -> bool:
    return tensor.data_location == TensorProto.EXTERNAL


def data_files(proto: onnx.ModelProto) -> tuple[str, ...]:
    """The locations, relative to the model's directory, that its tensors name."""
    entries = (
        entry.value
        for tensor in tensors(proto.graph)
        if is_external(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    )
    return tuple(dict.fromkeys(entries))


def resolve(directory: Path, location: str, name: str, tensor: str) -> Path:
    """The file of a location. Raises ModelError where it leaves `directory` or does not exist."""
    base = directory.resolve()
    path = (base / location).resolve()
    if not location or Path(location).is_absolute() or not path.is_relative_to(base):
        raise ModelError(
            f'{name}: initializer "{tensor}": external data "{location}" is outside the model\'s '
            "directory; move the data file beside the model"
        )
    if not path.is_file():
        raise ModelError(
            f'{name}: initializer "{tensor}": external data file "{location}" is missing; '
            "copy it beside the model"
        )
    return path


def _number(text: str, name: str, tensor: str) -> int:
    if not text.isdigit() or len(text) > 18:
        raise ModelError(
            f'{name}: initializer "{tensor}": bad external data offset or length "{text}"'
        )
    return int(text)


def load_external(proto: onnx.ModelProto, directory: Path | None, name: str) -> int:
    """Replace every external tensor by its bytes; return the number of bytes read.

    Raises ModelError: no directory (a model on a pipe), a location outside it, a missing or short
    file.
    """
    total = 0
    for tensor in tensors(proto.graph):
        if not is_external(tensor):
            continue
        entries = {e.key: e.value for e in tensor.external_data}
        if directory is None:
            raise ModelError(
                f'{name}: initializer "{tensor.name}" is stored in an external file; '
                "give the model as a file, not on a pipe"
            )
        path = resolve(directory, entries.get("location", ""), name, tensor.name)
        offset = _number(entries.get("offset", "0"), name, tensor.name)
        needed = expected_bytes(tensor, name)
        length = _number(entries.get("length", str(needed)), name, tensor.name)
        available = path.stat().st_size - offset
        if length != needed or available < needed:
            raise ModelError(
                f'{name}: initializer "{tensor.name}": {min(length, max(available, 0))} bytes of '
                f"external data for shape {list(tensor.dims)}, which needs {needed}"
            )
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(needed)
        tensor.raw_data = data
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT
        total += needed
    return total
