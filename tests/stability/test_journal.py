"""A journal gives back what was recorded, survives a kill, and belongs to one model and domain."""

from pathlib import Path

import numpy as np
import pytest

from leo_cli.domain import Domain
from leo_cli.errors import InputError
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.stability import ClassifyOptions, State, classify
from leo_cli.stability.evidence import (
    InputSplitEvidence,
    IntervalEvidence,
    LinearEvidence,
    PhaseLeaves,
    PhaseSplitEvidence,
)
from leo_cli.stability.journal import FILE, open_journal
from leo_cli.stability.knowledge import Bound, Claim, Findings

LEAVES = PhaseLeaves(
    np.array([[0, -1], [0, 0]], np.int32),
    np.array([[3, -1], [3, 1]], np.int32),
    np.array([[True, False], [False, True]]),
    np.array([[2.5, 0.0], [0.0, 1e-310]]),
    (np.array([[0.1, 1 / 3], [0.0, 1.0]], np.float32), None),
    (np.array([1, 3], np.int32), np.array([0], np.int32)),
)
FOUND = Findings(
    bounds=(
        Bound(1, 2, True, -1 / 3, PhaseSplitEvidence((LEAVES,))),
        Bound(1, 3, False, 5e-324, LinearEvidence((np.array([0.25]), None))),
        Bound(0, 0, True, 0.0, IntervalEvidence()),
        Bound(2, 1, True, -1.0, InputSplitEvidence(np.array([-1]), np.zeros(1), -np.ones((1, 2)))),
    ),
    claims=(Claim(0, 1, False, "cbc"),),
    points=np.array([[0.1, 1e-310], [np.pi, -0.0]]),
)


def _same(a: object, b: object) -> bool:
    """Equal bit by bit, arrays within dataclasses included."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(
            _same(getattr(a, name), getattr(b, name)) for name in a.__dataclass_fields__
        )
    return a == b


def test_leaves_come_in_units_of_the_full_network() -> None:
    first, second = PhaseSplitEvidence((LEAVES,)).leaves([4, 2])
    assert first.layers.tolist() == [0] and first.units.tolist() == [3]
    assert first.phases.tolist() == [True] and first.multipliers.tolist() == [2.5]
    assert second.units.tolist() == [3, 1] and second.phases.tolist() == [False, True]
    assert second.slopes[1] is None
    assert np.asarray(second.slopes[0]).tolist() == [0.0, 0.0, 0.0, 1.0]


def test_gives_back_what_was_recorded(tmp_path: Path) -> None:
    with open_journal(tmp_path, "model", "domain") as journal:
        assert journal.recorded() == []
        journal.record("branch", FOUND)
    with open_journal(tmp_path, "model", "domain") as journal:
        [(by, found)] = journal.recorded()
    assert by == "branch"
    assert _same(found.bounds, FOUND.bounds)
    assert _same(found.claims, FOUND.claims)
    assert _same(found.points, FOUND.points)


@pytest.mark.parametrize("lost", [1, 7, 40])
def test_drops_a_damaged_last_line(tmp_path: Path, lost: int) -> None:
    with open_journal(tmp_path, "model", "domain") as journal:
        journal.record("slopes", FOUND)
        journal.record("branch", FOUND)
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-lost])
    with open_journal(tmp_path, "model", "domain") as journal:
        assert [by for by, _ in journal.recorded()] == ["slopes"]
        assert "damaged" in journal.notes[0]
        journal.record("milp", FOUND)
    with open_journal(tmp_path, "model", "domain") as journal:
        assert [by for by, _ in journal.recorded()] == ["slopes", "milp"]
        assert journal.notes == ()


def test_refuses_damage_before_the_last_line(tmp_path: Path) -> None:
    with open_journal(tmp_path, "model", "domain") as journal:
        journal.record("slopes", FOUND)
        journal.record("branch", FOUND)
    path = tmp_path / FILE
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"slopes", b"branch")
    path.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match="line 2 is damaged"):
        open_journal(tmp_path, "model", "domain")


@pytest.mark.parametrize(("model", "domain"), [("other", "domain"), ("model", "other")])
def test_refuses_another_model_or_domain(tmp_path: Path, model: str, domain: str) -> None:
    with open_journal(tmp_path, "model", "domain") as journal:
        journal.record("branch", FOUND)
    with pytest.raises(InputError, match="another model"):
        open_journal(tmp_path, model, domain)


def _network(seed: int) -> Network:
    rng = np.random.default_rng(seed)
    layers = []
    width = 16
    for k in range(3):
        matrix = Dense(rng.normal(size=(12, width)).astype(np.float32))
        # low biases: units that are off for good, but not by much
        bias = (rng.normal(size=12) - 14.0 * (k > 0)).astype(np.float32)
        layers.append(Layer(f"layer{k}", (Term(k, matrix),), bias, relu=k < 2))
        width = 12
    return Network(16, tuple(layers), (3,))


def test_a_resumed_run_goes_on_where_the_killed_one_was(tmp_path: Path) -> None:
    """A run that is cut off and resumed ends with the verdicts of a whole run, and asks the
    recorded questions no more."""
    network, domain = _network(3), Domain(-np.ones(16), np.ones(16))
    options = ClassifyOptions(deciders=("samples", "interval", "linear", "slopes", "branch"))
    with open_journal(tmp_path, "model", "domain") as journal:
        whole = classify(network, domain, options, journal=journal)
    records = (tmp_path / FILE).read_bytes().splitlines(keepends=True)
    assert len(records) > 2
    (tmp_path / FILE).write_bytes(b"".join(records[: len(records) // 2]) + records[-1][:5])
    with open_journal(tmp_path, "model", "domain") as journal:
        resumed = classify(network, domain, options, journal=journal)
    states = [[v.state for v in layer.verdicts] for layer in resumed.layers]
    assert states == [[v.state for v in layer.verdicts] for layer in whole.layers]
    with open_journal(tmp_path, "model", "domain") as journal:
        again = classify(network, domain, options, journal=journal)
    assert again.cost.get("branch", 0.0) == 0.0
    assert State.UNDECIDED not in [v.state for layer in again.layers for v in layer.verdicts]
