"""Merge stably active units of a layer into as few linear units as its readers can tell apart.

For the stably active units A of layer k, h_A = W_A h' + b_A on the domain, so the readers see only
N W_A h' + N b_A, with N their columns A, stacked. With N W_A = P Q + residual
(rewrite/factorise.py), r rows in Q, put r units q(h') = Q h' + c in place of A, c chosen so that q
>= 0 on the domain (for rows of W_A that stay: c = b, they are active already), and give the readers
the columns P and the bias b_next + N b_A - P c. Rows of readers that are inactive are gone before
and do not count. r = rank(N W_A) <= min(|A|, inputs, readers) suffices; LEO's own rule
(merge_dependent) sees only rank(W_A).

The change of the readers is  eps(h') = (P Q - N W_A) h' + e, with e the rounding of their new
biases, which also absorb the centre of the first part; what that does to the outputs is the
deviation. Fewer directions than the rank are kept only where this certificate stays within the
allowance. q >= 0 has room to spare (a 2**-10 of its range), so that small changes in front of the
layer do not undo it.
"""

from __future__ import annotations

import numpy as np

from leo_cli.rewrite.case import Case, case_of
from leo_cli.rewrite.factorise import basis, small_rows_first
from leo_cli.rewrite.rank_search import NAME, Choice, rewrite_of, smallest_rank, task_of
from leo_cli.rewrite.subject import Answer, Refusal, Subject


def product_rank(subject: Subject, k: int) -> Answer:
    """Layer k with its active units replaced by as few as the allowance permits."""
    layer = subject.network.layers[k]
    if layer.connections == 0:
        return Refusal(NAME, layer.name, "the layer has no matrix to make smaller")
    if subject.is_computed(k):
        return Refusal(NAME, layer.name, "an operator, no stored numbers, gives its coefficients")
    obstacle = subject.obstacle(k)
    if obstacle is not None:
        return Refusal(NAME, layer.name, obstacle)
    case = case_of(subject, k)
    if isinstance(case, str):
        return Refusal(NAME, layer.name, case)
    try:
        return _factorised(subject, case)
    except np.linalg.LinAlgError:
        return Refusal(NAME, layer.name, "a factorisation did not converge")


def _factorised(subject: Subject, case: Case) -> Answer:
    task = subject.once(("task", case.k), lambda: task_of(subject, case, case.felt.max(axis=0)))
    if subject.allowance.any():
        steps = [smallest_rank(subject, case, task)]
    else:  # only original rows can be exact
        count = min(len(task.pivots), len(case.units) - 1)
        orders = (task, small_rows_first(task))
        steps = [
            rewrite_of(subject, case, Choice(order, basis(order, count), count)) for order in orders
        ]
    for step in steps:
        if step is not None and subject.allows(step.deviation):
            return step
    name = subject.network.layers[case.k].name
    return Refusal(NAME, name, "no smaller rank keeps the outputs within the allowance")
