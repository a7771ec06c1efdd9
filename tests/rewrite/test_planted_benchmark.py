"""The planted network of benchmarks/planted.py, a twentieth as wide: LEO's rules and ours leave the
number of units that they should."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from leo_cli.domain import Domain
from leo_cli.rewrite import RewriteOptions, parse_tolerance, shrink
from leo_cli.rewrite.passes import LEO
from leo_cli.stability import Budget, ClassifyOptions, classify


@pytest.fixture(scope="module")
def benchmark_module() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "planted.py"
    spec = importlib.util.spec_from_file_location("planted_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_figures_of_the_full_size(benchmark_module: ModuleType) -> None:
    plan = benchmark_module.Plan()
    assert plan.unstable == (31, 132)
    assert plan.without_inactive == (116, 269)
    assert plan.by_leo == (116, 248)
    assert plan.enough == (116, 142)


@pytest.mark.parametrize("seed", range(3))
def test_a_smaller_one_ends_where_it_should(benchmark_module: ModuleType, seed: int) -> None:
    plan = benchmark_module.Plan(160, 3, (40, 40), (9, 15), (28, 12))
    network = benchmark_module.planted(plan, seed)
    domain = Domain(np.zeros(plan.inputs), np.ones(plan.inputs))
    stability = classify(network, domain, ClassifyOptions(), Budget())
    wanted = [(9, 28, 3), (15, 12, 13)]
    assert benchmark_module.counts(stability) == wanted
    assert (plan.by_leo, plan.enough) == ((12, 25), (12, 16))
    for rewrites, tolerance, most in (
        (LEO, "1e-4r", plan.by_leo),
        (None, "half-ulp", plan.enough),
    ):
        options = RewriteOptions(tolerance=parse_tolerance(tolerance), rewrites=rewrites)
        result = shrink(network, stability, domain, options)
        found = benchmark_module.widths(result.network)
        assert all(units <= limit for units, limit in zip(found, most, strict=True)), rewrites
