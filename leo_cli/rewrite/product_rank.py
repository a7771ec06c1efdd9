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

import numpy as np

from leo_cli.rewrite.case import Case, case_of
from leo_cli.rewrite.factorise import Basis, Task, basis, extension, prepare, starts
from leo_cli.rewrite.linear_units import Plan, attempt
from leo_cli.rewrite.subject import Answer, Refusal, Rewrite, Subject

NAME = "product_rank"


def plan_of(task: Task, start: Basis, rank: int) -> Plan:
    """`rank` units: the basis and the leading directions of its residual."""
    factor, rows = extension(task, start, rank - len(start.chosen))
    return Plan(start.chosen, start.factor, rows, factor)


def product_rank(subject: Subject, k: int) -> Answer:
    """Layer k with its active units replaced by as few as the allowance permits."""
    layer = subject.network.layers[k]
    if layer.connections == 0:
        return Refusal(NAME, layer.name, "the layer has no matrix to make smaller")
    case = case_of(subject, k, NAME)
    if isinstance(case, Refusal):
        return case
    try:
        return _factorised(subject, case)
    except np.linalg.LinAlgError:
        return Refusal(NAME, layer.name, "a factorisation did not converge")


def _factorised(subject: Subject, case: Case) -> Answer:
    layer = subject.network.layers[case.k]
    task = prepare(case.columns, case.rows, case.weight, case.reach, subject.network.dtype)
    limit = min(len(case.units) - 1, max(len(case.columns), 1))
    exact = not subject.allowance.any()
    best: Rewrite | None = None
    for count in [min(len(task.pivots), limit)] if exact else starts(task):
        if count > limit:
            continue
        start = basis(task, count)
        # without an allowance only original rows can be exact
        found = smallest(subject, case, task, start, count if exact else limit)
        if found is not None:
            # on a tie the later start wins: more of the original rows stay
            limit, best = found
    if best is None:
        return Refusal(NAME, layer.name, "no smaller rank keeps the outputs within the allowance")
    return best


def smallest(
    subject: Subject, case: Case, task: Task, start: Basis, limit: int
) -> tuple[int, Rewrite] | None:
    """The smallest rank up to `limit` within the allowance, by bisection, and its rewrite."""
    low = len(start.chosen)
    high = max(low, min(limit, low + len(start.directions)))
    best = attempt(subject, case, plan_of(task, start, high), NAME)
    if best is None:
        return None
    while low < high:
        rank = (low + high) // 2
        step = attempt(subject, case, plan_of(task, start, rank), NAME)
        if step is None:
            low = rank + 1
        else:
            high, best = rank, step
    return high, best
