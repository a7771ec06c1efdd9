"""Every model beside the checkout, compressed twice with `--tolerance 0`: the second time changes
nothing, and no time makes it larger, but for what leo writes about the file.

A search that ran out of time can decide more units of the smaller model than of the original. Only
where the second run knows no more than the first does it have to leave the model as it is.
"""

import time
from pathlib import Path

import onnx
import pytest

from leo_cli.candidate import Candidate, make_candidate
from leo_cli.errors import LeoError
from leo_cli.onnx_io import Model
from leo_cli.pipeline import analyze, load
from leo_cli.problem import Analysis
from leo_cli.rewrite import RewriteOptions, Tolerance
from leo_cli.stability import Budget, ClassifyOptions
from leo_cli.stability.verdict import State

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"
MODELS = SHARED / "models"
pytestmark = pytest.mark.shared

QUICK = (
    "keras/seq_softmax.export",
    "malformed/negative_zero",
    "malformed/not_topological",
    "malformed/rank0_input",
    "mnist_l1/mnist_50x50_l1_0.001",
    "sklearn/cancer_minmax_mlpclf",
    "torch/residual.ts",
    "torch/seq_planted.dyn",
    "vnncomp/linearizenn/AllInOne_10_10",
    "vnncomp/nn4sys/pensieve_small_simple.prop",
    "vnncomp/reach_prob/robot",
    "vnncomp/test/test_small",
)
SECONDS = 4.0  # for the search


def _cases() -> list:
    found = []
    for model in sorted(MODELS.rglob("*.onnx")) if MODELS.is_dir() else []:
        for box in sorted(model.parent.glob(f"{model.stem}.bounds*.json")):
            name = model.relative_to(MODELS).with_suffix("").as_posix()
            name += box.name[len(model.stem) + len(".bounds") : -len(".json")]
            marks = [] if name in QUICK else [pytest.mark.slow]
            found.append(pytest.param(model, box, id=name, marks=marks))
    return found or [pytest.param(Path(), Path(), marks=pytest.mark.skip("no shared models"))]


def _run(model: Path | bytes, box: Path) -> tuple[Analysis, Candidate]:
    text = box.read_text()
    problem = load(model, text, bounds_name=box.name)
    analysis = analyze(problem, ClassifyOptions(), Budget(time.monotonic() + SECONDS))
    exact = RewriteOptions(Tolerance("absolute", 0.0))
    return analysis, make_candidate(analysis, exact)


def _stable(analysis: Analysis) -> int:
    layers = analysis.stability.layers
    return sum(
        len(layer.units(state)) for layer in layers for state in (State.INACTIVE, State.ACTIVE)
    )


def _undecided(analysis: Analysis) -> int:
    return sum(len(layer.units(State.UNDECIDED)) for layer in analysis.stability.layers)


def _metadata(model: Model) -> int:
    """Bytes that leo's entries take in the file."""
    graph = onnx.ModelProto()
    graph.CopyFrom(model.proto)
    whole = graph.ByteSize()
    kept = [entry for entry in graph.metadata_props if not entry.key.startswith("leo.")]
    del graph.metadata_props[:]
    graph.metadata_props.extend(kept)
    return whole - graph.ByteSize()


def _no_larger(before: Model, after: Model) -> None:
    old, new = before.network, after.network
    assert new.connections <= old.connections
    assert new.units <= old.units
    assert new.parameters <= old.parameters
    # a constant needs operators that give it its shape
    shape = 128 if new.connections == 0 else 0
    assert after.size - _metadata(after) <= before.size + shape


@pytest.mark.parametrize(("model", "box"), _cases())
def test_the_second_run_changes_nothing(model: Path, box: Path) -> None:
    try:
        first, smaller = _run(model, box)
    except LeoError as refusal:
        pytest.skip(str(refusal))
    original = first.problem.model
    _no_larger(original, smaller.model)
    content = smaller.content
    if content is original:
        return  # a plain copy
    source = content.source if isinstance(content, Model) else content.to_bytes()
    second, again = _run(source, box)
    _no_larger(smaller.model, again.model)
    if again.content is second.problem.model:
        return  # a plain copy
    assert _undecided(first), [(s.rewrite, s.layer, s.units) for s in again.shrunk.steps]
