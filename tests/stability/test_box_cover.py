"""Boxes against exact enumeration: bounds in each, the hull of all, and the tree they make."""

from collections.abc import Iterator
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples
from support.checks import check_bounds, check_stability
from support.oracle import enumerate_patterns
from support.strategies import networks_on, networks_with_domain, plain_boxes

from leo_cli.bounds.interval import propagate
from leo_cli.bounds.linear import Signed, backward, relaxed
from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.stability import Budget, ClassifyOptions, State, classify, split
from leo_cli.stability.box_bounds import FEW, Asked
from leo_cli.stability.boxes import Boxes
from leo_cli.stability.cover import Cover
from leo_cli.stability.knowledge import Findings, Knowledge

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflow is meant to happen


def known_by_intervals(network: Network, domain: Domain) -> Knowledge:
    start = Knowledge.start(network, domain)
    lower, upper = list(start.lower), list(start.upper)
    for k, layer in enumerate(network.layers):
        lower[k], upper[k] = propagate(layer, domain, lower, upper, network.layers[:k])
    return Knowledge(
        network,
        domain,
        tuple(lower),
        tuple(upper),
        start.negative,
        start.positive,
        start.witnesses,
    )


def all_questions(knowledge: Knowledge) -> Asked:
    relu = [layer.relu for layer in knowledge.network.layers]
    return Asked(
        tuple(knowledge.open_above(k) & on for k, on in enumerate(relu)),
        tuple(knowledge.open_below(k) & on for k, on in enumerate(relu)),
    )


class Recorded(Cover):
    """A cover that keeps the boxes that are finished."""

    def _finish(self, boxes: Boxes) -> None:
        self.finished_boxes = [*getattr(self, "finished_boxes", []), boxes]
        super()._finish(boxes)


def advanced(knowledge: Knowledge, few: int, batches: int = 4) -> Recorded:
    cover = Recorded(knowledge, all_questions(knowledge), few)
    for _ in range(batches):
        if cover.asked and not cover.finished:
            cover.split(cover.bound(knowledge, cover.asked, 1), cover.asked)
    return cover


def each(parts: list[Boxes]) -> Iterator[Boxes]:
    for part in parts:
        for i in range(len(part)):
            yield part.part(slice(i, i + 1))


@pytest.mark.parametrize("few", [0, FEW])
def test_bounds_of_boxes_contain_the_exact_ranges(few: int) -> None:
    @examples(25)
    @given(networks_with_domain(max_layers=2))
    def holds(pair: tuple[Network, Domain]) -> None:
        network, domain = pair
        knowledge = known_by_intervals(network, domain)
        if not all(np.isfinite([*low, *high]).all() for low, high in zip(
            knowledge.lower, knowledge.upper, strict=True
        )):  # fmt: skip
            return
        cover = advanced(knowledge, few)
        boxes = [*getattr(cover, "finished_boxes", []), *cover.stack]
        for box in list(each(boxes))[:6]:
            truth = enumerate_patterns(network, domain.sub_box(box.lower[0], box.upper[0]))
            if not truth.empty:
                for k in range(len(network.layers)):
                    check_bounds(box.z_lower[k][0], box.z_upper[k][0], truth, k)

    holds()


@examples(25)
@given(networks_with_domain(max_layers=2))
def test_the_hull_of_boxes_contains_the_exact_ranges(pair: tuple[Network, Domain]) -> None:
    network, domain = pair
    knowledge = known_by_intervals(network, domain)
    bounds = np.concatenate([*knowledge.lower, *knowledge.upper])
    if not np.isfinite(bounds).all():
        return
    cover = advanced(knowledge, FEW)
    found = knowledge.learn(Findings(cover.conclusions(knowledge)), None, "split")
    truth = enumerate_patterns(network, domain)
    for k in range(len(network.layers)):
        check_bounds(found.lower[k].tolist(), found.upper[k].tolist(), truth, k)


@examples(25)
@given(st.data())
def test_boxes_share_out_the_domain(data: st.DataObject) -> None:
    domain = data.draw(plain_boxes())
    cover = advanced(known_by_intervals(data.draw(networks_on(domain, 2)), domain), FEW)
    boxes = [*getattr(cover, "finished_boxes", []), *cover.stack]
    total = sum(prod((box.upper[0] - box.lower[0]).tolist()) for box in each(boxes))
    assert total == pytest.approx(prod((domain.upper - domain.lower).tolist()))


def random_network(seed: int) -> Network:
    rng = np.random.default_rng(seed)
    layers, width = [], 3
    for k in range(3):
        matrix = Dense(rng.normal(size=(8, width)).astype(np.float32))
        bias = (rng.normal(size=8) - 3.0 * (k > 0)).astype(np.float32)
        layers.append(Layer(f"layer{k}", (Term(k, matrix),), bias, relu=k < 2))
        width = 8
    return Network(3, tuple(layers), (3,))


def test_signed_objectives_are_rows_of_the_identity() -> None:
    network, domain = random_network(1), Domain(-np.ones(3), np.ones(3))
    known = known_by_intervals(network, domain)
    for target in range(3):
        problem = relaxed(network, domain, known.lower, known.upper, target)
        unit, sign = np.array([0, 3, 7, 3]), np.array([1.0, -1.0, -1.0, 1.0])
        rows = np.zeros((4, 8))
        rows[np.arange(4), unit] = sign
        one, other = backward(problem, Signed(unit, sign)), backward(problem, rows)
        np.testing.assert_allclose(one.form, other.form, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(one.bound, other.bound, rtol=1e-9, atol=1e-9)


@examples(40)
@given(networks_with_domain())
def test_questions_on_their_own_are_never_wrong(pair: tuple[Network, Domain]) -> None:
    network, domain = pair
    with pytest.MonkeyPatch.context() as patch:
        sizes = {"SHARED_BOXES": 2, "FIRST_TURN": 4, "FEWEST_WALKS": 2, "MOST_TREES": 2}
        for name, value in {**sizes, "START_POINTS": 32, "CORNERS": 16}.items():
            patch.setattr(split, name, value)
        options = ClassifyOptions(deciders=("interval", "split"))
        found = classify(network, domain, options, Budget().at_most(0.1))
    check_stability(network, domain, found, enumerate_patterns(network, domain))


def test_questions_on_their_own_are_all_decided() -> None:
    """What the tree of all questions leaves open, trees of their own decide."""
    for seed in range(4):
        network, domain = random_network(seed), Domain(-np.ones(3), np.ones(3))
        options = ClassifyOptions(deciders=("interval", "split"))
        whole = classify(network, domain, options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(split, "SHARED_BOXES", 1)
            patch.setattr(split, "FIRST_TURN", 8)
            turns = classify(network, domain, options)
        for one, other in zip(whole.layers, turns.layers, strict=True):
            assert [v.state for v in one.verdicts] == [v.state for v in other.verdicts]
            assert State.UNDECIDED not in [v.state for v in one.verdicts]
