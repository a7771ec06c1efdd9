"""Time limits: each layer has its share, and what is cheap is done in all of them."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.stability import (
    Budget,
    ClassifyOptions,
    State,
    branch,
    classify,
    ladder,
    node_queue,
)
from leo_cli.stability.branch import Branching
from leo_cli.stability.evidence import PhaseSplitEvidence
from leo_cli.stability.knowledge import Findings, Knowledge

INPUTS, WIDTH, LAYERS = 20, 12, 3


def network() -> Network:
    """Layers in which linear bounds leave much open; the last unit of each is inactive for all to
    see."""
    rng = np.random.default_rng(0)
    layers, width = [], INPUTS
    for k in range(LAYERS):
        matrix = 2.0 * rng.normal(size=(WIDTH, width)) / np.sqrt(width)
        bias = np.full(WIDTH, -3.6 if k else -0.6)
        matrix[-1], bias[-1] = 0.1 * matrix[-1], -100.0
        layers.append(Layer(f"{k}", (Term(k, Dense(matrix)),), bias, relu=True))
        width = WIDTH
    return Network(INPUTS, tuple(layers), (LAYERS,))


BOX = Domain(-np.ones(INPUTS), np.ones(INPUTS), "float64")
NAMES = ("samples", "interval", "linear", "branch")


def known_cheaply() -> Knowledge:
    """What samples and linear bounds tell of the network."""
    options = ClassifyOptions(deciders=("samples", "interval", "linear"))
    layers = classify(network(), BOX, options).layers
    return replace(
        Knowledge.start(network(), BOX),
        lower=tuple(layer.lower for layer in layers),
        upper=tuple(layer.upper for layer in layers),
    )


def test_a_hard_layer_leaves_time_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[tuple[int, float]] = []

    class Endless:
        """Takes all the time it may have."""

        name = "branch"

        def decide(
            self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
        ) -> Iterator[Findings]:
            shares.append((layers[0], budget.remaining()))
            time.sleep(budget.remaining())
            yield Findings()

    monkeypatch.setitem(ladder.RUNGS, "branch", lambda options, points: Endless())
    found = classify(
        network(), BOX, ClassifyOptions(deciders=NAMES), Budget(time.monotonic() + 0.9)
    )
    hard = [layer for layer, _ in shares]
    assert hard[:2] == [1, 2]
    assert shares[0][1] < 0.55  # about half of the time, since layer 2 may be open as well
    assert all(layer.verdicts[-1].state is State.INACTIVE for layer in found.layers)


def test_easy_questions_are_finished_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """With little room in a batch, no more questions are begun than fit into it."""
    monkeypatch.setattr(node_queue, "BATCH", 4)
    known = known_cheaply()
    search = branch._Search(known, 2, Budget())
    begun: list[int] = []
    while search.queue.begun or search.queue.waiting:
        list(search.advance())
        waiting = {int(q) for part in search.queue.waiting for q in part.question}
        begun_parts = [part for part in search.queue.begun if np.isfinite(part.bound).all()]
        open_now = {int(q) for part in begun_parts for q in part.question} - waiting
        if search.queue.waiting:
            begun.append(len(open_now))
    assert len(search.questions) > 4
    assert begun
    assert max(begun) <= 4
    decided = Branching().decide(known, (2,), Budget())
    assert len({(b.unit, b.above) for f in decided for b in f.bounds}) > 0


def test_a_search_that_was_ended_goes_on_while_its_bounds_are_the_best_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Questions that take more than their turn wait, and none is lost."""
    monkeypatch.setattr(node_queue, "BATCH", 4)
    monkeypatch.setattr(node_queue, "TURN", 2)
    known = known_cheaply()
    wanted = {
        (b.unit, b.above) for f in Branching().decide(known, (2,), Budget()) for b in f.bounds
    }
    ticks = iter(range(10**6))
    branching, found, runs = Branching(), set(), 0
    while runs == 0 or branching.unfinished:
        runs += 1
        short = Budget(deadline=next(ticks) + 4.0, clock=lambda: float(next(ticks)))
        for findings in branching.decide(known, (2,), short):
            found |= {(b.unit, b.above) for b in findings.bounds}
            known = known.learn(findings, None, "branch")
    assert runs > 2
    assert found == wanted
    search = branch._Search(known, 2, Budget())
    better = tuple(bound + (k == 0) for k, bound in enumerate(known.lower))
    assert search.rests_on(known)
    assert not search.rests_on(replace(known, lower=better))


def test_leaves_for_which_there_is_no_room_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ClassifyOptions(deciders=NAMES)
    with_leaves = classify(network(), BOX, options)
    monkeypatch.setattr(branch, "LEAVES", 0)
    without = classify(network(), BOX, options)
    by_branching = 0
    for ours, theirs in zip(with_leaves.layers, without.layers, strict=True):
        assert [v.state for v in ours.verdicts] == [v.state for v in theirs.verdicts]
        for verdict in theirs.verdicts:
            assert not isinstance(verdict.evidence, PhaseSplitEvidence)
        by_branching += sum(isinstance(v.evidence, PhaseSplitEvidence) for v in ours.verdicts)
    assert by_branching > 0
