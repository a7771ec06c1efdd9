"""The shared models: read, compared with onnxruntime, cut, written, read again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx_graphs import native, sample, with_dead_units

from leo_cli.errors import ModelError
from leo_cli.onnx_io import observed_tensors, read_model, render

pytestmark = pytest.mark.shared
TOLERANCE = {"float16": 0.05, "float32": 1e-4, "float64": 1e-10}
SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "models"
NAMES = sorted(
    str(p.relative_to(SHARED)) for p in SHARED.glob("**/*.onnx") if "malformed" not in p.parts
)
REFUSED = ("conv", "leakyrelu", "relu6", "collins_rul", "seq.dynamic", "qdq", "qoperator")


@pytest.mark.parametrize("name", NAMES)
def test_a_shared_model(name: str) -> None:
    if any(word in name for word in REFUSED):
        with pytest.raises(ModelError, match=r"node .* is not supported|are not supported|ReLU"):
            read_model(SHARED / name)
        return
    model = read_model(SHARED / name)
    assert model.network.units > 0
    rng = np.random.default_rng(0)
    points = sample(model, rng) / 4
    tolerance = TOLERANCE[model.network.dtype]
    for got, expected in zip(native(model, points), model.network.evaluate(points), strict=True):
        assert np.all(np.abs(got - expected) <= tolerance * (1 + np.abs(expected).max()))
    dropped = with_dead_units(model.network, rng)[1]
    again = read_model(render(model, dropped, {}).to_bytes())
    assert sorted(la.width for la in again.network.layers) == sorted(
        la.width for la in dropped.layers
    )
    assert [s.name for s in observed_tensors(again)] == [s.name for s in observed_tensors(model)]
    for got, expected in zip(native(again, points), dropped.evaluate(points), strict=True):
        assert np.all(np.abs(got - expected) <= tolerance * (1 + np.abs(expected).max()))


def _expectations() -> list[tuple[str, str]]:
    path = SHARED / "malformed" / "expect.json"
    if not path.exists():
        return []
    entries = json.loads(path.read_text(encoding="utf-8"))
    return [(e["name"], e["kind"]) for e in entries if e["kind"] != "bounds"]


@pytest.mark.parametrize(("name", "kind"), _expectations())
def test_a_malformed_model(name: str, kind: str) -> None:
    try:
        model = read_model(SHARED / "malformed" / f"{name}.onnx")
    except ModelError as error:
        assert kind in ("reject", "either", "careful")
        assert "\n" not in str(error) and name in str(error)
        return
    assert kind != "reject"
    assert (model.network.units > 0) == (kind in ("accept", "either") or "sigmoid" not in name)
