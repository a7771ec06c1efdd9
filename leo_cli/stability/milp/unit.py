"""One MILP a unit and direction (LEO, arXiv 2001.00218), each a question of sign.

For unit (k, j): is there an input with z >= THRESHOLD? If the solver finds one, its input is a
candidate witness; if it says "infeasible", that is a claim that z <= 0, and not more (design:
soundness rule 2). Then the same for -z, unless the unit was claimed inactive. No answer becomes a
bound here.

Units are asked in order, on `budget.jobs` solver processes. A point that one unit's MILP finds
answers questions of later units; which units see which points depends on their order alone, so that
findings do not depend on the number of processes: unit number i waits for, and uses, the points of
all but the `window(i)` units before it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.stability.budget import Budget
from leo_cli.stability.knowledge import Claim, Findings, Knowledge
from leo_cli.stability.milp.encode import Encoding, Refused, encode
from leo_cli.stability.milp.model import LARGEST, THRESHOLD, MilpModel, Question, Solver
from leo_cli.stability.milp.points import Shown, inside, shown
from leo_cli.stability.milp.process import SolverProcess

Opener = Callable[[MilpModel, Callable[[], bool]], Solver]
SMALLEST_SCALE = 1e-6  # forms are scaled up by no more than this takes


@dataclass(frozen=True)
class MilpOptions:
    """solver: "cbc", "highs", or a name that PuLP lists. share: whether a point that is found for
    one unit answers questions on others. every_unit: ask both questions of every unit of a layer,
    whatever is known already, and share nothing: LEO as published. open: how to reach a solver, for
    tests."""

    solver: str = "cbc"
    share: bool = True
    every_unit: bool = False
    open: Opener | None = None

    def opener(self) -> Opener:
        return self.open or partial(SolverProcess, self.solver)


@dataclass(frozen=True)
class UnitDecider:
    """The decider "milp", one MILP a unit and direction. Raises InputError if the solver is not
    available, SolverError if it fails."""

    options: MilpOptions = field(default_factory=MilpOptions)

    @property
    def name(self) -> str:
        return "milp"

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterator[Findings]:
        for k in layers:
            if (knowledge.open(k).any() or self.options.every_unit) and not budget.expired():
                yield from self._layer(knowledge, k, budget)

    def _layer(self, knowledge: Knowledge, k: int, budget: Budget) -> Iterator[Findings]:
        encoding = encode(knowledge, (k,), own_phases=False)
        if isinstance(encoding, Refused):
            name = knowledge.network.layers[k].name
            yield Findings(notes=(f"layer {name}: {encoding.why}",))
            return
        units = np.flatnonzero(knowledge.open(k) | self.options.every_unit).tolist()
        asking = _Asking(encoding, k, budget, self.options)
        try:
            yield from asking.run(units)
        finally:
            asking.close()


def window(position: int) -> int:
    """How many units before this one it does not wait for: few at first, when points answer
    most."""
    return min(1 + position // 2, 32)


class _Asking:
    """The open units of one layer, and the processes that answer."""

    def __init__(
        self, encoding: Encoding, layer: int, budget: Budget, options: MilpOptions
    ) -> None:
        self._encoding, self._layer, self._budget = encoding, layer, budget
        self._every, self._open = options.every_unit, options.opener()
        self._share = options.share and not options.every_unit
        self._closing = threading.Event()
        self._local = threading.local()
        self._solvers: list[Solver] = []
        knowledge = encoding.knowledge
        self._positive = knowledge.positive[layer] >= 0
        self._negative = knowledge.negative[layer] >= 0

    def run(self, units: list[int]) -> Iterator[Findings]:
        """Findings of each unit, in order."""
        seen = Shown(self._positive, self._negative)
        waiting: deque[Future[tuple[Findings, Shown]]] = deque()
        jobs = max(1, min(self._budget.jobs, len(units)))
        with ThreadPoolExecutor(jobs) as pool:
            try:
                for position, unit in enumerate(units):
                    allowed = window(position) if self._share else len(units)
                    while len(waiting) >= allowed:
                        findings, new = waiting.popleft().result()
                        seen = seen | new if self._share else seen
                        yield findings
                    waiting.append(pool.submit(self._unit, unit, seen))
                while waiting:
                    yield waiting.popleft().result()[0]
            finally:
                self._closing.set()
                for future in waiting:
                    future.cancel()

    def close(self) -> None:
        for solver in self._solvers:
            solver.close()

    def _stopped(self) -> bool:
        return self._closing.is_set() or self._budget.expired()

    def _solver(self) -> Solver:
        """The process of this thread."""
        solver: Solver | None = getattr(self._local, "solver", None)
        if solver is None:
            solver = self._open(self._encoding.model, self._stopped)
            self._local.solver = solver
            self._solvers.append(solver)
        return solver

    def _unit(self, unit: int, seen: Shown) -> tuple[Findings, Shown]:
        """Ask what is open of one unit."""
        start = time.monotonic()
        end = start + self._budget.unit_seconds
        knowledge, k = self._encoding.knowledge, self._layer
        points: list[Floats] = []
        claims: list[Claim] = []
        milps = 0
        for above in (True, False):
            is_open = knowledge.open_above(k) if above else knowledge.open_below(k)
            known = seen.sees(unit, above) or not is_open[unit]
            if claims or self._stopped() or (known and not self._every):
                continue
            reply = self._question(unit, above, end)
            milps += reply.milps
            points += reply.points
            if reply.infeasible:
                claims.append(Claim(k, unit, above, self._solver().label))
            for point in reply.points:
                seen = seen | shown(knowledge.network, point, (k,))[k]
        findings = Findings(
            claims=tuple(claims),
            points=np.array(points) if points else None,
            milps=milps,
            seconds={(k, unit): time.monotonic() - start},
        )
        return findings, seen

    def _question(self, unit: int, above: bool, end: float) -> _Reply:
        """One direction of one unit, with rising effort until it is answered."""
        question = self._posed(unit, above)
        if question is None:
            return _Reply()
        domain, network = self._encoding.knowledge.domain, self._encoding.knowledge.network
        points: list[Floats] = []
        milps = 0
        solver = self._solver()
        effort = 0
        while effort < solver.efforts and not self._stopped():
            seconds = min(end - time.monotonic(), self._budget.remaining())
            if seconds <= 0:
                break
            answer = solver.ask(question, effort, seconds)
            milps += 1
            effort += 1
            if answer.infeasible:
                return _Reply(True, tuple(points), milps)
            if answer.values is None:
                continue
            point = inside(domain, self._encoding.point(answer.values))
            if point is not None:
                points.append(point)
                if shown(network, point, (self._layer,))[self._layer].sees(unit, above):
                    break
        return _Reply(False, tuple(points), milps)

    def _posed(self, unit: int, above: bool) -> Question | None:
        """The sign question; where its terms are small, scaled up, so that they are not lost in the
        solver's tolerances. None where no value can exceed these."""
        columns, coefficients, constant = self._encoding.pre_activation(self._layer, unit)
        sign = 1.0 if above else -1.0
        bound = self._encoding.upper if above else self._encoding.lower
        reach = abs(float(bound[self._layer][unit]))
        model = self._encoding.model
        largest = np.maximum(np.abs(model.lower[columns]), np.abs(model.upper[columns]))
        size = float(np.abs(coefficients) @ largest) + abs(constant)
        scale = max(min(1.0, size), SMALLEST_SCALE)
        if reach <= 2.0 * THRESHOLD * scale or np.any(np.abs(coefficients) > LARGEST * scale):
            return None
        return Question(columns, sign * coefficients / scale, THRESHOLD - sign * constant / scale)


@dataclass(frozen=True)
class _Reply:
    """infeasible: the solver's claim. points: of D, to be replayed."""

    infeasible: bool = False
    points: tuple[Floats, ...] = ()
    milps: int = 0
