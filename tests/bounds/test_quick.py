"""The search in float32: near what float64 finds, and what it suggests is valid."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support import examples
from support.oracle import enumerate_patterns
from support.problems import problem_of
from support.strategies import TAME, networks_on, plain_boxes

from leo_cli.arrays import Floats
from leo_cli.bounds.dual import Dual, initial, relaxations_of
from leo_cli.bounds.linear import Relaxed, Signed, backward
from leo_cli.bounds.quick import climb
from leo_cli.bounds.quick_problem import QuickProblem
from leo_cli.bounds.slopes import optimise
from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term


def every_unit(problem: Relaxed) -> tuple[Signed, Floats]:
    """Both signs of every unit, as Signed and as rows."""
    width = problem.network.layers[-1].width
    unit, sign = np.tile(np.arange(width), 2), np.repeat([1.0, -1.0], width)
    return Signed(unit, sign), sign[:, None] * np.tile(np.eye(width), (2, 1))


def random_problem(seed: int) -> Relaxed:
    rng = np.random.default_rng(seed)
    layers, width = [], 20
    for k in range(3):
        matrix = Dense(rng.normal(size=(12, width)) / np.sqrt(width))
        layers.append(Layer(f"{k}", (Term(k, matrix),), rng.normal(size=12), relu=True))
        width = 12
    # what the last layer also reads: the input itself
    skip = Term(0, Dense(0.1 * rng.normal(size=(12, 20))))
    layers[2] = Layer("2", (*layers[2].terms, skip), layers[2].bias, relu=True)
    return problem_of(Network(20, tuple(layers), (3,)), Domain(-np.ones(20), np.ones(20)))


def with_phases(problem: Relaxed, dual: Dual, seed: int) -> Dual:
    rng = np.random.default_rng(seed)
    for k in range(problem.target):
        phase = dual.phases[k]
        assert phase is not None
        free = (problem.lower[k] < 0) & (problem.upper[k] > 0)
        phase[:] = np.where(free & (rng.random(phase.shape) < 0.2), rng.choice([-1, 1]), 0)
    return dual


@given(st.integers(0, 10**6), st.booleans())
@examples(30)
def test_float32_finds_what_float64_finds(seed: int, phased: bool) -> None:
    problem = random_problem(seed)
    asked, rows = every_unit(problem)
    dual = initial(problem, len(rows), phased=True)
    if phased:
        dual = with_phases(problem, dual, seed)
    for steps in (0, 5):
        quick = climb(QuickProblem(problem), asked, dual, steps)
        exact = optimise(problem, rows, dual, steps)
        size = problem.magnitudes[-1].sums[asked.unit]
        # a bound >= 0 is not improved further, and rounding may decide which are
        both = np.minimum(quick.bound, 0.0), np.minimum(exact.bound, 0.0)
        assert (np.abs(both[0] - both[1]) <= 1e-3 * size).all()
        if steps == 0:
            assert (
                np.abs(quick.bound - exact.bound) <= QuickProblem(problem).noise[asked.unit]
            ).all()
            for mine, theirs in zip(quick.gaps, exact.gaps, strict=True):
                assert mine is not None and theirs is not None
                assert np.allclose(mine, theirs, atol=1e-4)


@given(st.data())
@examples(60)
def test_what_it_suggests_is_valid(data: st.DataObject) -> None:
    domain = data.draw(plain_boxes())
    network = data.draw(networks_on(domain, 3, palettes=TAME))
    problem = problem_of(network, domain)
    if not QuickProblem.suits(problem):
        return
    asked, _ = every_unit(problem)
    dual = climb(QuickProblem(problem), asked, initial(problem, len(asked), phased=True), 5).dual
    bound = backward(problem, asked, relaxations_of(problem, dual), dual.multipliers).bound
    truth = enumerate_patterns(network, domain)
    for i, (unit, sign) in enumerate(zip(asked.unit.tolist(), asked.sign.tolist(), strict=True)):
        low, high = truth.range(len(network.layers) - 1, unit)
        assert bound[i] <= (low if sign > 0 else -high)
