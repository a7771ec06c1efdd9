"""Walks from region to region: what they return is true, and they reach tiny regions."""

import numpy as np
import pytest
from support.oracle import enumerate_patterns

from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.stability import Budget
from leo_cli.stability.walk import starts, walk
from leo_cli.stability.witness import climb


def network_with_a_peak(seed: int, above: float) -> Network:
    """Two layers of 7 units and one unit whose exact maximum over the box is `above`."""
    rng = np.random.default_rng(seed)
    layers, width = [], 3
    for k, out in enumerate((7, 7, 1)):
        matrix = Dense(rng.normal(size=(out, width)).astype(np.float32))
        bias = rng.normal(size=out).astype(np.float32) if k < 2 else np.zeros(1)
        layers.append(Layer(f"layer{k}", (Term(k, matrix),), bias, relu=k < 2))
        width = out
    network = Network(3, tuple(layers), (3,))
    _, most = enumerate_patterns(network, unit_box()).range(2, 0)
    last = Layer("layer2", layers[2].terms, np.array([above - float(most)]), relu=False)
    return Network(3, (*layers[:2], last), (3,))


def unit_box() -> Domain:
    return Domain(-np.ones(3), np.ones(3))


def walks(network: Network, seed: int, sign: float = 1.0) -> np.ndarray:
    rng, domain = np.random.default_rng(seed), unit_box()
    begin = starts(network, 0, sign, domain.sample(64, rng), 8)
    units, signs = np.zeros(len(begin), dtype=np.int64), np.full(len(begin), sign)
    return walk(network, domain, units, signs, begin, rng, Budget())


def test_walks_reach_the_highest_region() -> None:
    """Maxima of 1e-4, with z of the order of 10: nearly always found, more than by gradients."""
    reached, climbed = 0, 0
    for seed in range(30):
        network = network_with_a_peak(seed, 1e-4)
        found = walks(network, seed)
        reached += len(found) > 0
        assert (network.pre_activations(found)[-1] > 0).all()
        assert unit_box().contains(found).all()
        rng = np.random.default_rng(seed)
        begin = starts(network, 0, 1.0, unit_box().sample(64, rng), 8)
        units, signs = np.zeros(8, dtype=np.int64), np.ones(8)
        climbed += len(climb(network, unit_box(), units, signs, begin, Budget())) > 0
    assert reached >= 27
    assert reached > climbed


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_found_where_there_is_nothing(seed: int) -> None:
    assert len(walks(network_with_a_peak(seed, -1e-6), seed)) == 0


@pytest.mark.parametrize("seed", range(5))
def test_walks_go_down_as_well(seed: int) -> None:
    network = network_with_a_peak(seed, 1e-3)
    last = network.layers[-1]
    matrix = Dense(-last.terms[0].map.rows(slice(None)))
    turned = Layer("layer2", (Term(2, matrix),), -last.bias, relu=False)
    flipped = Network(3, (*network.layers[:2], turned), (3,))
    one, other = walks(network, seed), walks(flipped, seed, sign=-1.0)
    assert np.array_equal(one, other)
    assert (flipped.pre_activations(other)[-1] < 0).all()


def test_discrete_features_keep_their_values() -> None:
    network = network_with_a_peak(0, 0.5)
    domain = Domain(-np.ones(3), np.ones(3), integer=np.array([True, False, True]))
    rng = np.random.default_rng(0)
    begin = domain.sample(16, rng)
    units, signs = np.zeros(16, dtype=np.int64), np.ones(16)
    found = walk(network, domain, units, signs, begin, rng, Budget())
    assert domain.contains(found).all()
