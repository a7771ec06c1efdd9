"""How long rewriting may take within a run, and what a file may store once."""

from pathlib import Path
from threading import Event

import numpy as np

from leo_cli.candidate import GRACE, _for_rewriting, _sharing, growth
from leo_cli.network import Dense, Layer, Network, Scaled, Term
from leo_cli.pipeline import CompressOptions, compress, load
from leo_cli.stability.budget import Budget

SAMPLES = Path(__file__).resolve().parents[1] / "sample_models"


def at(now: float, deadline: float = float("inf"), stop: Event | None = None) -> Budget:
    return Budget(deadline=deadline, stop=stop or Event(), clock=lambda: now)


def test_rewriting_has_what_the_search_left() -> None:
    stop = Event()
    budget = _for_rewriting(at(100.0, 160.0, stop))
    assert budget.remaining() == 60.0
    stop.set()  # an interrupt while rewriting ends it
    assert budget.expired()


def test_and_a_little_where_nothing_is_left() -> None:
    assert _for_rewriting(at(100.0, 90.0)).remaining() == GRACE
    assert _for_rewriting(at(100.0, 100.5)).remaining() == GRACE


def test_an_interrupt_of_the_search_leaves_rewriting_its_time() -> None:
    stop = Event()
    stop.set()
    assert _for_rewriting(at(100.0, 1000.0, stop)).remaining() == GRACE


def test_layers_that_share_a_matrix_and_what_they_read() -> None:
    shared, other = Dense(np.eye(2)), Dense(np.ones((2, 2)))
    swap = Scaled(np.array([1, 0]), np.ones(2), 2)
    maps = [other, shared, swap, Dense(np.eye(2)), Dense(2 * np.eye(2))]
    layers = [
        Layer(f"layer{k}", (Term(k, linear),), np.zeros(2), relu=True)
        for k, linear in enumerate(maps)
    ]
    assert _sharing(Network(2, tuple(layers), (5,))) == ("layer0", "layer1", "layer2", "layer3")
    assert _sharing(Network(2, tuple(layers[:3]), (3,))) == ()


def test_a_tiny_model_grows_by_what_is_told_about_it_and_the_report_says_so() -> None:
    problem = load(SAMPLES / "thermostat.onnx", SAMPLES / "thermostat.bounds.json")
    result = compress(problem, CompressOptions(), Budget())
    entries = [e for e in result.output.model.proto.metadata_props if e.key.startswith("leo.")]
    told = sum(len(entry.key) + len(entry.value) for entry in entries)
    more = result.output.model.size - problem.model.size
    assert 0 < more < told + 8 * len(entries)
    (note,) = result.notes
    assert f"{more} bytes larger" in note
    assert growth(problem.model, problem.model) == ()


def test_bit_exact_mode_keeps_the_rewrites_that_are_exact() -> None:
    """Without inexact rewrites no bit moves here, and dead units still go."""
    problem = load(SAMPLES / "diabetes_deep.onnx", SAMPLES / "diabetes_deep.bounds.json")
    plain = compress(problem, CompressOptions(), Budget())
    assert plain.verification.bit_identical < 1
    same = compress(problem, CompressOptions(bit_exact=True), Budget())
    assert same.verification.bit_identical == 1
    assert any("not exact" in note for note in same.notes)
    assert 0 < same.connections_removed < plain.connections_removed
    assert not same.candidate.shrunk.deviation.any()
