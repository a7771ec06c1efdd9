"""Questions on one model as PuLP problems.

Made of PuLP's own rows for any solver; for CBC and HiGHS, without them: the model's arrays, or the
text of its file, serve all questions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pulp

from leo_cli.arrays import Floats, Ints
from leo_cli.stability.milp.model import MilpModel, Question
from leo_cli.stability.milp.mps import MpsText, column_name

Posed = Callable[[Question], pulp.LpProblem]


def pose_plainly(model: MilpModel) -> Posed:
    """Problems made of PuLP's own constraints, for solvers that we know nothing about."""

    def pose(question: Question) -> pulp.LpProblem:
        columns = list(_variables(model))
        problem = pulp.LpProblem("leo", pulp.LpMinimize)
        form = _form(columns, question.columns, question.coefficients)
        problem.setObjective(-form)
        for r in range(model.rows):
            entries = slice(model.start[r], model.start[r + 1])
            row = _form(columns, model.column[entries], model.coefficient[entries])
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
    """A problem whose rows stay in arrays: solvers take them from there (highs.py) or from its
    file."""

    def __init__(
        self, columns: list[pulp.LpVariable], model: MilpModel, text: MpsText, question: Question
    ) -> None:
        super().__init__("leo", pulp.LpMinimize)
        self.model, self.question = model, question
        self._columns, self._text = columns, text
        self.setObjective(-_form(columns, question.columns, question.coefficients))

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


def _form(
    variables: list[pulp.LpVariable], columns: Ints, coefficients: Floats
) -> pulp.LpAffineExpression:
    """coefficients . v[columns]"""
    terms = zip(columns.tolist(), coefficients.tolist(), strict=True)
    return pulp.LpAffineExpression([(variables[c], value) for c, value in terms])
