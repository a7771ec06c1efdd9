"""A solver of PuLP as a session that answers questions on one model.

It runs in a process of its own (worker.py). What it says is a hint: "infeasible" only where the
solver says so before its time is up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pulp

from leo_cli.arrays import Floats
from leo_cli.stability.milp.model import Answer, MilpModel, Question
from leo_cli.stability.milp.problems import Posed

LATE = 0.95  # an answer after this part of its time may be that of an interrupted search


@dataclass(frozen=True)
class Backend:
    """How to call one solver.

    make(effort, seconds): the PuLP solver for one question; seconds None for no limit. pose(model):
    a function from questions to PuLP problems. efforts: how many values of `effort` there are.
    feasibility: the efforts that ask without an objective.
    """

    label: str
    make: Callable[[int, float | None], Any]
    pose: Callable[[MilpModel], Posed]
    efforts: int
    feasibility: frozenset[int] = frozenset()


class PulpSession:
    """Answers questions on one model through PuLP."""

    def __init__(self, backend: Backend, model: MilpModel) -> None:
        self.label, self.efforts = backend.label, backend.efforts
        self._backend, self._pose = backend, backend.pose(model)
        self._columns = model.columns

    def ask(self, question: Question, effort: int, seconds: float) -> Answer:
        problem = self._pose(question)
        if effort in self._backend.feasibility:
            problem.setObjective(pulp.LpAffineExpression())
        limit = seconds if math.isfinite(seconds) else None
        start = time.monotonic()
        problem.solve(self._backend.make(effort, limit))
        late = time.monotonic() - start >= LATE * seconds
        if problem.status == pulp.LpStatusInfeasible:
            return Answer(infeasible=not late)
        return Answer(values=self._values(problem))

    def _values(self, problem: pulp.LpProblem) -> Floats | None:
        """The values of all columns; None if any is missing or is no finite number."""
        values = np.zeros(self._columns)
        for variable in problem.variables():
            name, value = variable.name, variable.varValue
            if not name.startswith("C"):
                continue  # PuLP's dummy in an empty objective
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                return None
            values[int(name[1:])] = value
        return values

    def close(self) -> None:
        """Nothing outlives a question."""
