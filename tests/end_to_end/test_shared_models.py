"""Real and hostile models that lie beside the checkout: what each must come to."""

import json
from pathlib import Path

import onnx
import pytest
from leo_command import SHARED, leo

pytestmark = pytest.mark.shared
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no models beside the checkout")

MALFORMED = SHARED / "malformed"
EXPECT = json.loads((MALFORMED / "expect.json").read_text()) if MALFORMED.is_dir() else []
LARGEST_MEMORY = 3 << 30  # bytes of address space: plenty for onnxruntime, nothing for 2^62 floats

MUST_WORK = (
    "mnist_l1/mnist_25x25*",
    "mnist_l1/mnist_50x50_l1_0.001*",
    "mnist_l1/mnist_100x100_l1_0.0005*",
    "vnncomp/acasxu/*1_1*",
    "vnncomp/mnistfc/*256x2*",
    "vnncomp/test/*",
    "vnncomp/reach_prob/*",
    "vnncomp/safenlp/*",
    "vnncomp/rl/*",
    "vnncomp/tllverify/*",
    "vnncomp/cora/*",
    "sklearn/*",
    "torch/seq.*",
    "torch/seq_nobias.*",
    "torch/seq_f64.*",
    "torch/seq_f16.*",
    "torch/bn1d.*",
    "torch/dropout.*",
    "torch/hidden_output.*",
    "torch/seq_planted.*",
    "torch/shared_layer.*",
    "torch/softmax.*",
    "keras/*",
    "ort_tools/seq.onnxslim.*",
    "ort_tools/seq.ortopt_basic.*",
    "ort_tools/seq.fp16*",
)


SLOW = ("vnncomp/cora", "vnncomp/mnistfc", "vnncomp/tllverify", "vnncomp/rl/dubins", "mnist_l1")


def _cases() -> list:
    """(model, bounds), those that take long marked as slow."""
    found = {m for pattern in MUST_WORK for m in SHARED.glob(pattern) if m.suffix == ".onnx"}
    pairs = [(m, box) for m in found for box in m.parent.glob(f"{m.stem}.bounds*.json")]
    return [
        pytest.param(
            model,
            box,
            marks=[pytest.mark.slow] * model.relative_to(SHARED).as_posix().startswith(SLOW),
            id=box.name.removesuffix(".json"),
        )
        for model, box in sorted(pairs)
    ]


def _interface(path: Path) -> list:
    graph = onnx.load(path, load_external_data=False).graph
    initializers = {t.name for t in graph.initializer}
    tensors = [*(t for t in graph.input if t.name not in initializers), *graph.output]
    return [(t.name, t.type.SerializeToString()) for t in tensors]


@needs_shared
@pytest.mark.parametrize(("path", "box"), _cases())
def test_real_models_compress(path, box, tmp_path) -> None:
    """In little time, so that many units stay open: what is written must be right all the same."""
    out = tmp_path / "out.onnx"
    limits = ("--time-limit", "2s", "--check-n", "1000")
    done = leo("compress", path, out, "--bounds", box, "--json", *limits)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verification"]["passed"] is True
    assert report["after"]["connections"] <= report["before"]["connections"]
    assert report["fidelity"]["deviation"] <= report["fidelity"]["tolerance"]
    onnx.checker.check_model(str(out))
    assert _interface(out) == _interface(path)


@needs_shared
@pytest.mark.parametrize("exporter", ["ts", "dyn"])
def test_planted_units_are_found(exporter) -> None:
    planted = json.loads((SHARED / "torch/seq_planted.planted.json").read_text())["layer0"]
    stem = SHARED / f"torch/seq_planted.{exporter}"
    done = leo("analyze", f"{stem}.onnx", "--bounds", f"{stem}.bounds.json", "--json")
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)["layers"][0]
    assert set(planted["always_off"]) | set(planted["constant_zero"]) <= set(first["inactive"])
    assert set(planted["always_on"]) | set(planted["constant_pos"]) <= set(first["active"])


@needs_shared
@pytest.mark.parametrize("name", ["50x50_l1_0.001", "100x100_l1_0.0005"])
def test_default_options_decide_nearly_every_unit(name) -> None:
    stem = SHARED / f"mnist_l1/mnist_{name}"
    done = leo("analyze", f"{stem}.onnx", "--bounds", f"{stem}.bounds.json", "--json")
    report = json.loads(done.stdout)
    assert report["totals"]["undecided"] <= 2 and report["seconds"]["total"] < 20


@needs_shared
@pytest.mark.parametrize("case", EXPECT, ids=lambda case: case["name"])
def test_odd_and_hostile_files(case, tmp_path) -> None:
    """Each gets the answer that it deserves, within little memory, and leaves nothing behind."""
    name, _, bad = case["name"].partition(" + ")
    box = MALFORMED / (bad or f"{name}.bounds.json")
    out = tmp_path / "out.onnx"
    done = leo(
        *("compress", MALFORMED / f"{name}.onnx", out, "--bounds", box, "--json", "-j", 1),
        memory=LARGEST_MEMORY,
    )
    said = done.stderr.decode()
    assert "Traceback" not in said and done.returncode in (0, 2), said
    accepted = done.returncode == 0
    kind = case["kind"]
    if kind == "bounds":
        kind = "accept" if case["expect"].startswith("accepted") else "reject"
    assert accepted or kind not in ("accept", "noop"), said
    assert not accepted or kind != "reject"
    if not accepted:
        assert said.count("\n") == 1 and done.stdout == b"" and list(tmp_path.iterdir()) == []
        return
    report = json.loads(done.stdout)
    assert report["verification"]["passed"] is True
    assert _interface(out) == _interface(MALFORMED / f"{name}.onnx")
    if kind == "noop":
        assert out.read_bytes() == (MALFORMED / f"{name}.onnx").read_bytes()


@needs_shared
def test_every_line_of_the_list_is_run() -> None:
    assert len(EXPECT) > 50 and len(_cases()) > 50
