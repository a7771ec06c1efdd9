"""Sessions of solvers through PuLP: their answers, statuses and limits."""

import math
import time

import numpy as np
import pulp
import pytest
from milp_solvers import (
    NAMES,
    hard,
    in_this_process,
    knapsack,
    lying,
    never,
    solution,
    usable,
    value,
)

from leo_cli.stability.milp.model import Builder, Question
from leo_cli.stability.milp.problems import pose_plainly
from leo_cli.stability.milp.session import Backend, PulpSession

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(params=NAMES)
def solver(request: pytest.FixtureRequest) -> str:
    return usable(request.param)


@pytest.mark.parametrize("effort", [0, 1, 2])
def test_answers_on_a_model_with_known_ones(solver: str, effort: int) -> None:
    model = knapsack()
    session = in_this_process(solver)(model, never)
    if effort >= session.efforts:
        pytest.skip("a solver with fewer efforts")
    values = solution(session.ask(value(8.0), effort, 30.0))
    assert values == pytest.approx([0.5, 1.0, 0.0, 1.0], abs=1e-6)
    least = solution(session.ask(value(1.0), effort, math.inf))
    assert value(1.0).coefficients @ least >= 1.0 - 1e-6
    assert 3 * least[1] + 4 * least[2] + 5 * least[3] <= 8 + 1e-6
    assert session.ask(value(8.6), effort, 30.0).infeasible
    # nothing of an earlier question is left over
    assert session.ask(value(8.6), effort, 30.0).values is None


def test_a_program_that_presolve_sees_to_be_infeasible_is_claimed(solver: str) -> None:
    builder = Builder()
    builder.add_columns(np.zeros(2), np.ones(2))
    question = Question(np.arange(2), np.ones(2), 5.0)
    assert in_this_process(solver)(builder.build(), never).ask(question, 0, 10.0).infeasible


def test_a_limit_is_no_claim(solver: str) -> None:
    model, question = hard()
    session = in_this_process(solver)(model, never)
    for effort in range(session.efforts):
        answer = session.ask(question, effort, 0.3)
        assert not answer.infeasible, f"effort {effort}"


def test_a_status_that_pulp_does_not_know_is_no_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """PuLP 3.3.2 raises KeyError on the solution limit of HiGHS, after it has read the values."""
    usable("highs")
    read = pulp.HiGHS.findSolutionValues

    def ignorant(self: pulp.HiGHS, lp: pulp.LpProblem) -> tuple[int, int]:
        read(self, lp)
        raise KeyError("kSolutionLimit")

    monkeypatch.setattr(pulp.HiGHS, "findSolutionValues", ignorant)
    session = in_this_process("highs")(knapsack(), never)
    assert value(0.0).coefficients @ solution(session.ask(value(0.0), 0, 10.0)) >= -1e-6
    assert not session.ask(value(8.6), 0, 10.0).infeasible


def test_highs_stops_at_its_first_solution() -> None:
    usable("highs")
    rng = np.random.default_rng(0)
    builder = Builder()
    x = builder.add_columns(np.zeros(40), np.ones(40), True)
    for _ in range(10):
        builder.add_row(x, rng.integers(1, 50, 40).astype(float), -np.inf, 300.0)
    profit = Question(x, rng.integers(1, 50, 40).astype(float), 1.0)
    session = in_this_process("highs")(builder.build(), never)
    first, best = (solution(session.ask(profit, effort, 60.0)) for effort in (0, 1))
    assert 1.0 <= profit.coefficients @ first < profit.coefficients @ best


@pytest.mark.parametrize(
    ("status", "sol_status"),
    [
        (pulp.LpStatusOptimal, pulp.LpSolutionIntegerFeasible),
        (pulp.LpStatusNotSolved, pulp.LpSolutionNoSolutionFound),
        (pulp.LpStatusUndefined, pulp.LpSolutionNoSolutionFound),
        (pulp.LpStatusUnbounded, pulp.LpSolutionUnbounded),
        (pulp.LpStatusOptimal, pulp.LpSolutionOptimal),
    ],
)
def test_only_infeasible_is_a_claim(status: int, sol_status: int) -> None:
    answer = lying(status, sol_status, lambda: 1.0)(knapsack(), never).ask(value(0.0), 0, 9.0)
    assert not answer.infeasible and solution(answer).tolist() == [1.0] * 4


@pytest.mark.parametrize("rubbish", [None, float("nan"), float("inf"), "1", 1j])
def test_values_that_are_no_numbers_are_ignored(rubbish: object) -> None:
    session = lying(pulp.LpStatusOptimal, pulp.LpSolutionOptimal, lambda: rubbish)
    answer = session(knapsack(), never).ask(value(0.0), 0, 9.0)
    assert answer.values is None and not answer.infeasible


def test_an_infeasible_at_the_last_moment_is_no_claim() -> None:
    class Late(pulp.LpSolver):  # type: ignore[misc]
        def actualSolve(self, lp: pulp.LpProblem) -> int:  # noqa: N802 (a name of PuLP)
            time.sleep(0.2)
            lp.assignStatus(pulp.LpStatusInfeasible, pulp.LpSolutionInfeasible)
            return pulp.LpStatusInfeasible

    kind = Backend("Late", lambda effort, s: Late(msg=False), pose_plainly, 1)
    session = PulpSession(kind, knapsack())
    assert not session.ask(value(0.0), 0, 0.2).infeasible
    assert session.ask(value(0.0), 0, 10.0).infeasible
