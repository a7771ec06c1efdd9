"""From bytes to a protobuf model that can be trusted to be well-formed.

`load` ends with a model whose tensors hold what their shapes say, that onnx's own checker accepts,
whose operators all exist, and that holds nothing this package refuses wherever it stands: control
flow, random numbers, custom operators. Nothing is allocated on the word of a shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from leo_cli.errors import ModelError
from leo_cli.onnx_io import external, screening
from leo_cli.onnx_io.ordering import evaluation_order


@dataclass(frozen=True)
class Loaded:
    """source: the bytes of the model file. size: with its external data. in_order: whether the
    file lists its nodes in an order of evaluation, as ONNX asks."""

    proto: onnx.ModelProto
    source: bytes
    size: int
    has_external_data: bool
    notes: tuple[str, ...]
    in_order: bool


def read_bytes(path: Path) -> bytes:
    """The file's content. Raises ModelError where it is no readable file."""
    if path.is_dir():
        raise ModelError(f"{path}: is a directory; give an ONNX file")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None


def _parse(source: bytes, name: str) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(source)
    except DecodeError:
        raise ModelError(
            f"{name}: not an ONNX protobuf, or cut short; export or copy the file again"
        ) from None
    if not proto.HasField("graph"):
        raise ModelError(f"{name}: the model has no graph; give an ONNX model file")
    return proto


def _texts(proto: onnx.ModelProto) -> Iterator[str | bytes]:
    """The names that the package works with."""
    graph = proto.graph
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for info in (*graph.input, *graph.output, *graph.value_info):
        yield info.name
        yield from (d.dim_param for d in info.type.tensor_type.shape.dim)
    yield from (tensor.name for tensor in external.tensors(graph))
    yield from (opset.domain for opset in proto.opset_import)
    yield from (text for entry in proto.metadata_props for text in (entry.key, entry.value))
    yield from (function.name for function in proto.functions)


def _check_texts(proto: onnx.ModelProto, name: str) -> None:
    """Protobuf hands out bytes, or raises, for a name that is no text."""
    try:
        broken = any(not isinstance(text, str) for text in _texts(proto))
    except UnicodeDecodeError:
        broken = True
    if broken:
        raise ModelError(f"{name}: a name in the file is not UTF-8; export or copy the file again")


def _sort(proto: onnx.ModelProto, name: str) -> bool:
    """Put the nodes into an order of evaluation (some converters append them at the end); whether
    they were in one."""
    graph = proto.graph
    order = evaluation_order(graph.node, range(len(graph.node)))
    if order == list(range(len(graph.node))):
        return True
    if len(order) < len(graph.node):
        stuck = min(set(range(len(graph.node))) - set(order))
        raise ModelError(f"{name}: {screening.label(graph.node[stuck])}: the graph has a cycle")
    nodes = [graph.node[k] for k in order]
    del graph.node[:]
    graph.node.extend(nodes)
    return False


def load(source: Path | bytes, name: str) -> Loaded:
    """Read and check a model. Raises ModelError with one line that says what is wrong."""
    content = source if isinstance(source, bytes) else read_bytes(source)
    directory = None if isinstance(source, bytes) else source.absolute().parent
    proto = _parse(content, name)
    _check_texts(proto, name)
    screening.check_tensors(proto, name)
    screening.check_versions(proto, name)
    proto, notes = screening.inline_functions(proto, name)
    screening.check_operators(proto, name)
    in_order = _sort(proto, name)
    has_external_data = bool(external.data_files(proto))
    size = len(content) + external.load_external(proto, directory, name)
    screening.check_model(proto, name)
    return Loaded(proto, content, size, has_external_data, notes, in_order)
