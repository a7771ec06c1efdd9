"""PuLP's solvers, by name, as sessions that answer questions on one model.

This runs in a process of its own (worker.py). A question has a row "form >= least", so that any
solution will do ("sign-stopped"); where the form is maximised as well, first solutions are clear
ones. Measured on questions of networks of 100 to 1,000 units:

    cbc     preprocessing and cuts cost 1.5 to 5 times what they bring, but settle some hard
    questions: so a first effort
            without them, up to NODES nodes, then one with CBC's defaults, each up to its first
            solution. A third, to the optimum, is for solutions that did not stand up to evaluation.
    highs   needs its presolve; it stops at the first solution by an option whose status PuLP 3.3.2
            does not know (KeyError).
    others  have no option in common that stops at a first solution: a feasibility question, without
    an objective,
            then the optimum.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pulp

from leo_cli.arrays import Floats
from leo_cli.errors import InputError
from leo_cli.stability.milp.model import Answer, MilpModel, Question
from leo_cli.stability.milp.mps import MpsText, column_name

NODES = 500  # of CBC's first effort
LATE = 0.95  # an answer after this part of its time may be that of an interrupted search
# What solvers take for 0 by default (1e-7, and 1e-6 of an integer) adds up over rows, and times a
# big-M, to more than a question's threshold.
TIGHT = 1e-9
# of the newer CBC: what its bound propagation finds infeasible it reports as "Status unknown"
BOX_OPTIONS = ("boundPropLevel off",)

Posed = Callable[[Question], pulp.LpProblem]


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


def pose_plainly(model: MilpModel) -> Posed:
    """Problems made of PuLP's own constraints, for solvers that we know nothing about."""

    def pose(question: Question) -> pulp.LpProblem:
        columns = list(_variables(model))
        problem = pulp.LpProblem("leo", pulp.LpMinimize)
        form = _form(columns, question)
        problem.setObjective(-form)
        for r in range(model.rows):
            entries = slice(model.start[r], model.start[r + 1])
            row = pulp.LpAffineExpression(
                [
                    (columns[c], value)
                    for c, value in zip(
                        model.column[entries].tolist(),
                        model.coefficient[entries].tolist(),
                        strict=True,
                    )
                ]
            )
            low, high = float(model.row_lower[r]), float(model.row_upper[r])
            if low == high:
                problem += row == low
            elif math.isinf(low):
                problem += row <= high
            else:
                problem += row >= low
        problem += form >= question.least
        return problem

    return pose


class ArrayProblem(pulp.LpProblem):  # type: ignore[misc]
    """A problem whose rows stay in arrays: the solvers below take them from there or from its
    file."""

    def __init__(
        self, columns: list[pulp.LpVariable], model: MilpModel, text: MpsText, question: Question
    ) -> None:
        super().__init__("leo", pulp.LpMinimize)
        self.model, self.question = model, question
        self._columns, self._text = columns, text
        self.setObjective(-_form(columns, question))

    def variables(self) -> list[pulp.LpVariable]:
        return self._columns

    def variablesDict(self) -> dict[str, pulp.LpVariable]:  # noqa: N802 (a name of PuLP)
        return {variable.name: variable for variable in self._columns}

    def writeMPS(  # noqa: N802 (a name of PuLP)
        self,
        filename: str,
        mpsSense: int = 0,
        rename: bool = False,
        mip: bool = True,
        with_objsense: bool = False,
    ) -> Any:
        """Always minimises, as the objective is stated."""
        Path(filename).write_text(self._text.render(self.question), encoding="ascii")
        names = {variable.name: variable.name for variable in self._columns}
        return (self._columns, names, {}, "OBJ") if rename else self._columns


def pose_from_arrays(model: MilpModel) -> Posed:
    """Problems that share their columns and the text of their file."""
    columns, text = list(_variables(model)), MpsText(model)

    def pose(question: Question) -> pulp.LpProblem:
        for variable in columns:
            variable.varValue = None
        return ArrayProblem(columns, model, text, question)

    return pose


def _variables(model: MilpModel) -> Iterator[pulp.LpVariable]:
    kinds = np.where(model.integer, pulp.LpInteger, pulp.LpContinuous).tolist()
    bounds = zip(model.lower.tolist(), model.upper.tolist(), kinds, strict=True)
    for c, (low, high, kind) in enumerate(bounds):
        yield pulp.LpVariable(column_name(c), low, high, kind)


def _form(columns: list[pulp.LpVariable], question: Question) -> pulp.LpAffineExpression:
    terms = zip(question.columns.tolist(), question.coefficients.tolist(), strict=True)
    return pulp.LpAffineExpression([(columns[c], value) for c, value in terms])


