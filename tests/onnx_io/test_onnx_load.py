"""Files that are broken, hostile, or have their weights elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx_graphs import dense_relu

from leo_cli.errors import ModelError
from leo_cli.onnx_io import read_model


def external(directory: Path, location: str = "m.onnx.data") -> Path:
    """A model whose weights are in `location`."""
    path = directory / "m.onnx"
    onnx.save_model(
        dense_relu([4, 8, 3]),
        path,
        save_as_external_data=True,
        location="m.onnx.data",
        size_threshold=0,
        convert_attribute=False,
    )
    if location != "m.onnx.data":
        proto = onnx.load(path, load_external_data=False)
        for tensor in proto.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        path.write_bytes(proto.SerializeToString())
    return path


def test_external_weights_are_read(tmp_path: Path) -> None:
    path = external(tmp_path)
    model = read_model(path)
    inside = read_model(dense_relu([4, 8, 3]).SerializeToString())
    assert model.has_external_data and not inside.has_external_data
    assert model.size == path.stat().st_size + (8 * 4 + 8 + 3 * 8 + 3) * 4
    for a, b in zip(model.network.layers, inside.network.layers, strict=True):
        assert np.array_equal(a.terms[0].map.rows(slice(None)), b.terms[0].map.rows(slice(None)))


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "sub/../../secret", ""])
def test_external_data_must_stay_beside_the_model(tmp_path: Path, location: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "secret").write_bytes(b"\0" * 4096)
    path = external(inner, location)
    with pytest.raises(ModelError, match=r'initializer "W1": external data .* outside'):
        read_model(path)


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_symbolic_links_do_not_lead_outside(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    path = external(inner)
    (inner / "m.onnx.data").rename(tmp_path / "moved")
    (inner / "m.onnx.data").symlink_to(tmp_path / "moved")
    with pytest.raises(ModelError, match="outside the model's directory"):
        read_model(path)


def test_missing_and_short_data_files(tmp_path: Path) -> None:
    path = external(tmp_path)
    data = tmp_path / "m.onnx.data"
    content = data.read_bytes()
    data.write_bytes(content[:-40])
    with pytest.raises(ModelError, match=r"bytes of external data for shape \[.*\], which needs"):
        read_model(path)
    data.unlink()
    with pytest.raises(ModelError, match=r'file "m.onnx.data" is missing'):
        read_model(path)


@pytest.mark.parametrize(
    ("key", "value"), [("offset", "-4"), ("length", "1e9"), ("length", "999999999999")]
)
def test_offsets_and_lengths_are_checked(tmp_path: Path, key: str, value: str) -> None:
    path = external(tmp_path)
    proto = onnx.load(path, load_external_data=False)
    entries = proto.graph.initializer[0].external_data
    kept = [(e.key, e.value) for e in entries if e.key != key]
    del entries[:]
    for k, v in [*kept, (key, value)]:
        entries.add(key=k, value=v)
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match='initializer "W1"'):
        read_model(path)


def test_a_pipe_has_no_data_beside_it(tmp_path: Path) -> None:
    content = external(tmp_path).read_bytes()
    with pytest.raises(ModelError, match=r"<stdin>: .*give the model as a file, not on a pipe"):
        read_model(content, "<stdin>")


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a directory"):
        read_model(tmp_path)
    with pytest.raises(ModelError, match="no such file"):
        read_model(tmp_path / "none.onnx")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\0" * 64, b"\x08\x08"])
def test_bytes_that_are_no_model(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"^m\.onnx: "):
        read_model(content, "m.onnx")


def test_every_cut_of_a_file_is_an_error() -> None:
    content = dense_relu([2, 3, 1]).SerializeToString()
    for length in range(0, len(content), 7):
        with pytest.raises(ModelError):
            read_model(content[:length])


def test_flipped_bytes_never_crash() -> None:
    content = dense_relu([2, 3, 1]).SerializeToString()
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(600):
        damaged = bytearray(content)
        damaged[int(rng.integers(0, len(content)))] = int(rng.integers(0, 256))
        try:
            read_model(bytes(damaged))
        except ModelError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100


def test_declared_shapes_are_checked_before_anything_is_allocated() -> None:
    proto = dense_relu([4, 8, 3])
    proto.graph.initializer[0].dims[:] = [1 << 31, 1 << 31]
    with pytest.raises(ModelError, match=r'initializer "W1": 32 values for shape'):
        read_model(proto.SerializeToString())
    proto.graph.initializer[0].dims[:] = [-1, 4]
    with pytest.raises(ModelError, match="negative axis"):
        read_model(proto.SerializeToString())


def test_constants_of_any_size_are_not_made() -> None:
    """A few bytes that ask for 2^62 numbers."""
    proto = dense_relu([4, 8, 3])
    shape = numpy_helper.from_array(np.array([1 << 31, 1 << 31]), "huge")
    proto.graph.initializer.append(shape)
    big = onnx.helper.make_node("ConstantOfShape", ["huge"], ["big"])
    last = onnx.helper.make_node("MatMul", ["y", "big"], ["late"])
    proto.graph.node.extend([big, last])
    proto.graph.output.append(onnx.helper.make_tensor_value_info("late", TensorProto.FLOAT, None))
    try:
        model = read_model(proto.SerializeToString())
    except ModelError:
        return
    assert [layer.width for layer in model.network.layers] == [8, 3]


def test_typed_fields_are_as_good_as_raw_data() -> None:
    proto = dense_relu([4, 8, 3])
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor).ravel().tolist()
        tensor.ClearField("raw_data")
        tensor.float_data.extend(values)
    model = read_model(proto.SerializeToString())
    same = read_model(dense_relu([4, 8, 3]).SerializeToString())
    assert np.array_equal(model.network.layers[0].bias, same.network.layers[0].bias)


def test_operators_in_any_order_are_sorted() -> None:
    proto = dense_relu([4, 8, 3])
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    model = read_model(proto.SerializeToString())
    assert [layer.width for layer in model.network.layers] == [8, 3]


def test_cycles_are_found() -> None:
    proto = dense_relu([4, 8, 3])
    proto.graph.node[0].input[0] = "y"
    with pytest.raises(ModelError, match="cycle"):
        read_model(proto.SerializeToString())


@pytest.mark.parametrize(
    ("versions", "message"),
    [([("", 999)], "opset 999"), ([("", 6)], "older than 7"), ([], "imports no standard")],
)
def test_operator_sets(versions: list[tuple[str, int]], message: str) -> None:
    proto = dense_relu([4, 8, 3])
    del proto.opset_import[:]
    for domain, version in versions:
        proto.opset_import.append(onnx.helper.make_opsetid(domain, version))
    with pytest.raises(ModelError, match=message):
        read_model(proto.SerializeToString())


def test_a_newer_ir_version() -> None:
    proto = dense_relu([4, 8, 3])
    proto.ir_version = 99
    with pytest.raises(ModelError, match="IR version 99 is newer"):
        read_model(proto.SerializeToString())


def test_names_defined_twice_and_outputs_that_nothing_makes() -> None:
    proto = dense_relu([4, 8, 3])
    proto.graph.initializer.append(proto.graph.initializer[0])
    with pytest.raises(ModelError, match='"W1" is defined 2 times'):
        read_model(proto.SerializeToString())
    proto = dense_relu([4, 8, 3])
    proto.graph.output[0].name = "nope"
    with pytest.raises(ModelError, match='graph output "nope" is not produced'):
        read_model(proto.SerializeToString())
