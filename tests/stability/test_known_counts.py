"""Exact counts of stable units that are known for public networks, and agreement of deciders."""

from pathlib import Path

import numpy as np
import pytest

from leo_cli.domain import Domain, read_domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.onnx_io import read_model
from leo_cli.stability import Budget, ClassifyOptions, StabilityMap, State, classify

ACASXU = "acasxu/ACASXU_run2a_1_1_batch_2000"


def classified(model: Path, bounds: Path, deciders: tuple[str, ...] | None = None) -> StabilityMap:
    read = read_model(model)
    domain = read_domain(bounds, read.inputs, read.sha256)
    return classify(read.network, domain, ClassifyOptions(deciders=deciders), Budget(jobs=2))


def counts(found: StabilityMap, state: State) -> list[int]:
    return [len(layer.units(state)) for layer in found.layers if layer.verdicts]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("model", "tag", "inactive", "active"),
    [
        (ACASXU, "prop3", (20, 32, 27, 26, 33, 20), (21, 14, 17, 12, 7, 4)),
        (ACASXU, "prop5", (10, 21, 17, 23, 27, 25), (28, 13, 15, 11, 4, 5)),
        (ACASXU, "prop1", (22, 28, 11, 24, 32, 44), (10, 3, 4, 5, 4, 2)),
        ("mnistfc/mnist-net_256x2", "prop", (250, 159), (0, 16)),
        ("mnistfc/mnist-net_256x4", "prop", (212, 209, 255, 243), (11, 13, 1, 12)),
    ],
)  # fmt: skip
def test_known_counts(
    shared: Path, model: str, tag: str, inactive: tuple[int, ...], active: tuple[int, ...]
) -> None:
    stem = shared / "models" / "vnncomp" / model
    found = classified(
        stem.with_name(f"{stem.name}.onnx"), stem.with_name(f"{stem.name}.bounds.{tag}.json")
    )
    assert tuple(counts(found, State.INACTIVE)) == inactive
    assert tuple(counts(found, State.ACTIVE)) == active
    assert sum(counts(found, State.UNDECIDED)) == 0


def random_network(seed: int, inputs: int) -> Network:
    rng = np.random.default_rng(seed)
    layers, width = [], inputs
    for k in range(3):
        matrix = Dense(rng.normal(size=(8, width)).astype(np.float32))
        bias = (rng.normal(size=8) - 3.0 * (k > 0)).astype(np.float32)
        layers.append(Layer(f"layer{k}", (Term(k, matrix),), bias, relu=k < 2))
        width = 8
    return Network(inputs, tuple(layers), (3,))


@pytest.mark.parametrize("seed", range(6))
def test_splitting_inputs_and_branching_on_phases_agree(seed: int) -> None:
    """Two complete ways to decide the same questions."""
    network, domain = random_network(seed, 3), Domain(-np.ones(3), np.ones(3))
    bounds = ("samples", "interval", "linear")
    split, branch = (
        classify(network, domain, ClassifyOptions(deciders=(*bounds, name)))
        for name in ("split", "branch")
    )
    for one, other in zip(split.layers, branch.layers, strict=True):
        assert [v.state for v in one.verdicts] == [v.state for v in other.verdicts]
        assert State.UNDECIDED not in [v.state for v in one.verdicts]


@pytest.mark.parametrize("inputs", [3, 20])
def test_results_do_not_depend_on_the_number_of_threads(inputs: int) -> None:
    network, domain = random_network(7, inputs), Domain(-np.ones(inputs), np.ones(inputs))
    deciders = ("samples", "interval", "linear", "slopes", "ascent", "split", "branch")
    one, four = (
        classify(network, domain, ClassifyOptions(deciders=deciders), Budget(jobs=jobs))
        for jobs in (1, 4)
    )
    assert np.array_equal(one.witnesses, four.witnesses)
    for a, b in zip(one.layers, four.layers, strict=True):
        assert np.array_equal(a.lower, b.lower)
        assert np.array_equal(a.upper, b.upper)
        assert [(v.state, v.by, v.witnesses) for v in a.verdicts] == [
            (v.state, v.by, v.witnesses) for v in b.verdicts
        ]
