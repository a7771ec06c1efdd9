"""Interior-point steps: the dual bound comes close to the optimum of the linear program, or to 0
where that is enough, or beyond it where the constraints exclude each other."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples

from leo_cli.arrays import Floats
from leo_cli.bounds import interior
from leo_cli.bounds.interior import Programs, solve


def dual_bound(programs: Programs, multipliers: Floats) -> Floats:
    """(b,) what any multipliers >= 0 prove."""
    d = programs.objective + np.einsum("bm,bmn->bn", multipliers, programs.rows)
    least = np.minimum(d * programs.lower, d * programs.upper).sum(axis=1)
    return np.asarray(programs.constant - (programs.limits * multipliers).sum(axis=1) + least)


def random_programs(seed: int, constant: float) -> Programs:
    """Three programs with a common point of their constraints in the box."""
    rng = np.random.default_rng(seed)
    inputs, rows = int(rng.integers(1, 5)), int(rng.integers(0, 5))
    lower = -rng.random(inputs)
    upper = lower + 2.0 * rng.random(inputs)
    matrices = rng.normal(size=(3, rows, inputs)) * 10.0 ** rng.integers(-3, 4, size=(3, rows, 1))
    inside = 0.6 * lower + 0.4 * upper
    scale = np.abs(matrices).sum(axis=2)
    return Programs(
        rng.normal(size=(3, inputs)),
        np.full(3, constant),
        matrices,
        matrices @ inside + scale * rng.random((3, rows)),
        lower,
        upper,
    )


def best_vertex(programs: Programs, at: int) -> float:
    """The minimum, from all points where as many constraints are tight as there are inputs."""
    inputs = programs.objective.shape[1]
    eye = np.eye(inputs)
    size = np.maximum(np.abs(programs.rows[at]).sum(axis=1), 1e-300)
    rows = np.vstack([programs.rows[at] / size[:, None], eye, -eye])
    limits = np.concatenate([programs.limits[at] / size, programs.upper, -programs.lower])
    best = np.inf
    for chosen in combinations(range(len(rows)), inputs):
        tight = list(chosen)
        if abs(np.linalg.det(rows[tight])) > 1e-9:
            vertex = np.linalg.solve(rows[tight], limits[tight])
            if (rows @ vertex <= limits + 1e-9).all():
                best = min(best, float(programs.objective[at] @ vertex))
    return best + float(programs.constant[at])


@given(st.integers(0, 10**6))
@examples(60)
def test_the_bound_reaches_the_optimum(seed: int) -> None:
    programs = random_programs(seed, -100.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interior, "SURE", 0.0)  # do not end where the sign is clear
        multipliers = solve(programs).multipliers
    assert (multipliers >= 0).all()
    bound = dual_bound(programs, multipliers)
    for at in range(3):
        optimum = best_vertex(programs, at)
        assert optimum - 1e-3 <= bound[at] <= optimum + 1e-9


@given(st.integers(0, 10**6), st.floats(-1.0, 3.0))
@examples(60)
def test_the_sign_is_found(seed: int, constant: float) -> None:
    programs = random_programs(seed, constant)
    found = solve(programs)
    bound = dual_bound(programs, found.multipliers)
    for at in range(3):
        optimum = best_vertex(programs, at)
        if optimum > 1e-6:
            assert bound[at] >= 0.0
        elif optimum < -1e-6:
            # the point shows why: it is (nearly) feasible and below 0
            assert programs.objective[at] @ found.points[at] + programs.constant[at] < 0.0
            size = np.sqrt((programs.rows[at] ** 2).sum(axis=1))
            outside = programs.rows[at] @ found.points[at] - programs.limits[at]
            assert (outside <= 0.01 * size + 1e-12).all()


@given(st.integers(0, 10**6))
@examples(30)
def test_phases_that_exclude_each_other_are_proved_to(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = int(rng.integers(1, 6))
    row = rng.normal(size=inputs)
    # row x <= -1 and row x >= 1
    programs = Programs(
        rng.normal(size=(1, inputs)),
        np.array([-10.0]),
        np.stack([row, -row])[None],
        np.array([[-1.0, -1.0]]),
        -np.ones(inputs),
        np.ones(inputs),
    )
    assert dual_bound(programs, solve(programs).multipliers)[0] > 0


def test_numbers_that_overflow_give_multipliers_that_can_be_used() -> None:
    programs = Programs(
        np.array([[1e300, -1.0]]),
        np.zeros(1),
        np.array([[[1e308, 1e308], [0.0, 0.0]]]),
        np.array([[1e308, 0.0]]),
        np.array([-1e300, 0.0]),
        np.array([1e300, 0.0]),
    )
    found = solve(programs)
    for values in (found.multipliers, found.lower, found.points):
        assert np.isfinite(values).all()
    assert (found.multipliers >= 0).all()


def test_a_singular_system_is_left_alone() -> None:
    matrices = np.stack([np.eye(2), np.zeros((2, 2))])
    solution = interior._solved(matrices, np.ones((2, 2)))
    assert (solution[0] == 1.0).all()
    assert np.isnan(solution[1]).all()
