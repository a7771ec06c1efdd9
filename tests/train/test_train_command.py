"""`leo train` from file to files (on to `leo check`: tests/test_documentation.py)."""

import io
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from leo_cli.cli.main import run
from leo_cli.domain import read_domain
from leo_cli.onnx_io import read_model
from leo_cli.train import make_dataset, model_bytes
from leo_cli.train.options import TrainOptions
from leo_cli.train.perceptron import Perceptron

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")

FAST = ["--hidden", "12,8", "--epochs", "8", "--batch-size", "16", "--no-progress"]


def table(path: Path, rows: int = 120, regression: bool = False) -> Path:
    """A CSV in which the first two of four columns decide, and the last is constant."""
    rng = np.random.default_rng(5)
    x = np.column_stack([rng.normal(size=(rows, 3)) * [1, 20, 1], np.full(rows, 0.1)])
    total = x[:, 0] + x[:, 1] / 20
    y = [f"{v:.4f}" if regression else ("big" if v > 0 else "small") for v in total]
    lines = ["a,b,c,fixed,outcome"]
    lines += [",".join([*(f"{v:.5g}" for v in row), t]) for row, t in zip(x, y, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


def infer(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (name,) = [i.name for i in session.get_inputs()]
    result: np.ndarray = session.run(None, {name: x.astype(np.float32)})[0]
    return result


def train_table(folder: Path, *extra: str, regression: bool = False) -> Path:
    data = table(folder / "data.csv", regression=regression)
    out = folder / "model.onnx"
    arguments = ["train", str(data), "-o", str(out), "--target", "outcome", *FAST, *extra]
    assert run(arguments) == 0
    return out


def test_it_writes_a_model_its_bounds_and_a_report(tmp_path: Path) -> None:
    out = train_table(tmp_path, "--normalize", "standard")
    report = json.loads((tmp_path / "model.train.json").read_text())
    assert report["data"]["classes"] == ["big", "small"]
    assert report["score"]["held_out"] > 0.8
    assert len(report["history"]) == 8
    assert report["output"]["bytes"] == out.stat().st_size
    model = read_model(out)
    assert report["output"]["sha256"] == model.sha256
    domain = read_domain(tmp_path / "model.bounds.json", model.inputs, model.sha256)
    rows = [line.split(",")[:4] for line in (tmp_path / "data.csv").read_text().split()[1:]]
    x = np.array(rows, dtype=np.float32).astype(np.float64)
    np.testing.assert_array_equal(domain.lower, x.min(axis=0))
    np.testing.assert_array_equal(domain.upper, x.max(axis=0))
    assert [layer.width for layer in model.network.layers if layer.relu] == [12, 8]
    logits = infer(out, x)
    assert logits.shape == (120, 2)
    (classes,) = [p.value for p in onnx.load(out).metadata_props if p.key == "classes"]
    labels = [line.split(",")[4] for line in (tmp_path / "data.csv").read_text().split()[1:]]
    right = [
        json.loads(classes)[k] == label for k, label in zip(logits.argmax(1), labels, strict=True)
    ]
    assert np.mean(right) > 0.8


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    out = train_table(tmp_path)
    first, bounds = out.read_bytes(), (tmp_path / "model.bounds.json").read_bytes()
    assert train_table(tmp_path).read_bytes() == first
    assert (tmp_path / "model.bounds.json").read_bytes() == bounds
    assert train_table(tmp_path, "--seed", "1").read_bytes() != first


@pytest.mark.parametrize("normalize", ["none", "standard", "minmax"])
def test_the_file_computes_what_torch_computes(normalize: str) -> None:
    rng = np.random.default_rng(6)
    x = rng.uniform(-3, 3, size=(40, 5)).astype(np.float32)
    data = make_dataset(x, np.arange(40) % 3, source="d", sha256="0")
    weights = [rng.normal(size=s).astype(np.float32) for s in ((7, 5), (6, 7), (3, 6))]
    biases = [rng.normal(size=len(w)).astype(np.float32) for w in weights]
    offset = None if normalize == "none" else x.mean(axis=0)
    scale = None if normalize == "none" else (1 / x.std(axis=0)).astype(np.float32)
    model = Perceptron(tuple(weights), tuple(biases), offset, scale)
    session = onnxruntime.InferenceSession(
        model_bytes(model, data, TrainOptions()), providers=["CPUExecutionProvider"]
    )
    got = session.run(None, {"x": x})[0]
    import torch  # takes seconds: not while tests are collected

    h = torch.from_numpy(x)
    if offset is not None and scale is not None:
        h = (h - torch.from_numpy(offset)) * torch.from_numpy(scale)
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        h = torch.nn.functional.linear(h, torch.from_numpy(weight), torch.from_numpy(bias))
        h = torch.relu(h) if k < len(weights) - 1 else h
    # |error| <= (products summed) * 2^-24 * (sum of magnitudes), in each of the layers
    reach = np.abs(model.normalized(x))
    for weight, bias in zip(weights, biases, strict=True):
        reach = reach @ np.abs(weight).T + np.abs(bias)
    depth = 2 + sum(weight.shape[1] + 1 for weight in weights)
    assert (np.abs(got - h.numpy()) <= 2 * depth * 2.0**-24 * reach).all()


def test_a_regressor_and_search_end_in_a_good_small_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_table(
        tmp_path, "--normalize", "standard", "--search", "--factors", "1,5", "--l1", "2e-3",
        "--lr", "0.05", "--epochs", "40", "--max-accuracy-loss", "5%", "--json", regression=True,
    )  # fmt: skip
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["measure"] == "r2"
    assert report["score"]["held_out"] > 0.85
    assert [c["factor"] for c in report["search"]] == [0.0, 1.0, 5.0]
    (chosen,) = [c for c in report["search"] if c["chosen"]]
    assert chosen["connections"] < report["search"][0]["connections"]
    assert captured.err.count("factor") == 4  # each candidate, and the one that was kept


def test_progress_tells_loss_accuracy_and_stable_units(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_table(tmp_path, "--progress")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch")]
    assert len(lines) == 8
    assert all(word in lines[-1] for word in ("loss", "accuracy", "stable"))
    train_table(tmp_path, "--quiet")
    assert capsys.readouterr().err == ""


def test_data_from_stdin_and_the_model_to_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    data = table(tmp_path / "data.csv")

    class Pipe:
        buffer = io.BytesIO(data.read_bytes())

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr("sys.stdin", Pipe())
    bounds = tmp_path / "b.json"
    arguments = ["train", "-", "-o", "-", "--target", "outcome", "--bounds", str(bounds), *FAST]
    assert run(arguments) == 0
    content = capsysbinary.readouterr().out
    onnx.checker.check_model(onnx.load_from_string(content))
    assert json.loads(bounds.read_text())["provenance"]["from"] == "<stdin>"
    assert list(tmp_path.iterdir()) == [data, bounds] or set(tmp_path.iterdir()) == {data, bounds}


def test_a_network_that_learnt_nothing_is_said_to_be_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_table(tmp_path, "--l1", "100")
    assert "warning: no better than a constant" in capsys.readouterr().err
    train_table(tmp_path, "--normalize", "standard")
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--target", "nothing"], 'no column "nothing"'),
        (["--target", "outcome", "--hidden", "a"], "no list of numbers"),
        (["--target", "outcome", "--lr", "-1"], "--lr -1.0"),
        (["--target", "outcome", "--labels", "x"], "not an IDX file"),
        (["--target", "outcome", "--margin", "-1"], "--margin -1.0"),
        (["--target", "outcome", "--bounds", "-"], "--bounds -"),
        (["--target", "outcome", "--task", "regress"], "y is text"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    tmp_path: Path, extra: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "data.csv")
    out = tmp_path / "model.onnx"
    assert run(["train", str(data), "-o", str(out), *FAST, *extra]) == 2
    message = capsys.readouterr().err
    assert message.startswith("leo: ")
    assert message.count("\n") == 1
    assert words in message
    assert list(tmp_path.iterdir()) == [data]
