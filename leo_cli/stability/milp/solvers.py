"""PuLP's solvers by name, and how each is asked.

A question has a row "form >= least", so that any solution will do ("sign-stopped"); where the form
is maximised as well, first solutions are clear ones. Measured on questions of networks of 100 to
1,000 units:

    cbc     preprocessing and cuts cost 1.5 to 5 times what they bring, but settle some hard
            questions: so a first effort without them, up to NODES nodes, then one with CBC's
            defaults, each up to its first solution. A third, to the optimum, is for solutions that
            did not stand up to evaluation.
    highs   needs its presolve; it stops at the first solution by an option whose status PuLP 3.3.2
            does not know (KeyError).
    others  have no option in common that stops at a first solution: a feasibility question, without
            an objective, then the optimum.
"""

from __future__ import annotations

import math
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pulp

from leo_cli.errors import InputError
from leo_cli.stability.milp.highs import Highs
from leo_cli.stability.milp.problems import pose_from_arrays, pose_plainly
from leo_cli.stability.milp.session import Backend

NODES = 500  # of CBC's first effort
# What solvers take for 0 by default (1e-7, and 1e-6 of an integer) adds up over rows, and times a
# big-M, to more than a question's threshold.
TIGHT = 1e-9
# of the newer CBC: what its bound propagation finds infeasible it reports as "Status unknown"
BOX_OPTIONS = ("boundPropLevel off",)


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
