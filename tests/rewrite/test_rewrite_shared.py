"""Compression of networks trained as in LEO's paper, and their classes on MNIST."""

import gzip
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from leo_cli.arrays import Floats
from leo_cli.candidate import make_candidate
from leo_cli.domain import read_domain
from leo_cli.network import Network
from leo_cli.onnx_io import Model, read_model
from leo_cli.pipeline import analyze, load
from leo_cli.rewrite import RewriteOptions, Shrunk, parse_tolerance, shrink
from leo_cli.stability import Budget, ClassifyOptions, classify

pytestmark = pytest.mark.shared

# connections removed: by LEO's own rules, by default, at 1e-5r and at 1e-4r
TARGETS = {
    "25x25_l1_0.001": (0.19, 0.28, 0.36, 0.53),
    "50x50_l1_0.001": (0.28, 0.57, 0.60, 0.69),
    "100x100_l1_0.0005": (0.30, 0.55, 0.63, 0.73),
}
TOLERANCES = ("0", "half-ulp", "1e-5r", "1e-4r")


def images(shared: Path) -> Floats:
    """(70000, 784) pixels in [0, 1]."""
    parts = []
    for name in ("train", "t10k"):
        with gzip.open(shared / "mnist" / f"{name}-images-idx3-ubyte.gz") as file:
            raw = np.frombuffer(file.read(), dtype=np.uint8, offset=16)
        parts.append(raw.reshape(-1, 784))
    return (np.concatenate(parts) / np.float32(255)).astype(np.float64)


def removed(before: Network, result: Shrunk) -> float:
    return 1 - result.network.connections / before.connections


@pytest.mark.parametrize("name", TARGETS)
def test_connections_removed_and_classes_kept(name: str, shared: Path) -> None:
    path = shared / "models" / "mnist_l1" / f"mnist_{name}.onnx"
    model = read_model(path)
    domain = read_domain(path.with_suffix(".bounds.json"), model.inputs, model.sha256)
    stability = classify(model.network, domain, ClassifyOptions(), Budget(time.monotonic() + 60))
    pixels = images(shared)
    before = model.network.evaluate(pixels)[0]
    for text, target in zip(TOLERANCES, TARGETS[name], strict=True):
        options = RewriteOptions(tolerance=parse_tolerance(text))
        result = shrink(model.network, stability, domain, options)
        assert removed(model.network, result) >= target, text
        assert (result.deviation <= result.allowance).all()
        after = result.network.evaluate(pixels)[0]
        # float64 evaluates both networks far more precisely than the smallest deviation
        assert (np.abs(after - before) <= result.deviation + 1e-11).all()
        assert np.array_equal(after.argmax(axis=1), before.argmax(axis=1))
        if text == "0":
            assert np.allclose(after, before, rtol=0, atol=1e-11)


ALL = (
    *TARGETS,
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "50x50_l1_0.0002",
            "100x100_l1_0.0001",
            "5x100_l1_0.0001",
            "400x400_l1_0.0001",
        )
    ),
)


def native(model: Model, pixels: Floats) -> Floats:
    """(70000, 10) what onnxruntime computes, at its default settings, in float32."""
    session = onnxruntime.InferenceSession(model.source, providers=["CPUExecutionProvider"])
    (name,) = (spec.name for spec in model.inputs)
    blocks = np.array_split(pixels.astype(np.float32), 70)
    return np.concatenate([session.run(None, {name: block})[0] for block in blocks])


@pytest.mark.parametrize("name", ALL)
def test_onnxruntime_gives_all_images_the_same_class(name: str, shared: Path) -> None:
    path = shared / "models" / "mnist_l1" / f"mnist_{name}.onnx"
    problem = load(path, path.with_suffix(".bounds.json"))
    analysis = analyze(problem, ClassifyOptions(), Budget(time.monotonic() + 60))
    pixels = images(shared)
    before = native(problem.model, pixels)
    assert before.shape == (70_000, 10)
    for text in TOLERANCES[1:]:
        options = RewriteOptions(tolerance=parse_tolerance(text))
        candidate = make_candidate(analysis, options)
        after = native(candidate.model, pixels)
        assert np.array_equal(after.argmax(axis=1), before.argmax(axis=1)), text
        # twice what float32 loses in either, seen at these points, on top of the deviation
        gap = np.abs(after.astype(np.float64) - before).max(axis=0)
        assert (gap <= candidate.shrunk.deviation + 1e-4).all(), text
