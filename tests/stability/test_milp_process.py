"""Solvers in a process of their own: the same answers, stops, overrun limits, crashes."""

import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from milp_solvers import NAMES, hard, in_this_process, knapsack, never, solution, usable, value

from leo_cli.errors import SolverError
from leo_cli.stability.milp import process
from leo_cli.stability.milp.model import Question
from leo_cli.stability.milp.process import SolverProcess

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(params=NAMES)
def solver(request: pytest.FixtureRequest) -> str:
    return usable(request.param)


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
        "from milp_solvers import hard, never\n"
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
