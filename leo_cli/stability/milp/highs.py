"""HiGHS through PuLP, with the model handed to highspy as arrays."""

from __future__ import annotations

import numpy as np
import pulp

from leo_cli.stability.milp.problems import ArrayProblem


class Highs(pulp.HiGHS):  # type: ignore[misc]
    """PuLP's interface to highspy, for an ArrayProblem, taken in one piece."""

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
