"""Witness search: how many points are drawn, and climbs over several layers at once."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from leo_cli.bounds.linear import Signed, backward, relaxed
from leo_cli.bounds.relaxation import Relaxation
from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.stability import Budget, ClassifyOptions, State, classify, ladder
from leo_cli.stability.bounding import Intervals
from leo_cli.stability.box_slopes import improved
from leo_cli.stability.knowledge import Findings, Knowledge
from leo_cli.stability.witness import FIRST_POINTS, MOST_POINTS, climb, input_gradient, rounds

INPUTS = 6
BOX = Domain(-np.ones(INPUTS), np.ones(INPUTS), "float64")


def network(seed: int, width: int = 8, bias: float = 0.0) -> Network:
    """Three ReLU layers; the last also reads the first."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> Dense:
        return Dense(rng.normal(size=(rows, columns)) / np.sqrt(columns))

    def layer(name: str, *terms: Term) -> Layer:
        return Layer(name, terms, rng.normal(size=width) + bias, relu=True)

    return Network(
        INPUTS,
        (
            layer("a", Term(0, matrix(width, INPUTS))),
            layer("b", Term(1, matrix(width, width))),
            layer("c", Term(2, matrix(width, width)), Term(1, matrix(width, width))),
        ),
        (3,),
    )


def test_rounds_double_stay_inside_and_repeat() -> None:
    first, again = list(rounds(BOX, 7)), list(rounds(BOX, 7))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(BOX.contains(points).all() for points in first)
    drawn = 2 * FIRST_POINTS
    for points in first:
        assert len(points) == drawn
        drawn += len(points)
    assert drawn == 2 * MOST_POINTS


def drawn_points(monkeypatch: pytest.MonkeyPatch, net: Network) -> list[int]:
    """How many points are offered as samples, in each round, until all is decided."""
    sizes = []

    class Counting(ladder.Sampling):
        def decide(
            self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
        ) -> Iterator[Findings]:
            sizes.append(len(self.points))
            yield from super().decide(knowledge, layers, budget)

    monkeypatch.setattr(ladder, "Sampling", Counting)
    stability = classify(net, BOX, ClassifyOptions(), Budget())
    states = {v.state for layer in stability.layers for v in layer.verdicts}
    assert State.UNDECIDED not in states
    return sizes


def test_no_more_points_than_answer_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn_points(monkeypatch, network(0, bias=-50.0)) == [2 * FIRST_POINTS]
    many = drawn_points(monkeypatch, network(0, width=60))
    assert len(many) > 1
    assert sum(many) < 2 * MOST_POINTS


def test_nothing_is_bounded_again_once_all_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Counting(Intervals):
        def decide(
            self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
        ) -> Iterator[Findings]:
            asked.append(layers)
            yield from super().decide(knowledge, layers, budget)

    monkeypatch.setattr(ladder, "Intervals", Counting)
    names = ("samples", "interval", "linear", "branch")
    classify(network(0), BOX, ClassifyOptions(names), Budget().at_most(600.0))
    assert asked == [(0,), (1,), (2,)]


@pytest.mark.parametrize("seed", range(3))
def test_gradients_of_units_of_different_layers(seed: int) -> None:
    net, rng = network(seed), np.random.default_rng(seed)
    layers, units = np.array([0, 1, 2, 2, 1]), rng.integers(8, size=5)
    signs, step = rng.choice([-1.0, 1.0], size=5), 1e-6
    x = BOX.sample(5, rng)
    found = input_gradient(net, layers, units, signs, net.pre_activations(x))
    for i in range(5):
        for j in range(INPUTS):
            ends = np.repeat(x[i : i + 1], 2, axis=0)
            ends[:, j] += (-step, step)
            low, high = net.pre_activations(ends)[layers[i]][:, units[i]]
            assert found[i, j] == pytest.approx(signs[i] * (high - low) / (2 * step), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_climbs_over_all_layers_end_where_a_sign_is_as_wanted(seed: int) -> None:
    net, rng = network(seed), np.random.default_rng(seed)
    layers, units = np.repeat([0, 1, 2], 8), np.tile(np.arange(8), 3)
    signs = rng.choice([-1.0, 1.0], size=24)
    points = climb(net, BOX, units, signs, BOX.sample(24, rng), Budget(), 10, layers)
    z = net.pre_activations(points)
    wanted = zip(layers, units, signs, strict=True)
    shown = np.stack([sign * z[k][:, j] for k, j, sign in wanted]) > 0
    assert len(points) > 6
    assert BOX.contains(points).all()
    assert shown.any(axis=0).all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("target", [0, 1, 2])
def test_slopes_in_boxes_give_bounds(seed: int, target: int) -> None:
    """Below all values in the row's own box, and on the whole no worse than default slopes."""
    net, rng, rows = network(seed), np.random.default_rng(seed), 16
    known = Knowledge.start(net, BOX)
    for findings in Intervals().decide(known, (0, 1, 2), Budget()):
        known = known.learn(findings, None, "interval")
    problem = relaxed(net, BOX, known.lower, known.upper, target)
    asked = Signed(np.arange(rows) % 8, rng.choice([-1.0, 1.0], size=rows))
    ends = np.sort(rng.uniform(-1.0, 1.0, size=(2, rows, INPUTS)), axis=0)
    box = (ends[0], ends[1])
    chosen = [
        None if r is None else Relaxation(*(np.tile(v, (rows, 1)) for v in vars(r).values()))
        for r in problem.relaxations[:-1]
    ]
    start = backward(problem, asked, chosen, box=box)
    found = improved(problem, asked, chosen, box, start)
    bound = found.bound
    for _ in range(50):
        x = box[0] + rng.random((rows, INPUTS)) * (box[1] - box[0])
        z = problem.network.pre_activations(x)[-1]
        assert (bound <= asked.sign * z[np.arange(rows), asked.unit]).all()
    again = [
        None if r is None or alpha is None else replace(r, alpha=alpha)
        for r, alpha in zip(chosen, found.alphas, strict=True)
    ]
    assert np.allclose(backward(problem, asked, again, box=box).bound, bound, atol=1e-12)
    if target == 0:
        assert np.array_equal(bound, start.bound)
    else:
        assert bound.mean() > start.bound.mean()
