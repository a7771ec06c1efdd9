"""Merge active units whose rows depend linearly on other active rows (LEO, arXiv 2001.00218,
section 4.2).

If W_i = sum_j a_ij W_j for active units i of R and j of B, then h_i = sum_j a_ij h_j + b_i - sum_j
a_ij b_j on D: with A = B u R and W_R = T W_B, delete R and set N_B += N_R T, b_next += N_R (b_R - T
b_B). This is the product rank (rewrite/product_rank.py) seen without the readers: Q = W_B, and r =
rank(W_A).

Rank over floating-point rows is a matter of tolerance. Here it is the one that matters: B is the
shortest prefix of a column-pivoted QR of W_A, its columns scaled by the ranges of what they read
(well conditioned; Golub & Van Loan, section 5.4.2), for which the certified effect of all residuals
and roundings on the outputs stays within the allowance; with the allowance 0, exactly dependent
rows only.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.rewrite.case import Case, case_of
from leo_cli.rewrite.factorise import Task, basis, prepare, small_rows_first
from leo_cli.rewrite.linear_units import Plan, with_linear_units
from leo_cli.rewrite.subject import Answer, Refusal, Rewrite, Subject

NAME = "merge_dependent"


def merge_dependent(subject: Subject, k: int) -> Answer:
    """Layer k without active units that others can stand for."""
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
    count, dtype = len(case.units), subject.network.dtype
    # pivots for the rows themselves, then the product as the target
    own = prepare(np.eye(count), case.rows, np.ones(count), case.reach, dtype)
    target = case.columns @ own.rows
    task = replace(own, target=target, weight=np.ones(len(target)))

    for order in (task, small_rows_first(task)):
        step = _shortest(subject, case, order)
        if step is not None:
            return step
    name = subject.network.layers[case.k].name
    return Refusal(NAME, name, "its active rows are linearly independent")


def _shortest(subject: Subject, case: Case, task: Task) -> Rewrite | None:
    """The rewrite with the shortest prefix of the pivots as basis that is within the allowance."""

    def rewrite(count: int) -> Rewrite | None:
        start = basis(task, count)
        nothing = np.zeros((0, case.rows.shape[1]))
        plan = Plan(start.chosen, start.factor, nothing, np.zeros((len(start.factor), 0)))
        return with_linear_units(subject, case, plan, NAME)

    def deviation(count: int) -> Floats | None:
        step = rewrite(count)
        return None if step is None else step.deviation

    def fits(count: int) -> bool:
        key = (NAME, case.k, task.pivots.tobytes(), count)
        found = subject.once(key, partial(deviation, count))
        return found is not None and subject.allows(found)

    low, high = 0, min(len(task.pivots), len(case.units) - 1)
    if not fits(high):  # usually rows are independent, and that ends it
        return None
    while low < high:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle + 1
    step = rewrite(high)
    return step if step is not None and subject.allows(step.deviation) else None