class Highs(pulp.HiGHS):  # type: ignore[misc]
    """PuLP's interface to highspy, which takes an ArrayProblem in one piece."""

    def buildSolverModel(self, lp: ArrayProblem) -> None:  # noqa: N802 (a name of PuLP)
        import highspy

        model, question = lp.model, lp.question
        program = highspy.HighsLp()
        program.num_col_, program.num_row_ = model.columns, model.rows + 1
        cost = np.zeros(model.columns)
        if lp.objective:
            cost[question.columns] = -question.coefficients
        program.col_cost_, program.col_lower_, program.col_upper_ = cost, model.lower, model.upper
        program.row_lower_ = np.append(model.row_lower, question.least)
        program.row_upper_ = np.append(model.row_upper, np.inf)
        program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        program.a_matrix_.start_ = np.append(model.start, model.start[-1] + len(question.columns))
        program.a_matrix_.index_ = np.append(model.column, question.columns)
        program.a_matrix_.value_ = np.append(model.coefficient, question.coefficients)
        kinds = highspy.HighsVarType
        program.integrality_ = [
            kinds.kInteger if integer else kinds.kContinuous for integer in model.integer.tolist()
        ]
        lp.solverModel.passModel(program)
        for c, variable in enumerate(lp.variables()):
            variable.index = c

    def findSolutionValues(self, lp: ArrayProblem) -> tuple[int, int]:  # noqa: N802 (a name of PuLP)
        try:
            found: tuple[int, int] = super().findSolutionValues(lp)
        except (KeyError, IndexError):
            # a status that PuLP does not know (the solution limit is one), or no solution at all:
            # whatever values it has assigned are worth a look, and nothing is claimed
            return pulp.LpStatusNotSolved, pulp.LpSolutionNoSolutionFound
        return found


def backend(name: str) -> Backend:
    """The solver of this name: "cbc", "highs", or what PuLP calls it, in any case and without its
    suffix (gurobi for GUROBI or GUROBI_CMD). Raises InputError, which lists what is available."""
    wanted = name.lower()
    if wanted == "cbc":
        found = _cbc()
    elif wanted == "highs" and Highs(msg=False).available():
        found = Backend(f"HiGHS{_version('highspy')}", _make_highs, pose_from_arrays, 2)
    else:
        found = _other(wanted)
    if found is None:
        raise InputError(
            f"--solver {name}: not available here; choose from {', '.join(available())}"
        )
    return found


def available() -> list[str]:
    """Names for --solver that work here."""
    names = ["cbc"] if _cbc() is not None else []
    names += ["highs"] if Highs(msg=False).available() else []
    return names + [name for name in pulp.listSolvers(onlyAvailable=True) if name != "HiGHS"]


def _version(package: str) -> str:
    try:
        return " " + version(package)
    except PackageNotFoundError:
        return ""


def _cbc() -> Backend | None:
    """cbcbox has the newest binary; PuLP 3 carries one from 2019; a system may have its own."""
    path = _cbcbox_path()
    if path is not None:
        label = f"CBC (cbcbox{_version('cbcbox')})"
        return _cbc_backend(label, pulp.COIN_CMD, BOX_OPTIONS, path=path)
    if "PULP_CBC_CMD" in pulp.listSolvers(onlyAvailable=True):
        return _cbc_backend(f"CBC (PuLP{_version('pulp')})", pulp.PULP_CBC_CMD)
    if pulp.COIN_CMD(msg=False).available():
        return _cbc_backend("CBC", pulp.COIN_CMD)
    return None


def _cbcbox_path() -> str | None:
    try:
        from cbcbox import cbc_bin_path
    except ImportError:
        return None
    path = str(cbc_bin_path())
    return path if Path(path).is_file() else None


def _cbc_backend(label: str, kind: Any, always: tuple[str, ...] = (), **where: str) -> Backend:
    def make(effort: int, seconds: float | None) -> Any:
        options = [*always, f"integerTolerance {TIGHT}", f"primalTolerance {TIGHT}"]
        if effort < 2:
            options.append("maxSolutions 1")
        if effort == 0:
            options += ["preprocess off", "cuts off", f"maxNodes {NODES}"]
        return kind(msg=False, timeLimit=seconds, options=options, **where)

    return Backend(label, make, pose_from_arrays, 3)


def _make_highs(effort: int, seconds: float | None) -> Any:
    options: dict[str, float] = {
        "mip_feasibility_tolerance": TIGHT,
        "primal_feasibility_tolerance": TIGHT,
    }
    if effort == 0:
        options["mip_max_improving_sols"] = 1
    return Highs(msg=False, timeLimit=seconds, threads=1, **options)


def _other(wanted: str) -> Backend | None:
    usable = pulp.listSolvers(onlyAvailable=True)
    for name in usable:
        if name.lower() == wanted or name.lower().startswith(wanted + "_"):
            break
    else:
        return None

    def make(effort: int, seconds: float | None) -> Any:
        # some solvers take whole seconds only
        limit = None if seconds is None else math.ceil(seconds)
        return pulp.getSolver(name, msg=False, timeLimit=limit)

    return Backend(name, make, pose_plainly, 2, feasibility=frozenset({0}))
