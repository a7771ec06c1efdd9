"""The linear programs of nodes of branch and bound, and the slopes and multipliers they lead to.

In a node, some units have an assumed phase and the others their relaxation. Over the inputs x and
the post-activations h of the units without a phase, every pre-activation is affine, and
    min c z   subject to   z <= h,  h <= s z + t,  h >= 0   (relaxed units; s, t of relaxation.py)
                           z >= 0 or z <= 0                 (units with a phase)
is a linear program over a box. Its optimum is the best that slopes and multipliers can reach
(Salman et al., arXiv 1902.08722, theorem 1): with multipliers l of z <= h, m of h <= s z + t and r
of h >= 0, the coefficient of h in the backward bound is l - m + r, its lower slope (l - m) / (l - m
+ r), and the multiplier of a phase is that of its row. Where every unit has a phase it is the exact
minimum in the node. What comes out is only a suggestion, evaluated by bounds/linear.py like any
other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.bounds.dual import Dual, join, stack
from leo_cli.bounds.interior import Programs, Solutions, solve
from leo_cli.bounds.linear import Relaxed
from leo_cli.parallel import map_blocks

BLOCK = 32  # nodes solved together
SMALL = 4e6  # multiplications of one step of a solution
ROOM = 2.0  # of its upper bound that h may take in a program: its own row is what bounds it


@dataclass(frozen=True)
class Solved:
    """dual: slopes and multipliers. points: (b, inputs) minimisers. gaps: for each layer (b, width)
    what the relaxation of each unit costs there; None without a ReLU."""

    dual: Dual
    points: Floats
    gaps: tuple[Floats | None, ...]


def is_small(problem: Relaxed) -> bool:
    """Whether its nodes are worth a linear program each: a few milliseconds, and inputs so few that
    the units' phases restrict them much."""
    units = sum(len(_unstable(problem, k)) for k in range(problem.target))
    inputs = len(problem.domain.free)
    n, m = problem.network.inputs + units, 2 * units
    return inputs <= m and min(m, n) ** 2 * max(m, n) <= SMALL


def solve_nodes(problem: Relaxed, objective: Floats, dual: Dual, jobs: int = 1) -> Solved:
    """Slopes and multipliers of nodes from their linear programs, as good as it takes to prove
    objective z >= 0 or to see that the relaxation does not.

    objective: (b, width of the target). dual: the nodes' phases, with room for multipliers.
    jobs: threads.
    """

    def work(rows: Ints) -> Solved:
        part = dual.take(rows)
        nodes = _Nodes(problem, part)
        return nodes.read(part, solve(nodes.programs(objective[rows])))

    every = np.arange(len(objective))
    parts = map_blocks(work, [every[i : i + BLOCK] for i in range(0, len(every), BLOCK)], jobs)
    return Solved(
        join([part.dual for part in parts]),
        np.concatenate([part.points for part in parts]),
        tuple(stack(gap) for gap in zip(*(part.gaps for part in parts), strict=True)),
    )


def _unstable(problem: Relaxed, k: int) -> Ints:
    if problem.relaxations[k] is None:
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero((problem.lower[k] < 0) & (problem.upper[k] > 0))


@dataclass(frozen=True)
class _Block:
    """The unstable units of a layer: unit and phase of each, the place of its first row, and the
    variables and second rows of those that are free in some node."""

    unit: Ints
    phase: Floats  # (b, units)
    first: Ints
    free: Ints  # positions in `unit`
    variable: Ints
    second: Ints


