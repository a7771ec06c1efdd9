"""Units that the others of their layer stand for, unstable ones included."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from rewrite_cases import chain, check, holds, refused, subject, taken, unit_box

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.network import Network
from leo_cli.rewrite import substitute_units as module
from leo_cli.rewrite.negligible_units import negligible_units
from leo_cli.rewrite.product_rank import product_rank
from leo_cli.rewrite.subject import Refusal, Rewrite
from leo_cli.rewrite.substitute_units import substitute_units

SEEDS = range(60)


def nearly_dependent(seed: int) -> tuple[Network, Domain]:
    """Some units are unstable, but linear on most of the domain; one is a small multiple of their
    sum, and has a row of its own."""
    rng = np.random.default_rng(seed)
    inputs, units = 2, int(rng.integers(3, 6))
    rows = rng.choice([0.25, 0.5, 1.0, 2.0], (units, inputs))
    bias = -rng.choice([1 / 64, 1 / 128, 1 / 256], units)
    own = rows.sum(axis=0) * 2.0**-9 + rng.choice([-1.0, 1.0], inputs) * 2.0**-16
    rows, bias = np.vstack([rows, own]), np.append(bias, 0.25)
    readers = np.float32(rng.normal(size=(2, units + 1)).round(3)).astype(np.float64)
    second = rng.normal(size=(1, 2)).round(2)
    network = chain(
        (np.float32(rows).tolist(), bias.tolist()),
        (readers.tolist(), [0.125, -0.25]),
        (np.float32(second).tolist(), [0.0]),
    )
    return network, unit_box(inputs)


def test_a_unit_is_replaced_by_a_sum_of_unstable_ones() -> None:
    # z = x + y - 1/64 is active on all but a corner of the square
    network = chain(
        ([[1.0, 1.0], [1.0, -1.0], [2.0**-9, 2.0**-9]], [-1 / 64, 0.0, 1.0]),
        ([[1.0, 1.0, 1.0]], [0.0]),
    )
    before = subject(network, allowed=1e-4)
    # neither a constant nor the other active units can stand for it
    assert isinstance(negligible_units(before, 0), Refusal)
    assert isinstance(product_rank(before, 0), Refusal)
    step = check(substitute_units, before, 0)
    assert step.units == (2,)
    assert (step.deviation <= 1e-4).all()
    # the chord of the unit leaves 2**-9 / 64 at most; most of it is on either side
    assert 2.0**-17 < step.deviation[0] < 2.0**-15


def test_what_cannot_be_done_is_refused_with_a_reason() -> None:
    network, domain = nearly_dependent(0)
    assert "deviation" in refused(substitute_units(subject(network, domain), 0))
    assert "outside" in refused(substitute_units(subject(network, domain, 1.0), 2))
    alone = chain(([[1.0, 1.0]], [-0.5]), ([[1.0]], [0.0]))
    assert "1 units" in refused(substitute_units(subject(alone, allowed=1e-3), 0))
    apart = chain(([[1.0, 0.0], [0.0, 1.0]], [-0.5, -0.5]), ([[1.0, 1.0]], [0.0]))
    assert "nearly a sum" in refused(substitute_units(subject(apart, allowed=0.01), 0))


def steps(seed: int, allowed: float = 2.0**-10) -> list[tuple[Any, Rewrite]]:
    """The rewrites of all layers on which there is one, with what they are applied to."""
    network, domain = nearly_dependent(seed)
    before = subject(network, domain, allowed)
    answers = [substitute_units(before, k) for k in range(2)]
    return [(before, answer) for answer in answers if isinstance(answer, Rewrite)]


def test_the_certificate_holds_exactly() -> None:
    count = 0
    for seed in SEEDS:
        for before, step in steps(seed):
            assert holds(step, before), f"seed {seed}"
            assert before.allows(step.deviation)
            assert step.network.units == before.network.units - 1
            count += 1
    assert count >= len(SEEDS) // 2


def test_inexact_coefficients_count() -> None:
    network, domain = nearly_dependent(1)
    layer = network.layers[0]
    loose = replace(network, layers=(replace(layer, weight_error=2.0**-14), *network.layers[1:]))
    sure = taken(substitute_units(subject(network, domain, 2.0**-8), 0))
    fit = module._layer_of(subject(network, domain, 2.0**-8), 0)
    unsure = module._certified(
        subject(loose, domain, 2.0**-8), 0, sure.units[0], fit, new_columns(fit, sure.units[0])
    )
    assert unsure is not None
    assert (unsure.deviation > sure.deviation + 2.0**-20).all()


def new_columns(fit: Any, unit: int) -> Floats:
    return module._new_columns(fit, unit, "float32")


def no_gap(original: Callable[..., Any], *args: Any) -> Any:
    slope, gap = original(*args)
    return slope, np.zeros_like(gap)


def all_active(original: Callable[..., Any], *args: Any) -> Any:
    slope, gap = original(*args)
    return np.ones_like(slope), np.zeros_like(gap)


def nothing(original: Callable[..., Any], *args: Any) -> Any:
    moved = original(*args)
    return replace(moved, deviation=np.zeros_like(moved.deviation))


def other_columns(original: Callable[..., Any], network: Network, k: int, new: Floats) -> Any:
    return original(network, k, new * (1 + 2.0**-8))


MUTATIONS = {
    "units without a kink": ("chord", no_gap),
    "unstable for active": ("chord", all_active),
    "certificate of nothing": ("effect", nothing),
    "other columns than certified": ("with_columns", other_columns),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, mutant = MUTATIONS[name]
    monkeypatch.setattr(module, function, partial(mutant, getattr(module, function)))
    assert not all(holds(step, before) for seed in SEEDS for before, step in steps(seed))
