"""For tests of the MILP deciders: small models with questions on them, and ways of answering these:
solvers without a process, and liars.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pulp
import pytest

from leo_cli.stability.milp.model import Answer, Builder, MilpModel, Question
from leo_cli.stability.milp.problems import pose_plainly
from leo_cli.stability.milp.session import Backend, PulpSession
from leo_cli.stability.milp.solvers import backend

NAMES = ["cbc", "highs", "PULP_CBC_CMD"]


def usable(name: str) -> str:
    known = {"highs": "HiGHS", "PULP_CBC_CMD": "PULP_CBC_CMD"}
    if name in known and known[name] not in pulp.listSolvers(onlyAvailable=True):
        pytest.skip(f"{name} is not installed")
    return name


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


def in_this_process(name: str = "cbc") -> Callable[[MilpModel, Callable[[], bool]], PulpSession]:
    """An opener that spares the start of a process."""
    found = backend(name)
    return lambda model, stopped: PulpSession(found, model)


class Liar(pulp.LpSolver):
    """A PuLP solver that does not look at its problem."""

    name = "Liar"

    def __init__(self, status: int, sol_status: int, value: Callable[[], object]) -> None:
        super().__init__(msg=False)
        self.status, self.sol_status, self.value = status, sol_status, value

    def available(self) -> bool:
        return True

    def actualSolve(self, lp: pulp.LpProblem) -> int:  # noqa: N802 (a name of PuLP)
        for variable in lp.variables():
            variable.varValue = self.value()
        lp.assignStatus(self.status, self.sol_status)
        return self.status


def lying(
    status: int, sol_status: int, value: Callable[[], object] = lambda: None
) -> Callable[[MilpModel, Callable[[], bool]], PulpSession]:
    """An opener of liars: `value` for each variable."""
    kind = Backend("Liar", lambda effort, s: Liar(status, sol_status, value), pose_plainly, 1)
    return lambda model, stopped: PulpSession(kind, model)


@dataclass
class Scripted:
    """A solver (of the `Solver` protocol) whose answers a function makes; it keeps the
    questions."""

    answer: Callable[[MilpModel, Question, int], Answer]
    efforts: int = 1
    label: str = "Scripted"
    asked: list[tuple[Question, int]] = field(default_factory=list)
    closed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, model: MilpModel, stopped: Callable[[], bool]) -> Scripted:
        self.model = model
        return self

    def ask(self, question: Question, effort: int, seconds: float) -> Answer:
        with self.lock:
            self.asked.append((question, effort))
        return self.answer(self.model, question, effort)

    def close(self) -> None:
        self.closed += 1


def nothing_found(model: MilpModel, question: Question, effort: int) -> Answer:
    return Answer()


def claims_everything(model: MilpModel, question: Question, effort: int) -> Answer:
    return Answer(infeasible=True)


def lower_corner(model: MilpModel, question: Question, effort: int) -> Answer:
    return Answer(values=np.array(model.lower))
