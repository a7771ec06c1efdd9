"""Bounds of batches of nodes of branch and bound, by the method that suits the problem.

Gradient steps in float32 where that is possible (bounds/quick.py), else in float64; below the root
of problems with few inputs by linear programs (bounds/program.py): a hundred times slower than
gradient steps, and no better where there are many inputs, but where there are few, phases often
exclude each other, which only good multipliers show. Whatever found the slopes and multipliers,
what counts as proved was evaluated by bounds/linear.py, or exactly (exact_nodes.py).
"""

from __future__ import annotations

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.bounds.dual import Dual, relaxations_of
from leo_cli.bounds.linear import Relaxed, Signed, backward
from leo_cli.bounds.program import is_small, solve_nodes
from leo_cli.bounds.quick import climb
from leo_cli.bounds.quick_problem import QuickProblem
from leo_cli.bounds.slopes import BLOCK, Optimised, join_optimised, optimise, optimise_blocks
from leo_cli.parallel import map_blocks
from leo_cli.rounding import SMALLEST
from leo_cli.stability.exact_nodes import ExactNodes

ROOT_STEPS, NODE_STEPS = 20, 5  # of slope optimisation
# in float32, and the size of these steps: nearly the bounds of 5 steps, in two thirds of the time
QUICK_STEPS, QUICK_RATE = 3, 0.4


class NodeBounds:
    """Bounds nodes of one problem, on `jobs` threads."""

    def __init__(self, problem: Relaxed, jobs: int) -> None:
        self.problem, self.jobs = problem, jobs
        self.small, self.ties = is_small(problem), ExactNodes(problem)
        self.quick = QuickProblem(problem) if QuickProblem.suits(problem) else None

    def of(self, asked: Signed, nodes: Dual, root: bool) -> Optimised:
        """Lower bounds of asked.sign * z in the nodes, >= 0 only where that is proved.

        root: whether the nodes have no phases yet."""
        steps = ROOT_STEPS if root else NODE_STEPS
        if self.small and not root:
            rows = _rows(self.problem, asked)
            solved = solve_nodes(self.problem, rows, nodes, self.jobs)
            final = optimise(self.problem, rows, solved.dual, 0)
            coefficients = final.coefficients
            found = Optimised(final.bound, solved.dual, solved.points, solved.gaps, coefficients)
        elif self.quick is not None:
            found = self._climbed(self.quick, asked, nodes, root)
        else:
            rows = _rows(self.problem, asked)
            found = optimise_blocks(self.problem, rows, nodes, steps, self.jobs)
        self._settle_ties(asked, found)
        return found

    def suggested(self, asked: Signed, nodes: Dual, root: bool) -> Optimised:
        """The same by gradient steps, with bounds that may be off by float32's rounding."""
        steps = ROOT_STEPS if root else NODE_STEPS
        if self.quick is None:
            return optimise_blocks(
                self.problem, _rows(self.problem, asked), nodes, steps, self.jobs
            )
        quick, every = self.quick, np.arange(len(asked))
        parts = map_blocks(
            lambda b: _steps(quick, Signed(asked.unit[b], asked.sign[b]), nodes.take(b), root),
            [every[i : i + BLOCK] for i in range(0, len(every), BLOCK)],
            self.jobs,
        )
        return parts[0] if len(parts) == 1 else join_optimised(parts)

    def leaf(self, asked: Signed, node: Dual) -> tuple[Optimised, Floats]:
        """The bound of one node that cannot be branched, as good as it gets, and points where it
        may be attained."""
        rows = _rows(self.problem, asked)
        solved = solve_nodes(self.problem, rows, node)
        final = optimise(self.problem, rows, solved.dual, 0)
        self._settle_ties(asked, final)
        return final, np.vstack([solved.points, final.minimisers])

    def near_ties(self, units: Ints, bound: Floats) -> Floats:
        """(m,) for bounds that are nearly 0, where gaps may be a program's inaccuracy alone, how
        large the bounds' distance from 0 may be; else 0."""
        near = self.ties.near[units]
        return np.where(self.small & (bound >= -near), near, 0.0)

    def _climbed(self, quick: QuickProblem, asked: Signed, nodes: Dual, root: bool) -> Optimised:
        def work(block: Ints) -> Optimised:
            part = Signed(asked.unit[block], asked.sign[block])
            found = _steps(quick, part, nodes.take(block), root)
            rows = np.flatnonzero(found.bound >= -quick.noise[part.unit])
            np.minimum(found.bound, -SMALLEST, out=found.bound)
            if len(rows):
                dual = found.dual.take(rows)
                chosen = relaxations_of(self.problem, dual)
                again = Signed(part.unit[rows], part.sign[rows])
                found.bound[rows] = backward(self.problem, again, chosen, dual.multipliers).bound
            return found

        every = np.arange(len(asked))
        blocks = [every[i : i + BLOCK] for i in range(0, len(every), BLOCK)]
        parts = map_blocks(work, blocks, self.jobs)
        return parts[0] if len(parts) == 1 else join_optimised(parts)

    def _settle_ties(self, asked: Signed, found: Optimised) -> None:
        """Take exact bounds for those that rounding alone may keep from 0 (in place)."""
        if not self.ties.possible:
            return
        for row in np.flatnonzero(self.ties.near_ties(asked.unit, found.bound)).tolist():
            at, unit, sign = np.array([row]), int(asked.unit[row]), float(asked.sign[row])
            settled = self.ties.settle(unit, sign, found.dual.take(at))
            if settled is not None:
                found.bound[row] = settled[0]
                found.dual.put(at, settled[1])


def _steps(quick: QuickProblem, asked: Signed, nodes: Dual, root: bool) -> Optimised:
    if root:
        return climb(quick, asked, nodes, ROOT_STEPS)
    return climb(quick, asked, nodes, QUICK_STEPS, QUICK_RATE)


def dearest(found: Optimised, least: Floats) -> tuple[Ints, Floats]:
    """(m, 2) layer and unit whose relaxation costs each bound most at its minimiser, -1 where none
    costs more than `least`, and (m,) the coefficient of that unit."""
    rows = np.arange(len(found.bound))
    best, weight = least.copy(), np.zeros(len(rows))
    where = np.full((len(rows), 2), -1)
    for k, (gap, a) in enumerate(zip(found.gaps, found.coefficients, strict=True)):
        if gap is None or a.shape[1] == 0:
            continue
        unit = gap.argmax(axis=1)
        larger = gap[rows, unit] > best
        best[larger] = gap[rows, unit][larger]
        where[larger] = np.stack([np.full(larger.sum(), k), unit[larger]], axis=1)
        weight[larger] = a[rows, unit][larger]
    return where, weight


def _rows(problem: Relaxed, asked: Signed) -> Floats:
    """The objectives as (m, width of the target) rows."""
    rows = np.zeros((len(asked), problem.network.layers[-1].width))
    rows[np.arange(len(asked)), asked.unit] = asked.sign
    return rows
