"""Linear programs of nodes: their slopes and multipliers are valid, at least as good as gradient
steps, and exact where every unit has a phase."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support import examples
from support.oracle import Exact, enumerate_patterns
from support.problems import problem_of
from support.strategies import TAME, networks_on, plain_boxes

from leo_cli.arrays import Floats
from leo_cli.bounds.dual import Dual, initial
from leo_cli.bounds.linear import Relaxed
from leo_cli.bounds.program import solve_nodes
from leo_cli.bounds.slopes import optimise
from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term

BOTH = np.array([1.0, -1.0])  # min z and min -z


def objectives(width: int) -> Floats:
    return np.concatenate([sign * np.eye(width) for sign in BOTH])


def truths(truth: Exact, width: int) -> Floats:
    ranges = [truth.range(len(truth.lower) - 1, unit) for unit in range(width)]
    return np.array([float(low) for low, _ in ranges] + [-float(high) for _, high in ranges])


def assume(problem: Relaxed, dual: Dual, pattern: int) -> None:
    """Give every unstable unit a phase, by the bits of `pattern`."""
    for k in range(problem.target):
        phase = dual.phases[k]
        if phase is None:
            continue
        for unit in np.flatnonzero((problem.lower[k] < 0) & (problem.upper[k] > 0)):
            phase[:, unit] = 1 if pattern & 1 else -1
            pattern >>= 1


@given(st.data())
@examples(60)
def test_bounds_are_valid_and_no_worse_than_gradient_steps(data: st.DataObject) -> None:
    domain = data.draw(plain_boxes())
    network = data.draw(networks_on(domain, 3, palettes=TAME))
    problem = problem_of(network, domain)
    width = network.layers[-1].width
    rows = objectives(width)
    dual = initial(problem, len(rows), phased=True)
    stepped = optimise(problem, rows, dual, 20)
    solved = optimise(problem, rows, solve_nodes(problem, rows, dual).dual, 0)
    least = truths(enumerate_patterns(network, domain), width)
    assert (solved.bound <= least + 1e-9 * np.abs(least)).all()
    # where steps prove a bound >= 0, so does the program, up to what its accuracy leaves
    proved = stepped.bound > 1e-5 * (1.0 + np.abs(least))
    assert (solved.bound[proved] >= 0).all()


@given(st.data())
@examples(40)
def test_a_node_with_all_phases_is_settled(data: st.DataObject) -> None:
    """Over all patterns, the least bound is at most the minimum; it has its sign unless that is a
    tie."""
    domain = data.draw(plain_boxes())
    network = data.draw(networks_on(domain, 2, palettes=TAME))
    problem = problem_of(network, domain)
    width = network.layers[-1].width
    rows = objectives(width)
    unstable = sum(
        int(((problem.lower[k] < 0) & (problem.upper[k] > 0)).sum())
        for k in range(problem.target)
        if problem.relaxations[k] is not None
    )
    least = np.full(len(rows), np.inf)
    for pattern in range(2 ** min(unstable, 6)):
        dual = initial(problem, len(rows), phased=True)
        assume(problem, dual, pattern)
        bound = optimise(problem, rows, solve_nodes(problem, rows, dual).dual, 0).bound
        least = np.minimum(least, bound)
    exact = truths(enumerate_patterns(network, domain), width)
    if unstable <= 6:
        assert (least <= exact + 1e-9 * (1.0 + np.abs(exact))).all()
        assert (least[exact > 1e-4 * (1.0 + np.abs(exact))] >= 0).all()


def test_blocks_and_threads_change_nothing() -> None:
    rng = np.random.default_rng(0)
    first = Layer("a", (Term(0, Dense(rng.normal(size=(6, 3)))),), rng.normal(size=6), relu=True)
    last = Layer("b", (Term(1, Dense(rng.normal(size=(50, 6)))),), np.zeros(50), relu=True)
    network, domain = Network(3, (first, last), (2,)), Domain(-np.ones(3), np.ones(3), "float64")
    problem = problem_of(network, domain)
    rows = objectives(50)
    dual = initial(problem, 100, phased=True)
    one, two = (solve_nodes(problem, rows, dual, jobs) for jobs in (1, 2))
    assert np.array_equal(one.points, two.points)
    for first_alpha, second_alpha in zip(one.dual.alphas, two.dual.alphas, strict=True):
        assert first_alpha is not None and second_alpha is not None
        assert np.array_equal(first_alpha, second_alpha)
