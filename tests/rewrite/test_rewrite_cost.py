"""Costs, and the plan for the allowance."""

import numpy as np
import pytest
from rewrite_cases import chain, planted, subject, taken, unit_box
from support.checks import perfect_stability
from support.oracle import enumerate_patterns

from leo_cli.domain import Domain
from leo_cli.errors import InputError
from leo_cli.network import Dense, Layer, Network, Scaled, Term
from leo_cli.rewrite import RewriteOptions, Tolerance, shrink
from leo_cli.rewrite.cost import MEASURES, PRICE, Cost, latency, operators
from leo_cli.rewrite.fold import fold_linear
from leo_cli.rewrite.spend import Offer, plan
from leo_cli.stability.verdict import StabilityMap


def wide(width: int, inputs: int = 100) -> Network:
    return chain(
        (np.ones((width, inputs)).tolist(), [0.0] * width),
        (np.ones((2, width)).tolist(), [0.0] * 2),
    )


@pytest.mark.parametrize("measure", MEASURES)
def test_fewer_units_are_cheaper_by_every_measure(measure: str) -> None:
    assert Cost(measure).cheaper(wide(3), wide(4))
    assert not Cost(measure).cheaper(wide(4), wide(3))
    assert not Cost(measure).cheaper(wide(4), wide(4))


def test_no_measure_buys_with_more_connections() -> None:
    # fewer units, but 100 x 100 connections in place of 100 x 5 + 5 x 100
    folded = chain((np.ones((100, 100)).tolist(), [0.0] * 100))
    narrow = chain(
        (np.ones((5, 100)).tolist(), [0.0] * 5), (np.ones((100, 5)).tolist(), [0.0] * 100)
    )
    for measure in MEASURES:
        assert not Cost(measure).cheaper(folded, narrow)


def test_an_operator_has_its_price() -> None:
    def with_selection(width: int, inputs: int, kept: int) -> Network:
        front = Layer(
            "g", (Term(0, Scaled(np.arange(kept), np.ones(kept), inputs)),), np.zeros(kept), False
        )
        back = Layer("a", (Term(1, Dense(np.ones((width, kept)))),), np.zeros(width), True)
        return Network(inputs, (front, back), (2,))

    def plain(width: int, inputs: int) -> Network:
        back = Layer("a", (Term(0, Dense(np.ones((width, inputs)))),), np.zeros(width), True)
        return Network(inputs, (back,), (1,))

    assert operators(with_selection(10, 500, 400)) == operators(plain(10, 500)) + 1
    assert 10 * 100 < PRICE <= 30 * 100
    assert not Cost().cheaper(with_selection(10, 500, 400), plain(10, 500))
    assert Cost().cheaper(with_selection(30, 500, 400), plain(30, 500))
    # at batch 1 gathering 400 numbers takes longer than 3,000 products
    assert latency(with_selection(30, 500, 400)) > latency(plain(30, 500))


def normalised() -> Network:
    """A normalisation of the inputs in front of a layer: folding it saves no connection."""
    front = Layer(
        "n", (Term(0, Scaled(np.arange(3), np.array([0.1, 0.2, 0.3]), 3)),), np.full(3, 0.1), False
    )
    middle = Layer("a", (Term(1, Dense(np.ones((2, 3)))),), np.full(2, -0.5), True)
    last = Layer("b", (Term(2, Dense(np.ones((1, 2)) * 0.7)),), np.zeros(1), False)
    return Network(3, (front, middle, last), (3,))


def test_what_saves_nothing_is_not_done() -> None:
    network = normalised()
    before = subject(network, allowed=1.0)
    folded = taken(fold_linear(before, 0))
    assert folded.network.connections == network.connections
    assert folded.network.parameters < network.parameters
    assert not before.cost.cheaper(folded.network, network)
    for measure in ("parameters", "latency"):  # it does save these
        assert Cost(measure).cheaper(folded.network, network)
    # where every number that stays is what it was, less of anything is a gain
    assert before.cost.cheaper(folded.network, network, neutral=True)


@pytest.mark.parametrize("measure", MEASURES)
def test_every_step_saves_what_is_to_be_minimized(measure: str) -> None:
    taken_steps = 0
    for network, domain in ((normalised(), unit_box(3)), *map(planted, range(30))):
        stability = perfect_stability(network, enumerate_patterns(network, domain))
        options = RewriteOptions(Tolerance("absolute", 0.5), minimize=measure)
        result = shrink(network, stability, domain, options)
        current = network
        for step in result.steps:
            saved = Cost(measure).of(current)[0] - Cost(measure).of(step.network)[0]
            assert saved > 0 or (saved == 0 and step.neutral), (taken_steps, step.rewrite)
            current = step.network
            taken_steps += 1
    assert taken_steps > 30


def offer(saved: float, *deviation: float) -> Offer:
    return Offer(np.array(deviation), saved)


def test_the_plan_is_the_best_combination() -> None:
    first = [offer(10.0, 0.9, 0.1), offer(6.0, 0.3, 0.1)]
    second = [offer(7.0, 0.6, 0.6), offer(1.0, 0.05, 0.05)]
    chosen = plan([first, second], np.ones(2))
    assert [None if c is None else c.tolist() for c in chosen] == [[0.3, 0.1], [0.6, 0.6]]
    # 10 + 1 < 6 + 7, and 10 + 7 is too much for the first component


def test_the_plan_keeps_within_every_component() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        menus = [[offer(float(s), *rng.random(3)) for s in rng.integers(1, 9, 3)] for _ in range(5)]
        chosen = [c for c in plan(menus, np.ones(3)) if c is not None]
        assert (np.sum(chosen, axis=0) <= 1.0 + 1e-12).all() if chosen else True
        best = max(o.saved for menu in menus for o in menu if (o.deviation <= 1.0).all())
        total = sum(
            o.saved
            for menu, c in zip(menus, plan(menus, np.ones(3)), strict=True)
            for o in menu
            if c is not None and np.array_equal(o.deviation, c)
        )
        assert total >= best


def test_unknown_names_are_refused() -> None:
    network = chain(([[1.0]], [0.0]))
    empty = StabilityMap((), np.zeros((0, 1)))
    domain = Domain(np.zeros(1), np.ones(1))
    with pytest.raises(InputError, match="product_rank"):
        shrink(network, empty, domain, RewriteOptions(rewrites=("pruning",)))
    with pytest.raises(InputError, match="latency"):
        shrink(network, empty, domain, RewriteOptions(minimize="flops"))
