"""Bounds of linear forms against exact ranges."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from rewrite_cases import planted, subject
from support.exact import exact
from support.oracle import enumerate_patterns

from leo_cli.arrays import Floats
from leo_cli.bounds.interval import layer_interval
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.rewrite import forms
from leo_cli.rewrite.forms import chord, form_range
from leo_cli.rewrite.subject import Subject

SEEDS = range(40)


def random_form(before: Subject, seed: int) -> tuple[dict[int, Floats], Floats]:
    """Two rows over the input and the first hidden layers."""
    rng = np.random.default_rng(seed)
    maps = {}
    for node in range(int(rng.integers(1, 3)) + 1):
        size = (2, before.network.width(node))
        maps[node] = rng.normal(size=size) * (rng.random(size) < 0.7)
    return maps, rng.normal(size=2)


def as_layer(maps: Mapping[int, Floats], offset: Floats) -> Layer:
    terms = tuple(Term(node, Dense(matrix)) for node, matrix in maps.items())
    return Layer("form", terms, offset, relu=False)


def violated(seed: int) -> bool:
    """Whether a form leaves its bounds somewhere on the domain."""
    network, domain = planted(seed)
    before = subject(network, domain)
    maps, offset = random_form(before, seed)
    low, high = form_range(before, maps, offset)
    front = network.layers[: max(maps)]
    extended = Network(network.inputs, (*front, as_layer(maps, offset)), (len(front) + 1,))
    found = enumerate_patterns(exact(extended), domain)
    ranges = [found.range(len(front), j) for j in range(2)]
    return any(not low[j] <= least <= most <= high[j] for j, (least, most) in enumerate(ranges))


def test_no_form_leaves_its_bounds() -> None:
    assert not any(violated(seed) for seed in SEEDS)


def test_without_kinks_the_bounds_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = forms.chord
    monkeypatch.setattr(forms, "chord", lambda *args: (whole(*args)[0], np.zeros(len(args[0]))))
    assert any(violated(seed) for seed in SEEDS)


def test_they_are_at_least_as_good_as_boxes_and_often_better() -> None:
    better = 0
    for seed in SEEDS:
        network, domain = planted(seed)
        before = subject(network, domain)
        maps, offset = random_form(before, seed)
        low, high = form_range(before, maps, offset)
        boxed = layer_interval(as_layer(maps, offset), domain, before.boxes(1 + max(maps)))
        assert (low >= boxed[0]).all()
        assert (high <= boxed[1]).all()
        better += bool((high - low < 0.9 * (boxed[1] - boxed[0])).any())
    assert better > len(SEEDS) // 2


def test_what_cancels_is_seen_to_cancel() -> None:
    # 64 always active units that read one input each with alternating signs
    signs = np.tile([1.0, -1.0], 32)
    layer = Layer("a", (Term(0, Dense(signs[:, None])),), np.full(64, 2.0), relu=True)
    network = Network(1, (layer,), (1,))
    before = subject(network)
    low, high = form_range(before, {1: np.ones((1, 64))}, np.zeros(1))
    assert high[0] - low[0] <= 1e-9
    unsure = replace(layer, weight_error=2.0**-20)
    loose = replace(before, network=replace(network, layers=(unsure,)), memo={})
    low, high = form_range(loose, {1: np.ones((1, 64))}, np.zeros(1))
    assert high[0] - low[0] >= 2 * 64 * 2.0**-20


def test_a_form_of_zeros_is_zero_exactly() -> None:
    network, domain = planted(0)
    before = subject(network, domain)
    low, high = form_range(before, {1: np.zeros((3, network.width(1)))}, np.zeros(3))
    assert not low.any()
    assert not high.any()


ENDS = [0.0, 5e-324, 1e-323, 1e-310, 2.0**-1022, 1e-30, 0.1, 1.0, 3.0, 1e30, 1e307]


@pytest.mark.parametrize("low", [-x for x in ENDS])
@pytest.mark.parametrize("high", ENDS)
def test_the_gap_of_a_chord_is_no_smaller_than_the_kink(low: float, high: float) -> None:
    # also where the products that it is made of underflow to 0
    slopes, gaps = chord(np.array([low]), np.array([high]), True)
    slope, gap = Fraction(slopes[0]), Fraction(gaps[0])
    assert 0 <= slope <= 1
    assert max(-slope * Fraction(low), (1 - slope) * Fraction(high)) <= 2 * gap


@pytest.mark.parametrize(("low", "high"), [(-np.inf, 5.0), (-5.0, np.inf), (-np.inf, np.inf)])
def test_an_unknown_bound_has_no_finite_gap(low: float, high: float) -> None:
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(chord(np.array([low]), np.array([high]), True)[1]).any()
