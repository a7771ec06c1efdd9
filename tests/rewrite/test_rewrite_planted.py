"""Random networks with planted structure: every rewrite keeps what it claims, exactly, and rewrites
that are wrong do not.

Each seed of `planted` gives a small network with dependent, repeated, opposite, constant, unread,
active and inactive units. The oracle decides over the whole domain, not at samples.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from rewrite_cases import holds, paired, planted, subject
from support import SCALE
from support.checks import perfect_stability
from support.oracle import enumerate_patterns

from leo_cli.domain import Domain
from leo_cli.network import Network
from leo_cli.rewrite import (
    REWRITES,
    RewriteOptions,
    Shrunk,
    Tolerance,
    constants,
    direct,
    drop_inactive,
    linear_units,
    opposite_rows,
    same_direction,
    shrink,
)

SEEDS = range(round(40 * SCALE))
ZERO = Tolerance("absolute", 0.0)
SOME = Tolerance("absolute", 1e-6)


def shrunk(network: Network, domain: Domain, tolerance: Tolerance) -> Shrunk:
    truth = enumerate_patterns(network, domain)
    options = RewriteOptions(tolerance=tolerance)
    return shrink(network, perfect_stability(network, truth), domain, options)


def keeps(network: Network, domain: Domain, result: Shrunk) -> bool:
    """Whether every step keeps its claim."""
    before = subject(network, domain)
    for step in result.steps:
        if not holds(step, before):
            return False
        before = step.after(before)
    return True


@pytest.mark.parametrize("tolerance", [ZERO, SOME, Tolerance("absolute", 0.5)], ids=str)
def test_planted_structure_is_removed_exactly(tolerance: Tolerance) -> None:
    seen: set[str] = set()
    for seed in SEEDS:
        network, domain = planted(seed)
        result = shrunk(network, domain, tolerance)
        assert keeps(network, domain, result), f"seed {seed}"
        assert (result.deviation <= result.allowance).all()
        assert result.network.connections <= network.connections
        seen |= {step.rewrite for step in result.steps}
    needed = {"drop_inactive", "drop_unread", "constant_units", "same_direction"}
    assert seen >= needed | {"merge_dependent" if tolerance.is_zero else "product_rank"}


def test_pairs_of_opposite_rows_are_merged_exactly() -> None:
    seen: set[str] = set()
    for seed in SEEDS:
        network, domain = paired(seed)
        result = shrunk(network, domain, SOME)
        assert keeps(network, domain, result), f"seed {seed}"
        seen |= {step.rewrite for step in result.steps}
    assert "opposite_rows" in seen


def test_a_second_run_changes_nothing() -> None:
    for seed in SEEDS:
        network, domain = planted(seed)
        once = shrunk(network, domain, ZERO).network
        assert shrunk(once, domain, ZERO).steps == (), f"seed {seed}"


def test_switched_off_rewrites_and_layers_stay_off() -> None:
    off = 0
    for seed in SEEDS[:40]:
        network, domain = planted(seed)
        stability = perfect_stability(network, enumerate_patterns(network, domain))
        names = tuple(name for name in REWRITES if name != "drop_inactive")
        options = RewriteOptions(tolerance=SOME, rewrites=names, skip_layers=("layer1",))
        result = shrink(network, stability, domain, options)
        assert all(step.rewrite != "drop_inactive" for step in result.steps)
        assert all(step.layer != "layer1" for step in result.steps)
        off += len(result.steps)
    assert off


def test_the_same_input_gives_the_same_result() -> None:
    network, domain = planted(11)
    first, second = (shrunk(network, domain, SOME) for _ in range(2))
    assert [(s.rewrite, s.layer, s.units) for s in first.steps] == [
        (s.rewrite, s.layer, s.units) for s in second.steps
    ]
    for a, b in zip(first.network.layers, second.network.layers, strict=True):
        assert np.array_equal(a.bias, b.bias)


# Mutations: each makes one rewrite wrong, and the checks above have to see it.


def wrong_sign(original: Callable[..., Any], *args: Any) -> Any:
    network, case, plan, units, keep = args
    wrong = replace(units, new_factor=-units.new_factor)
    return original(network, case, replace(plan, kept_factor=-plan.kept_factor), wrong, keep)


def no_shift(original: Callable[..., Any], bias: Any, *args: Any) -> Any:
    return np.zeros_like(bias)


def lost_columns(original: Callable[..., Any], network: Network, k: int, new: Any) -> Any:
    return original(network, k, -new)


def lost_constant(original: Callable[..., Any], bias: Any, *args: Any) -> Any:
    done = original(bias, *args)
    return replace(done, bias=np.asarray(bias))


def active_for_inactive(original: Callable[..., Any], mask: Any) -> Any:
    return original(~mask)


def flipped_block(
    original: Callable[..., Any], network: Network, case: Any, matrix: Any, bias: Any
) -> Any:
    return original(network, case, matrix[::-1], bias)


def no_deviation(original: Callable[..., Any], *args: Any) -> Any:
    moved = original(*args)
    return replace(moved, deviation=np.zeros_like(moved.deviation))


MUTATIONS = {
    "wrong sign": (linear_units, "_rebuilt", wrong_sign),
    "no shift": (linear_units, "lifted", no_shift),
    "negated columns": (same_direction, "with_columns", lost_columns),
    "negated columns of opposite rows": (opposite_rows, "with_columns", lost_columns),
    "lost constant": (constants, "absorb", lost_constant),
    "active for inactive": (drop_inactive, "indices", active_for_inactive),
    "rows of a direct path exchanged": (direct, "_joined", flipped_block),
    "certificate of nothing": (linear_units, "effect", no_deviation),
}


@pytest.mark.parametrize("name", MUTATIONS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_mutated_rewrite_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, function, mutant = MUTATIONS[name]
    wrapped = partial(mutant, getattr(module, function))
    monkeypatch.setattr(module, function, wrapped)
    for seed in range(200):
        network, domain = paired(seed) if "opposite" in name else planted(seed)
        try:
            result = shrunk(network, domain, SOME)
        except ValueError:  # not even a network any more
            return
        if not keeps(network, domain, result):
            return
    pytest.fail(f"200 networks did not show the mutation: {name}")
