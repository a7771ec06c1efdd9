"""Solvers by name: what is found, what is refused."""

import pulp
import pytest
from milp_solvers import knapsack, never, solution, usable, value

from leo_cli.errors import InputError
from leo_cli.stability.milp import require_solver, solvers
from leo_cli.stability.milp.process import SolverProcess
from leo_cli.stability.milp.session import PulpSession
from leo_cli.stability.milp.solvers import backend

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


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
