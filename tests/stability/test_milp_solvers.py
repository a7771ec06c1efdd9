"""Solvers through PuLP, here and in their own process: names, statuses, limits, crashes, stops."""

import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pulp
import pytest
from milp_solvers import in_this_process, lying

from leo_cli.errors import InputError, SolverError
from leo_cli.stability.milp import process, require_solver, solvers
from leo_cli.stability.milp.model import Answer, Builder, MilpModel, Question
from leo_cli.stability.milp.process import SolverProcess
from leo_cli.stability.milp.solvers import Backend, PulpSession, backend

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

NAMES = ["cbc", "highs", "PULP_CBC_CMD"]


def usable(name: str) -> str:
    known = {"highs": "HiGHS", "PULP_CBC_CMD": "PULP_CBC_CMD"}
    if name in known and known[name] not in pulp.listSolvers(onlyAvailable=True):
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture(params=NAMES)
def solver(request: pytest.FixtureRequest) -> str:
    return usable(request.param)


def never() -> bool:
    return False


def knapsack() -> MilpModel:
    """x in [0, 2], three binaries with 3 a + 4 b + 5 c <= 8, x + a = 1.5."""
    builder = Builder()
    x = builder.add_columns(np.zeros(1), np.array([2.0]))
    abc = builder.add_columns(np.zeros(3), np.ones(3), True)
    builder.add_row(abc, np.array([3.0, 4.0, 5.0]), -np.inf, 8.0)
    builder.add_row(np.append(x, abc[0]), np.ones(2), 1.5, 1.5)
    return builder.build()


def value(least: float) -> Question:
    """3 a + 4 b + 6 c - x >= least; its maximum is 8.5, at a = c = 1."""
    return Question(np.array([0, 1, 2, 3]), np.array([-1.0, 3.0, 4.0, 6.0]), least)


