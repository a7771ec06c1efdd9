"""Ways of answering questions for tests of the MILP deciders: CBC without a process, and liars."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pulp

from leo_cli.stability.milp.model import Answer, MilpModel, Question
from leo_cli.stability.milp.solvers import Backend, PulpSession, backend, pose_plainly


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
