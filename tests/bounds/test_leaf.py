"""Multipliers of leaves: the dual bound reaches the optimum of the linear program, or 0 where its
constraints exclude each other."""

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support import examples

from leo_cli.arrays import Floats
from leo_cli.bounds.leaf import LeafProgram, solve_leaf


def dual_bound(program: LeafProgram, multipliers: Floats) -> float:
    d = program.objective + multipliers @ program.rows
    least = np.minimum(d * program.lower, d * program.upper).sum()
    return float(program.constant - program.limits @ multipliers + least)


def random_program(seed: int, offset: float) -> LeafProgram:
    """A program with its constraints through the box, and a minimum far below 0."""
    rng = np.random.default_rng(seed)
    inputs, rows = int(rng.integers(1, 5)), int(rng.integers(0, 5))
    matrix = rng.normal(size=(rows, inputs))
    lower = -rng.random(inputs)
    upper = lower + 2.0 * rng.random(inputs)
    return LeafProgram(
        rng.normal(size=inputs),
        -100.0,
        matrix,
        matrix @ (0.6 * lower + 0.4 * upper) + offset * rng.random(rows),
        lower,
        upper,
    )


def best_vertex(program: LeafProgram) -> float:
    """The minimum, from all points where as many constraints are tight as there are inputs."""
    inputs = len(program.objective)
    eye = np.eye(inputs)
    rows = np.vstack([program.rows, eye, -eye])
    limits = np.concatenate([program.limits, program.upper, -program.lower])
    best = np.inf
    for chosen in combinations(range(len(rows)), inputs):
        tight = list(chosen)
        if abs(np.linalg.det(rows[tight])) > 1e-9:
            vertex = np.linalg.solve(rows[tight], limits[tight])
            if (rows @ vertex <= limits + 1e-9).all():
                best = min(best, float(program.objective @ vertex))
    return best + program.constant


@given(st.integers(0, 10**6))
@examples(60)
def test_the_bound_reaches_the_optimum(seed: int) -> None:
    program = random_program(seed, offset=1.0)
    multipliers = solve_leaf(program).multipliers
    assert (multipliers >= 0).all()
    bound, optimum = dual_bound(program, multipliers), best_vertex(program)
    assert optimum - 1e-3 <= bound <= optimum + 1e-9


@given(st.integers(0, 10**6))
@examples(30)
def test_phases_that_exclude_each_other_are_proved_to(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = int(rng.integers(1, 6))
    row = rng.normal(size=inputs)
    # row x <= -1 and row x >= 1
    program = LeafProgram(
        rng.normal(size=inputs),
        -10.0,
        np.stack([row, -row]),
        np.array([-1.0, -1.0]),
        -np.ones(inputs),
        np.ones(inputs),
    )
    assert dual_bound(program, solve_leaf(program).multipliers) > 0


def test_numbers_that_overflow_give_multipliers_that_can_be_used() -> None:
    program = LeafProgram(
        np.array([1e300, -1.0]),
        0.0,
        np.array([[1e308, 1e308], [0.0, 0.0]]),
        np.array([1e308, 0.0]),
        np.array([-1e300, 0.0]),
        np.array([1e300, 0.0]),
    )
    multipliers = solve_leaf(program).multipliers
    assert np.isfinite(multipliers).all()
    assert (multipliers >= 0).all()
