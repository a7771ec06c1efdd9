"""The benchmark's own counting, and its files, without training anything."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.stability.verdict import LayerStability, StabilityMap, State, Verdict

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def modules() -> tuple[ModuleType, ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("table1"), importlib.import_module("table1_results")
    finally:
        sys.path.remove(str(BENCHMARKS))


def chain(*matrices: np.ndarray) -> Network:
    last = len(matrices)
    layers = tuple(
        Layer(f"l{k}", (Term(k - 1, Dense(m)),), np.zeros(len(m)), relu=k < last)
        for k, m in enumerate(matrices, start=1)
    )
    return Network(matrices[0].shape[1], layers, (last,))


def states(network: Network, *texts: str) -> StabilityMap:
    """One text a ReLU layer, a letter a unit: i(nactive), a(ctive), u(nstable)."""
    names = {"i": State.INACTIVE, "a": State.ACTIVE, "u": State.UNSTABLE}
    layers = []
    for layer, text in zip(network.layers, (*texts, ""), strict=True):
        verdicts = tuple(Verdict(names[c], "test", -1.0, 1.0) for c in text)
        layers.append(LayerStability(np.zeros(layer.width), np.zeros(layer.width), verdicts))
    return StabilityMap(tuple(layers), np.zeros((0, network.inputs)))


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        ("uuuu", "uuu", 5 * 4 + 4 * 3 + 3 * 2),
        ("iuuu", "uui", 5 * 3 + 3 * 2 + 2 * 2),
        ("aauu", "uuu", 5 * 3 + 3 * 3 + 3 * 2),  # the two active rows are equal: rank 1
        ("aaaa", "uuu", 5 * 3 + 3 * 2),  # folded: rank 3 rows, 5 * 3 <= 5 * 3 + 3 * 3
        ("iiia", "uuu", 5 * 1 + 1 * 3 + 3 * 2),  # folding one unit would grow: 15 > 8
        ("iiii", "uuu", 0),  # a constant
    ],
)
def test_leo_rules_count(
    modules: tuple[ModuleType, ModuleType], first: str, second: str, left: int
) -> None:
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(4, 5))
    rows[1] = rows[0]
    network = chain(rows, rng.normal(size=(3, 4)), rng.normal(size=(2, 3)))
    assert modules[0].leo_rules_connections(network, states(network, first, second)) == left


def result(modules: tuple[ModuleType, ModuleType], seed: int, accuracy: float) -> object:
    return modules[1].Result(
        method="subgradient",
        hidden="25x25",
        l1=1e-3,
        group_inputs=0.0,
        seed=seed,
        accuracy=accuracy,
        train_seconds=1.5,
        inactive="3 2",
        active="1 4",
        unstable="21 19",
        undecided="0 0",
        classify_seconds=0.25,
        leo_rules=0.2,
        units_left="21 20",
        inputs_left=700,
        removed=0.3,
        removed_relative=0.4,
        bit_identical=0.5,
        max_abs_diff=1e-6,
    )


def test_results_come_back_from_the_csv(
    modules: tuple[ModuleType, ModuleType], tmp_path: Path
) -> None:
    path = tmp_path / "table1.csv"
    results = [result(modules, seed, accuracy) for seed, accuracy in ((0, 0.95), (1, 0.97))]
    for item in results:
        modules[1].append_result(path, item)
    assert modules[1].read_results(path) == results


def test_the_table_shows_mean_and_spread_beside_the_paper(
    modules: tuple[ModuleType, ModuleType],
) -> None:
    results = [result(modules, 0, 0.95), result(modules, 1, 0.97)]
    other = replace(result(modules, 0, 0.9), method="proximal")
    lines = modules[1].render_markdown([*results, other]).splitlines()
    assert len(lines) == 2 + 2
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[:3] == ["subgradient", "25x25", "0.001"]
    assert "96.00 ± 1.00" in cells
    assert "95.76" in cells and "22.0" in cells  # the paper's
    assert "95.76" not in lines[-1]
