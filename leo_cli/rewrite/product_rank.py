"""Merge stably active units of a layer into as few linear units as its readers can tell apart.

For the stably active units A of layer k, h_A = W_A h' + b_A on the domain, so the readers see only N W_A h' + N b_A,
with N their columns A, stacked. With N W_A = P Q + residual (rewrite/factorise.py), r rows in Q, put r units
q(h') = Q h' + c in place of A, c chosen so that q >= 0 on the domain (for rows of W_A that stay: c = b, they are
active already), and give the readers the columns P and the bias b_next + N b_A - P c. Rows of readers that are
inactive are gone before and do not count. r = rank(N W_A) <= min(|A|, inputs, readers) suffices; LEO's own rule
(merge_dependent) sees only rank(W_A).

The change of the readers is  eps(h') = (P Q - N W_A) h' + e, with e the rounding of their new biases, which also
absorb the centre of the first part; what that does to the outputs is the deviation. Fewer directions than the
rank are kept only where this certificate stays within the allowance. q >= 0 has room to spare
(a 2**-10 of its range), so that small changes in front of the layer do not undo it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.rewrite.case import Case, case_of
from leo_cli.rewrite.factorise import (
    Basis,
    Task,
    basis,
    extension,
    prepare,
    reader_basis,
    starts,
)
from leo_cli.rewrite.linear_units import Plan, with_linear_units
from leo_cli.rewrite.subject import Answer, Refusal, Rewrite, Subject

NAME = "product_rank"


@dataclass(frozen=True)
class Search:
    """What a search for the smallest rank works on. constant: see `Plan`."""

    subject: Subject
    case: Case
    task: Task
    constant: bool = False

    def rewrite(self, start: Basis, rank: int) -> Rewrite | None:
        """`rank` units: the basis, the leading directions of its residual, and the constant one."""
        factor, rows = extension(self.task, start, rank - self.constant - len(start))
        kept = len(start.chosen)
        plan = Plan(
            start.chosen,
            start.factor[:, :kept],
            np.concatenate([start.rows, rows]),
            np.concatenate([start.factor[:, kept:], factor], axis=1),
            self.constant,
        )
        return with_linear_units(self.subject, self.case, plan, NAME)

    def fits(self, start: Basis, rank: int) -> bool:
        """Whether that is within the allowance."""
        key = (NAME, self.case.k, len(start.chosen), len(start.rows), rank, self.constant)

        def deviation() -> Floats | None:
            step = self.rewrite(start, rank)
            return None if step is None else step.deviation

        found = self.subject.once(key, deviation)
        return found is not None and self.subject.allows(found)

    def smallest(self, start: Basis, limit: int) -> int | None:
        """The smallest rank up to `limit` within the allowance, by bisection."""
        low = len(start) + self.constant
        high = min(limit, low + len(start.directions))
        if low > high or not self.fits(start, high):
            return None
        while low < high:
            rank = (low + high) // 2
            if self.fits(start, rank):
                high = rank
            else:
                low = rank + 1
        return high


def product_rank(subject: Subject, k: int) -> Answer:
    """Layer k with its active units replaced by as few as the allowance permits."""
    layer = subject.network.layers[k]
    if layer.connections == 0:
        return Refusal(NAME, layer.name, "the layer has no matrix to make smaller")
    case = case_of(subject, k)
    if isinstance(case, str):
        return Refusal(NAME, layer.name, case)
    try:
        return _factorised(subject, case)
    except np.linalg.LinAlgError:
        return Refusal(NAME, layer.name, "a factorisation did not converge")


def _factorised(subject: Subject, case: Case) -> Answer:
    name, k, dtype = subject.network.layers[case.k].name, case.k, subject.network.dtype
    task = subject.once(
        ("task", k), lambda: prepare(case.columns, case.rows, case.weight, case.reach, dtype)
    )
    plain = Search(subject, case, task)
    best: tuple[Search, Basis, int] | None = None
    if subject.allowance.any():
        limit = len(case.units) - 1
        # on a tie the first wins: the one with the most original rows
        bases = [
            subject.once(("basis", k, count), partial(basis, task, count))
            for count in reversed(starts(task))
        ]
        bases.append(subject.once(("reader basis", k), partial(reader_basis, task)))
        for search in (plain, replace(plain, constant=True)):
            for start in bases:
                rank = search.smallest(start, limit)
                if rank is not None:
                    limit, best = rank - 1, (search, start, rank)
    else:  # only original rows can be exact
        count = min(len(task.pivots), len(case.units) - 1)
        best = (plain, basis(task, count), count)
    step = best[0].rewrite(best[1], best[2]) if best else None
    if step is None or not subject.allows(step.deviation):
        return Refusal(NAME, name, "no smaller rank keeps the outputs within the allowance")
    return step
