"""Tightened bounds hold, and are tighter."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples
from support.oracle import enumerate_patterns
from support.strategies import networks_with_domain

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.stability import Budget, ClassifyOptions, classify, node_bounds, tighten
from leo_cli.stability.encoding import findings_from, findings_to
from leo_cli.stability.evidence import TightenedEvidence
from leo_cli.stability.knowledge import Bound, Findings, Knowledge
from leo_cli.stability.tighten import Tightening

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflow is meant to happen

CHEAP = ClassifyOptions(deciders=("samples", "interval", "linear"))


def known_of(network: Network, domain: Domain) -> Knowledge:
    """What samples and linear bounds show, as knowledge to start from."""
    found = classify(network, domain, CHEAP)
    return replace(
        Knowledge.start(network, domain),
        lower=tuple(layer.lower for layer in found.layers),
        upper=tuple(layer.upper for layer in found.layers),
    )


@examples(60)
@given(networks_with_domain(), st.integers(1, 5))
def test_bounds_hold(case: tuple[Network, Domain], rounds: int) -> None:
    network, domain = case
    truth = enumerate_patterns(network, domain)
    known = known_of(network, domain)
    for findings in Tightening(rounds).decide(known, network.relu_layers, Budget()):
        for bound in findings.bounds:
            low, high = truth.range(bound.layer, bound.unit)
            assert high <= bound.value if bound.above else bound.value <= low


def random_network(seed: int) -> Network:
    rng = np.random.default_rng(seed)
    layers, width = [], 12
    for k in range(3):
        matrix = Dense(rng.normal(size=(10, width)) / np.sqrt(width))
        layers.append(Layer(f"{k}", (Term(k, matrix),), 0.3 * rng.normal(size=10), relu=True))
        width = 10
    return Network(12, tuple(layers), (3,))


def widths(network: Network, known: Knowledge, rounds: int, jobs: int = 1) -> Floats:
    """Widths of the bounds of the last layer."""
    last = len(network.layers) - 1
    for findings in Tightening(rounds).decide(known, (last,), Budget(jobs=jobs)):
        known = known.learn(findings, None, "tighten")
    return known.upper[last] - known.lower[last]


@pytest.mark.parametrize("seed", range(3))
def test_more_rounds_are_tighter(seed: int) -> None:
    network, domain = random_network(seed), Domain(-np.ones(12), np.ones(12), "float64")
    known = known_of(network, domain)
    before = (known.upper[2] - known.lower[2]).mean()
    few, many = (widths(network, known, rounds).mean() for rounds in (2, 30))
    assert many < 0.95 * few < 0.95 * before


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_bounds, "BLOCK", 3)
    monkeypatch.setattr(tighten, "BLOCK", 3)
    network, domain = random_network(0), Domain(-np.ones(12), np.ones(12), "float64")
    known = known_of(network, domain)
    assert np.array_equal(widths(network, known, 5, jobs=1), widths(network, known, 5, jobs=3))


def test_evidence_goes_through_the_journal() -> None:
    bound = Bound(3, 1, True, 0.25, TightenedEvidence())
    assert findings_from(findings_to(Findings((bound,)))).bounds == (bound,)
