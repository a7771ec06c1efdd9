"""The cases on which solvers err: big numbers beside small ones, and ties. They end as undecided or
proved, never as a wrong removal: everything that a proof claims is decided by exact enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from proof.mutants import Mutant, claims_of
from proof.proof_cases import box_domain, chain_file, proved
from proof.truth import untruth

from leo_cli.arrays import Floats

Weights = list[tuple[Floats, Floats]]


def big_m(rng: np.random.Generator) -> Weights:
    """Rows that almost cancel after factors of 1e7 and more, as indicator constraints have."""
    size = 10.0 ** float(rng.integers(7, 10))
    first = rng.normal(size=(4, 2))
    first[1] = first[0] * (1.0 + rng.choice([0.0, 1e-7, -1e-7]))
    bias = np.array([0.5, 0.5, 0.1, -0.2])
    second = np.array([[size, -size, 0.0, 0.0], [-size, size, 1.0, 0.0], [0.0, 0.0, 1.0, -1.0]])
    shift = np.array([rng.choice([0.0, 1e-3, -1e-3]), -0.01, 0.0])
    return [(first, bias), (second, shift), (rng.normal(size=(2, 3)), np.zeros(2))]


def ties(rng: np.random.Generator) -> Weights:
    """Pre-activations whose largest or smallest value on the box is 0, or an ulp beside it."""
    first = rng.integers(-2, 3, size=(4, 2)).astype(np.float32)
    reach = np.abs(first).sum(axis=1)
    bias = (reach * rng.choice([-1, 1], size=4)).astype(np.float32)
    moved = rng.integers(-1, 2, size=4)
    toward = np.where(moved > 0, np.float32(np.inf), np.float32(-np.inf))
    bias = np.where(moved == 0, bias, np.nextafter(bias, toward))
    second = rng.integers(-1, 2, size=(3, 4)).astype(np.float64)
    return [(first, bias), (second, np.zeros(3)), (np.ones((2, 3)), np.zeros(2))]


def huge(rng: np.random.Generator) -> Weights:
    """Zombori et al. (2021): 1 beside 1e12 and more, which are taken off again."""
    size = 10.0 ** float(rng.integers(12, 17))
    first = np.array([[size, 0.0], [1.0, 1.0], [0.0, -size], [size, size]])
    second = np.array([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, -1.0, 0.0], [-1.0, 0.0, 1.0, -1.0]])
    shift = np.array([-size * rng.choice([1.0, 0.5]), 0.0, rng.choice([0.0, 1.0])])
    return [
        (first, np.array([1.0, 0.0, 1.0, -2.5 * size])),
        (second, shift),
        (rng.normal(size=(1, 3)), np.zeros(1)),
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [big_m, ties, huge])
def test_what_is_proved_of_hostile_networks_is_true(kind, dtype: str) -> None:
    rng = np.random.default_rng(11)
    claimed = 0
    for _ in range(6):
        case = proved(chain_file(kind(rng), dtype), box_domain(2), seconds=0.5)
        mutant = Mutant("none", case.records, case.old, case.new)
        assert untruth(mutant) == ""
        claims = claims_of(case.records)
        claimed += len(claims.inactive) + len(claims.active)
        for exact in (False, True):
            assert case.check(exact=exact).deviation is not None
    assert claimed  # there is something to prove among them
