"""Compression of networks trained as in LEO's paper, and their classes on MNIST."""

import gzip
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from leo_cli.arrays import Floats
from leo_cli.candidate import Candidate, make_candidate
from leo_cli.network import Network
from leo_cli.onnx_io import Model
from leo_cli.pipeline import analyze, load
from leo_cli.problem import Analysis
from leo_cli.rewrite import RewriteOptions, Shrunk, parse_tolerance
from leo_cli.stability import Budget, ClassifyOptions

pytestmark = pytest.mark.shared

# connections removed: by LEO's own rules, by default, at 1e-5r and at 1e-4r
TARGETS = {
    "25x25_l1_0.001": (0.19, 0.28, 0.36, 0.53),
    "50x50_l1_0.001": (0.28, 0.57, 0.60, 0.69),
    "100x100_l1_0.0005": (0.30, 0.55, 0.63, 0.73),
}
TOLERANCES = ("0", "half-ulp", "1e-5r", "1e-4r")


Pixels = NDArray[np.float32]


@dataclass
class Compression:
    """One network, and what compression makes of it at each tolerance, computed once."""

    name: str
    analysis: Analysis
    made: dict[str, Candidate] = field(default_factory=dict)

    def at(self, tolerance: str) -> Candidate:
        if tolerance not in self.made:
            options = RewriteOptions(tolerance=parse_tolerance(tolerance))
            self.made[tolerance] = make_candidate(self.analysis, options)
        return self.made[tolerance]


@pytest.fixture(scope="module")
def compression(request: pytest.FixtureRequest, shared: Path) -> Compression:
    path = shared / "models" / "mnist_l1" / f"mnist_{request.param}.onnx"
    problem = load(path, path.with_suffix(".bounds.json"))
    analysis = analyze(problem, ClassifyOptions(), Budget(time.monotonic() + 60))
    return Compression(request.param, analysis)


@pytest.fixture(scope="module")
def images(shared: Path) -> Pixels:
    """(70000, 784) in [0, 1]."""
    parts = []
    for name in ("train", "t10k"):
        with gzip.open(shared / "mnist" / f"{name}-images-idx3-ubyte.gz") as file:
            raw = np.frombuffer(file.read(), dtype=np.uint8, offset=16)
        parts.append(raw.reshape(-1, 784))
    return np.concatenate(parts) / np.float32(255)


def precise(networks: Sequence[Network], images: Pixels) -> list[Floats]:
    """For each network (70000, 10) in float64, without a copy of all images in it."""
    found: list[list[Floats]] = [[] for _ in networks]
    for block in np.array_split(images, 70):
        pixels = block.astype(np.float64)
        for blocks, network in zip(found, networks, strict=True):
            blocks.append(network.evaluate(pixels)[0])
    return [np.concatenate(blocks) for blocks in found]


def removed(before: Network, result: Shrunk) -> float:
    return 1 - result.network.connections / before.connections


@pytest.mark.parametrize("compression", TARGETS, indirect=True)
def test_connections_removed_and_classes_kept(compression: Compression, images: Pixels) -> None:
    network = compression.analysis.problem.model.network
    results = [compression.at(text).shrunk for text in TOLERANCES]
    before, *others = precise([network, *(result.network for result in results)], images)
    cases = zip(TOLERANCES, TARGETS[compression.name], results, others, strict=True)
    for text, target, result, after in cases:
        assert removed(network, result) >= target, text
        assert (result.deviation <= result.allowance).all()
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


def native(model: Model, images: Pixels) -> Pixels:
    """(70000, 10) what onnxruntime computes, at its default settings, in float32."""
    session = onnxruntime.InferenceSession(model.source, providers=["CPUExecutionProvider"])
    (name,) = (spec.name for spec in model.inputs)
    blocks = np.array_split(images, 70)
    return np.concatenate([session.run(None, {name: block})[0] for block in blocks])


@pytest.mark.parametrize("compression", ALL, indirect=True)
def test_onnxruntime_gives_all_images_the_same_class(
    compression: Compression, images: Pixels
) -> None:
    before = native(compression.analysis.problem.model, images)
    assert before.shape == (70_000, 10)
    for text in TOLERANCES[1:]:
        candidate = compression.at(text)
        after = native(candidate.model, images)
        assert np.array_equal(after.argmax(axis=1), before.argmax(axis=1)), text
        # twice what float32 loses in either, seen at these points, on top of the deviation
        gap = np.abs(after.astype(np.float64) - before).max(axis=0)
        assert (gap <= candidate.shrunk.deviation + 1e-4).all(), text
