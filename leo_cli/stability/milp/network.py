"""One MILP for all open questions (Serra, Yu, Kumar, Ramalingam, arXiv 2102.07804: "ISA").

With a question for each sign that no input has shown yet, and [0, 1] variables

    p_j <= s_j,       THRESHOLD p_j <= h_j       for "z_j > 0", not seen yet
    q_j <= 1 - s_j,   THRESHOLD q_j <= hbar_j    for "z_j < 0", not seen yet

every solution with sum(p + q) >= 1 is an input that crosses off the questions that it answers; when
there is none, the solver claims all that remain. The second inequalities are not in the paper:
without them z_j = 0 would allow s_j = 1, and an input that shows nothing would be offered for ever.
What an input shows is decided by replay; questions that a solution claims to answer and replay does
not confirm are given up, so that every solution takes away one at least.

Written for solvers without callbacks: stop at the first solution, cross off, ask again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.stability.budget import Budget
from leo_cli.stability.knowledge import Claim, Findings, Knowledge
from leo_cli.stability.milp.encode import Encoding, Refused, encode
from leo_cli.stability.milp.model import Answer, Builder, Question, Solver
from leo_cli.stability.milp.points import inside, shown
from leo_cli.stability.milp.unit import MilpOptions

Key = tuple[int, int, bool]  # (layer, unit, above): is z > 0 (above) or z < 0 possible?

THRESHOLD = 1e-5  # what h or hbar counts as a sign: the slack of several rows adds up here
SOME = 1.0 - 1e-3  # what sum(p + q) must reach: 1, less what solvers' tolerances take from it
CLAIMED = 0.5  # a part of the largest p or q: from there on the solver claims to answer a question


@dataclass(frozen=True)
class NetworkDecider:
    """The decider "milp", one MILP for the open units of all given layers. Raises InputError if the
    solver is not available, SolverError if it fails."""

    options: MilpOptions = field(default_factory=MilpOptions)

    @property
    def name(self) -> str:
        return "milp"

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterator[Findings]:
        asked = tuple(k for k in layers if knowledge.open(k).any())
        if not asked or budget.expired():
            return
        encoding = encode(knowledge, asked, own_phases=True)
        if isinstance(encoding, Refused):
            yield Findings(notes=(f"no MILP of the network: {encoding.why}",))
            return
        encoding, variables = _with_questions(encoding, asked)
        closing = threading.Event()
        solver = self.options.opener()(encoding.model, lambda: closing.is_set() or budget.expired())
        try:
            yield from _cross_off(encoding, variables, solver, budget)
        finally:
            closing.set()
            solver.close()


def _with_questions(encoding: Encoding, layers: tuple[int, ...]) -> tuple[Encoding, dict[Key, int]]:
    """The program with a variable p or q for each open question, and these columns."""
    builder = Builder(encoding.model)
    variables: dict[Key, int] = {}
    for k in layers:
        for above in (True, False):
            knowledge = encoding.knowledge
            is_open = knowledge.open_above(k) if above else knowledge.open_below(k)
            part = encoding.nodes[k + 1].column if above else encoding.negative_part[k]
            for j in np.flatnonzero(is_open & (part >= 0)).tolist():
                if encoding.model.upper[part[j]] <= 2.0 * THRESHOLD:
                    continue  # below what a solver can tell from 0
                (column,) = builder.add_columns(np.zeros(1), np.ones(1)).tolist()
                variables[k, j, above] = column
                reach = np.array([part[j], column])
                builder.add_row(reach, np.array([1.0, -THRESHOLD]), 0.0, np.inf)
                s = encoding.phase[k][j]
                if s >= 0:
                    sign = -1.0 if above else 1.0
                    row = np.array([column, s])
                    builder.add_row(row, np.array([1.0, sign]), -np.inf, max(sign, 0.0))
    return replace(encoding, model=builder.build()), variables


def _cross_off(
    encoding: Encoding, variables: dict[Key, int], solver: Solver, budget: Budget
) -> Iterator[Findings]:
    """Ask until nothing remains, the solver claims that, or it finds nothing in the time."""
    remaining, given_up = dict(variables), 0
    start = time.monotonic()
    end = start + budget.unit_seconds * len({key[:2] for key in variables})
    effort = 0
    while remaining and effort < solver.efforts and not budget.expired():
        seconds = min(end - time.monotonic(), budget.remaining())
        if seconds <= 0:
            break
        columns = np.array(list(remaining.values()))
        answer = solver.ask(Question(columns, np.ones(len(columns)), SOME), effort, seconds)
        if answer.infeasible:
            yield Findings(claims=_claims(remaining, solver.label), milps=1)
            break
        point = (
            None
            if answer.values is None
            else inside(encoding.knowledge.domain, encoding.point(answer.values))
        )
        seen = set() if point is None else _answered(encoding, point, remaining)
        yield Findings(points=None if point is None else point[None], milps=1)
        lost = set() if seen else _claimed(answer, remaining)
        given_up += len(lost)
        # a limit that was hit without anything to show for it: harder next time
        effort = 0 if seen or lost else effort + 1
        remaining = {key: c for key, c in remaining.items() if key not in seen | lost}
    elapsed = time.monotonic() - start
    units = {key[:2] for key in variables}
    note = (
        f"MILP of the network: {given_up} questions given up, inputs did not show what was claimed"
    )
    yield Findings(
        seconds=dict.fromkeys(units, elapsed / max(len(units), 1)),
        notes=(note,) if given_up else (),
    )


def _answered(encoding: Encoding, point: Floats, remaining: dict[Key, int]) -> set[Key]:
    """The questions that the point answers beyond rounding."""
    layers = tuple(sorted({k for k, _, _ in remaining}))
    signs = shown(encoding.knowledge.network, point, layers)
    return {key for key in remaining if signs[key[0]].sees(key[1], key[2])}


def _claimed(answer: Answer, remaining: dict[Key, int]) -> set[Key]:
    """The questions that a solution claims to answer; none if it does not even satisfy its own
    row."""
    if answer.values is None:
        return set()
    claims = {key: float(answer.values[column]) for key, column in remaining.items()}
    if sum(claims.values()) < CLAIMED * SOME:
        return set()
    most = max(claims.values())
    return {key for key, value in claims.items() if value >= CLAIMED * most}


def _claims(remaining: dict[Key, int], label: str) -> tuple[Claim, ...]:
    """z <= 0 for what was never positive; else z >= 0 for what was never negative."""
    return tuple(
        Claim(k, j, above, label)
        for k, j, above in sorted(remaining)
        if above or (k, j, True) not in remaining
    )
