"""Files on disk: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_graphs import dense_relu, feeds, run, sample

from leo_cli.errors import InputError
from leo_cli.onnx_io import read_model, render, save


def names(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


@pytest.fixture
def external_model(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    path = source / "m.onnx"
    onnx.save_model(
        dense_relu([16, 32, 3]),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    return path


def test_a_rendered_model_is_written_as_it_is(tmp_path: Path) -> None:
    model = read_model(dense_relu([4, 8, 3]).SerializeToString())
    rendered = render(model, model.network, {})
    save(rendered, tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == rendered.to_bytes()
    assert names(tmp_path) == ["out.onnx"]


def test_external_data_is_written_beside_it(tmp_path: Path, external_model: Path) -> None:
    model = read_model(external_model)
    rendered = render(model, model.network, {})
    assert rendered.external
    path = tmp_path / "out.onnx"
    save(rendered, path)
    assert sorted(p.name for p in tmp_path.glob("out*")) == ["out.onnx", "out.onnx.data"]
    onnx.checker.check_model(path)
    again = read_model(path)
    assert again.has_external_data
    points = sample(model, np.random.default_rng(0))
    before = run(str(external_model), feeds(model, points))  # type: ignore[arg-type]
    after = run(str(path), feeds(model, points))  # type: ignore[arg-type]
    assert np.array_equal(before[0], after[0])


def test_saving_is_deterministic(tmp_path: Path, external_model: Path) -> None:
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        model = read_model(external_model)
        save(render(model, model.network, {}), tmp_path / name / "m.onnx")
        contents.append([(tmp_path / name / f).read_bytes() for f in ("m.onnx", "m.onnx.data")])
    assert contents[0] == contents[1]


def test_a_plain_copy_takes_its_data_files_along(tmp_path: Path, external_model: Path) -> None:
    model = read_model(external_model)
    save(model, tmp_path / "copy.onnx")
    assert (tmp_path / "copy.onnx").read_bytes() == external_model.read_bytes()
    assert read_model(tmp_path / "copy.onnx").size == model.size
    beside = external_model.with_name("other.onnx")
    save(model, beside)
    assert read_model(beside).size == model.size


def test_nothing_is_left_behind_where_nothing_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    target.mkdir()
    (target / "occupied").touch()
    with pytest.raises(InputError, match=r"m\.onnx: cannot be written"):
        save(b"content", target)
    assert names(tmp_path) == ["m.onnx"]
    with pytest.raises(InputError, match="cannot be written"):
        save(b"content", tmp_path / "none" / "m.onnx")


def test_an_existing_file_stays_whole_until_the_new_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        save(b"new", path)
    assert path.read_bytes() == b"old" and names(tmp_path) == ["m.onnx"]


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_permissions_are_those_of_ordinary_files(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    (tmp_path / "ordinary").touch()
    save(b"one", path)
    assert path.stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    path.chmod(0o600)
    save(b"two", path)
    assert path.stat().st_mode & 0o777 == 0o600 and path.read_bytes() == b"two"