class _Nodes:
    """Nodes of one problem: which variable and which rows belong to which unit."""

    def __init__(self, problem: Relaxed, dual: Dual) -> None:
        self.problem = problem
        self.blocks: list[_Block | None] = []
        self.count, self.variables, rows = 0, problem.network.inputs, 0
        for k in range(problem.target):
            phases, unit = dual.phases[k], _unstable(problem, k)
            if phases is None:
                self.blocks.append(None)
                continue
            phase = phases[:, unit].astype(np.float64)
            free = np.flatnonzero((phase == 0).any(axis=0))
            first, second = rows + np.arange(len(unit)), rows + len(unit) + np.arange(len(free))
            variable = self.variables + np.arange(len(free))
            self.blocks.append(_Block(unit, phase, first, free, variable, second))
            self.count, self.variables = len(phase), self.variables + len(free)
            rows += len(unit) + len(free)
        self.rows = rows
        self.pre: list[Floats] = []  # (b or 1, variables + 1, width) affine maps of z, by layer

    def programs(self, objective: Floats) -> Programs:
        problem, size = self.problem, self.variables + 1
        self.count = len(objective)
        rows = np.zeros((self.count, self.rows, size - 1))
        limits = np.ones((self.count, self.rows))
        upper = [problem.domain.upper]
        values: list[Floats] = [np.eye(size, problem.network.inputs)[None]]
        for k, layer in enumerate(problem.network.layers):
            z = np.zeros((1, size, layer.width))
            z[:, -1] = layer.bias
            for term in layer.terms:
                z = z + term.map.apply(values[term.source])
            self.pre.append(z)
            block = self.blocks[k] if k < problem.target else None
            if block is None:
                values.append(z)
                continue
            values.append(self._post(k, z, block))
            self._constrain(k, z, block, rows, limits)
            upper.append(ROOM * problem.upper[k][block.unit[block.free]])
        form = (self.pre[-1] @ objective[..., None])[..., 0]
        box = np.zeros(self.variables)
        box[: problem.network.inputs] = problem.domain.lower
        return Programs(form[:, :-1], form[:, -1], rows, limits, box, np.concatenate(upper))

    def _post(self, k: int, z: Floats, block: _Block) -> Floats:
        """h of a layer as affine maps: z, 0, or a variable of its own."""
        h = z * (self.problem.lower[k] >= 0)
        if len(block.unit):
            h = np.array(np.broadcast_to(h, (self.count, *h.shape[1:])))
            h[..., block.unit] = z[..., block.unit] * (block.phase > 0)[:, None, :]
            h[:, block.variable, block.unit[block.free]] = block.phase[:, block.free] == 0
        return h

    def _constrain(self, k: int, z: Floats, block: _Block, rows: Floats, limits: Floats) -> None:
        """z <= h, or the phase; h <= s z + t. A row that a node has no use for stays 0 <= 1."""
        relaxation, free = self.problem.relaxations[k], block.phase == 0
        if relaxation is None:
            return
        sign = np.where(block.phase > 0, -1.0, 1.0)
        own = np.swapaxes(z[..., block.unit], 1, 2) * sign[..., None]
        rows[:, block.first] = own[..., :-1]
        limits[:, block.first] = -own[..., -1]
        rows[:, block.first[block.free], block.variable] -= free[:, block.free]
        unit, is_free = block.unit[block.free], free[:, block.free]
        weight = relaxation.slope[unit] * is_free
        line = np.swapaxes(z[..., unit], 1, 2) * weight[..., None]
        rows[:, block.second] = -line[..., :-1]
        rows[:, block.second, block.variable] += is_free
        limits[:, block.second] = np.where(is_free, relaxation.intercept[unit] + line[..., -1], 1.0)

    def read(self, dual: Dual, solution: Solutions) -> Solved:
        """Slopes, multipliers and gaps of the solutions."""
        alphas, multipliers = list(dual.alphas), list(dual.multipliers)
        gaps: list[Floats | None] = []
        point = np.concatenate([solution.points, np.ones((self.count, 1))], axis=1)
        for k, block in enumerate(self.blocks):
            alpha, extra = alphas[k], multipliers[k]
            if block is None or alpha is None:
                gaps.append(None)
                continue
            first = solution.multipliers[:, block.first]
            if extra is not None:
                extra = np.zeros_like(extra)
                extra[:, block.unit] = -block.phase * first
                multipliers[k] = extra
            unit, lower = block.unit[block.free], first[:, block.free]
            upper, rest = solution.multipliers[:, block.second], solution.lower[:, block.variable]
            net = lower - upper
            alpha = alpha.copy()
            alpha[:, unit] = np.clip(net / np.where(net > 0, net + rest, 1.0), 0.0, 1.0)
            alphas[k] = alpha
            z = np.einsum("bsu,bs->bu", self._full(self.pre[k][..., unit]), point)
            cost = np.abs(solution.points[:, block.variable] - np.maximum(z, 0.0))
            gap = np.zeros_like(alpha)
            gap[:, unit] = np.where(
                block.phase[:, block.free] == 0, cost * (lower + upper + rest), 0.0
            )
            gaps.append(gap)
        found = Dual(dual.phases, tuple(alphas), tuple(multipliers))
        return Solved(found, solution.points[:, : self.problem.network.inputs], tuple(gaps))

    def _full(self, maps: Floats) -> Floats:
        return np.broadcast_to(maps, (self.count, *maps.shape[1:]))