def hard(size: int = 60) -> tuple[MilpModel, Question]:
    """A market-split problem (Cornuejols and Dawande): no solver ends soon."""
    rng = np.random.default_rng(1)
    builder = Builder()
    x = builder.add_columns(np.zeros(size), np.ones(size), True)
    for _ in range(6):
        weights = rng.integers(0, 100, size).astype(float)
        builder.add_row(x, weights, float(weights.sum() // 2), float(weights.sum() // 2))
    return builder.build(), Question(x, np.ones(size), 1.0)


def solution(answer: Answer) -> np.ndarray:
    assert not answer.infeasible and answer.values is not None
    return answer.values


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

    kind = Backend("Late", lambda effort, s: Late(msg=False), solvers.pose_plainly, 1)
    session = PulpSession(kind, knapsack())
    assert not session.ask(value(0.0), 0, 0.2).infeasible
    assert session.ask(value(0.0), 0, 10.0).infeasible


def test_unknown_and_absent_solvers_are_refused_with_the_choice() -> None:
    for name in ("nonsense", "gurobi_cmd", "MOSEK"):
        if name in pulp.listSolvers(onlyAvailable=True):
            continue
        with pytest.raises(InputError, match=r"--solver .*choose from cbc"):
            require_solver(name)
        with pytest.raises(InputError, match=r"--solver .*choose from cbc"):
            SolverProcess(name, knapsack(), never)


def test_names_are_found_in_any_case_and_without_suffix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulp, "listSolvers", lambda onlyAvailable=False: ["GLPK_CMD", "SCIP_PY"])
    assert backend("glpk").label == "GLPK_CMD" and backend("scip_py").label == "SCIP_PY"
    with pytest.raises(InputError):
        backend("glp")


def test_cbc_falls_back_to_the_one_that_pulp_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    usable("PULP_CBC_CMD")
    monkeypatch.setattr(solvers, "_cbcbox_path", lambda: None)
    found = backend("cbc")
    assert "PuLP" in found.label
    values = solution(PulpSession(found, knapsack()).ask(value(8.0), 0, 30.0))
    assert values == pytest.approx([0.5, 1.0, 0.0, 1.0], abs=1e-6)


# --- in a process of its own -------------------------------------------------------------------


@pytest.fixture
def spaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory with spaces, and a check that it is left as it was found."""
    directory = tmp_path / "a temporary directory"
    directory.mkdir()
    for name in ("TMPDIR", "TMP", "TEMP"):
        monkeypatch.setenv(name, str(directory))
    monkeypatch.setattr("tempfile.tempdir", None)
    return directory


def descendants(pid: int) -> set[int]:
    """All processes of the group that a solver process leads."""
    listing = subprocess.run(
        ["ps", "-e", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True
    )
    rows = (line.split() for line in listing.stdout.splitlines())
    return {int(p) for p, group, state in rows if int(group) == pid}


def gone(pid: int) -> bool:
    end = time.monotonic() + 5.0
    while descendants(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not descendants(pid)


posix = pytest.mark.skipif(os.name != "posix", reason="looks at process groups")


def test_the_process_gives_the_same_answers(solver: str, request: pytest.FixtureRequest) -> None:
    questions = [value(least) for least in (8.0, 1.0, 8.6, 0.0)]
    here = in_this_process(solver)(knapsack(), never)
    answers = [here.ask(question, 0, 60.0) for question in questions]
    spaced = request.getfixturevalue("spaced")
    there = SolverProcess(solver, knapsack(), never)
    try:
        assert (there.label, there.efforts) == (here.label, here.efforts)
        for question, ours in zip(questions, answers, strict=True):
            theirs = there.ask(question, 0, 60.0)
            assert ours.infeasible == theirs.infeasible
            if ours.values is None:
                assert theirs.values is None
            else:
                assert np.array_equal(ours.values, solution(theirs))
    finally:
        there.close()
    assert list(spaced.iterdir()) == []


@posix
def test_a_stop_kills_the_solver_at_once_and_cleans_up(spaced: Path, solver: str) -> None:
    model, question = hard()
    stop = threading.Event()
    running = SolverProcess(solver, model, stop.is_set)
    pid = running._process.pid  # type: ignore[union-attr]
    threading.Timer(0.7, stop.set).start()
    start = time.monotonic()
    answer = running.ask(question, min(2, running.efforts - 1), math.inf)
    took = time.monotonic() - start
    running.close()
    assert not answer.infeasible and answer.values is None
    assert 0.5 < took < 5.0
    assert gone(pid) and list(spaced.iterdir()) == []


@posix
def test_a_solver_that_overruns_its_time_is_killed_and_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "GRACE", -0.4)  # of 0.5 s: too early for the solver's own limit
    model, question = hard()
    running = SolverProcess("cbc", model, never)
    try:
        first = running._process.pid  # type: ignore[union-attr]
        start = time.monotonic()
        answer = running.ask(question, 2, 0.5)
        assert not answer.infeasible and time.monotonic() - start < 4.0
        assert running._process is None and gone(first)
        easy = Question(np.array([0]), np.ones(1), 5.0)  # a binary of at least 5
        assert running.ask(easy, 0, 60.0).infeasible
    finally:
        running.close()


@posix
def test_a_crash_is_a_solver_error_with_the_reason() -> None:
    running = SolverProcess("cbc", knapsack(), never)
    try:
        os.kill(running._process.pid, 11)  # type: ignore[union-attr]
        with pytest.raises(SolverError, match=r"--solver cbc.*exit code"):
            running.ask(value(0.0), 0, 10.0)
        wrong = Question(np.array([99]), np.ones(1), 0.0)  # no such column
        with pytest.raises(SolverError, match="IndexError"):
            running.ask(wrong, 0, 10.0)
    finally:
        running.close()


@posix
def test_the_death_of_the_parent_ends_the_solver(tmp_path: Path, spaced: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys, os, signal, threading, time\n"
        f"sys.path[:0] = {[str(Path(__file__).parents[2]), str(Path(__file__).parent)]!r}\n"
        f"sys.path[:0] = {[str(Path(__file__).parents[1])]!r}\n"
        "from test_milp_solvers import hard, never\n"
        "from leo_cli.stability.milp.process import SolverProcess\n"
        "model, question = hard()\n"
        "running = SolverProcess('cbc', model, never)\n"
        "print(running._process.pid, flush=True)\n"
        "threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()\n"
        "running.ask(question, 2, 1000.0)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -9, done.stderr
    assert gone(int(done.stdout)) and list(spaced.iterdir()) == []
