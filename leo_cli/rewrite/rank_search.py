"""Find the smallest number of linear units whose certified effect on the outputs is allowed.

For each way to begin (original rows, rows of the product; see rewrite/factorise.py) the smallest
rank by bisection, without and with a constant unit. Then, one rank lower, the directions that are
given up are chosen again with other weights: a truncated singular value decomposition minimises the
squared error over all readers, while the certificate asks for the worst output. So readers whom the
worst outputs feel get more weight, a few times (iteratively reweighted least squares, towards the
minimax; Lawson 1961), and any of the results may be taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.rewrite.case import Case
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
from leo_cli.rewrite.subject import Rewrite, Subject

NAME = "product_rank"
_REWEIGHTED = 5  # times that the weights are changed for one rank


@dataclass(frozen=True)
class Choice:
    """`rank` units: the basis, the leading directions of its residual, and the constant one (see
    `Plan`)."""

    task: Task
    start: Basis
    rank: int
    constant: bool = False


def task_of(subject: Subject, case: Case, weight: Floats) -> Task:
    """The factorisation of the case's product with the given weights of its readers."""
    return prepare(case.columns, case.rows, weight, case.reach, subject.network.dtype)


def rewrite_of(subject: Subject, case: Case, choice: Choice) -> Rewrite | None:
    """The rewritten network, whatever the allowance; None if a number is not finite."""
    start = choice.start
    factor, rows = extension(choice.task, start, choice.rank - choice.constant - len(start))
    kept = len(start.chosen)
    plan = Plan(
        start.chosen,
        start.factor[:, :kept],
        np.concatenate([start.rows, rows]),
        np.concatenate([start.factor[:, kept:], factor], axis=1),
        choice.constant,
    )
    return with_linear_units(subject, case, plan, NAME)


def smallest_rank(subject: Subject, case: Case, task: Task) -> Rewrite | None:
    """The rewrite with the fewest units within the allowance; None if all units are needed."""
    # on a tie the first wins: the one with the most original rows
    bases = [
        subject.once(("basis", case.k, count), partial(basis, task, count))
        for count in reversed(starts(task))
    ]
    bases.append(subject.once(("reader basis", case.k), partial(reader_basis, task)))
    limit = len(case.units) - 1
    best: Choice | None = None
    for constant in (False, True):
        for start in bases:
            rank = _bisected(subject, case, Choice(task, start, limit, constant))
            if rank is not None:
                best, limit = Choice(task, start, rank, constant), rank - 1
    while limit >= 0:
        better = _balanced(subject, case, limit)
        if better is None:
            break
        best, limit = better, limit - 1
    return None if best is None else rewrite_of(subject, case, best)


def _bisected(subject: Subject, case: Case, most: Choice) -> int | None:
    """The smallest rank up to that of `most` within the allowance."""
    low = len(most.start) + most.constant
    high = min(most.rank, low + len(most.start.directions))

    def fits(rank: int) -> bool:
        start = most.start
        key = (NAME, case.k, len(start.chosen), len(start.rows), rank, most.constant)
        choice = Choice(most.task, start, rank, most.constant)
        found = subject.once(key, partial(_deviation, subject, case, choice))
        return found is not None and subject.allows(found)

    if low > high or not fits(high):
        return None
    while low < high:
        rank = (low + high) // 2
        if fits(rank):
            high = rank
        else:
            low = rank + 1
    return high


def _deviation(subject: Subject, case: Case, choice: Choice) -> Floats | None:
    step = rewrite_of(subject, case, choice)
    return None if step is None else step.deviation


def _balanced(subject: Subject, case: Case, rank: int) -> Choice | None:
    """A choice of this rank within the allowance, from reweighted directions."""
    tried = subject.once((NAME, "balanced", case.k, rank), lambda: _reweighted(subject, case, rank))
    return next((choice for choice, moved in tried if subject.allows(moved)), None)


def _reweighted(subject: Subject, case: Case, rank: int) -> list[tuple[Choice, Floats]]:
    """Choices of this rank for several weights of the readers, and their deviations."""
    tried: list[tuple[Choice, Floats]] = []
    worst = case.felt.max(axis=0, initial=0.0)
    if not worst.any() or not subject.allowance.all():
        return tried
    pull = case.felt / np.where(worst > 0, worst, 1.0)
    weight = worst
    for _ in range(_REWEIGHTED):
        task = task_of(subject, case, weight)
        start = basis(task, 0)
        if rank > len(start.directions):
            break
        choice = Choice(task, start, rank)
        moved = _deviation(subject, case, choice)
        if moved is None or not np.isfinite(moved).all() or not moved.any():
            break
        tried.append((choice, moved))
        share = moved / subject.allowance
        weight = weight * np.sqrt((pull * (share / share.max())[:, None]).max(axis=0))
    return tried
