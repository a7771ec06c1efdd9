"""Low-rank factors of a product, in stored numbers, for the product rank.

Given M = N W (rows of W: what units pass on; N: what their readers make of it) find P Q close to M
over the domain, with few columns in P, all entries numbers of the stored type. "Close" is measured
with weights: row i of the residual counts w_i (what the outputs feel of reader i), column n counts
rho_n (half the range of input n): the centre of every residual goes into a bias, only its
variation over the domain counts.

1. Begin with t original rows B of W, chosen greedily by how much of the weighted M they explain
   beyond what the chosen ones do (orthogonal matching pursuit, a pivoted QR with a target; Golub &
   Van Loan, section 5.4.2). They are stored exactly; P_1 = fl(argmin || (P_1 W_B - M) rho ||).
   Or begin with new rows: those of M, for which their readers need no factor but 1.
2. The residual E = M - P_1 Q_1 holds the tail of M *and the rounding of P_1*. Its leading singular
   directions become s further rows. Their own rounding is relative to E, in float32 about 2**-24 of
   it, hence negligible: precision is bought with a unit where rounding matters, and only there
   (iterative refinement, with units).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.rewrite.arithmetic import stored

_INDEPENDENT = (
    1e-7  # a row whose part outside the basis is relatively smaller than this adds only noise
)


@dataclass(frozen=True)
class Task:
    """What is to be factorised, in coordinates: rows of W, times the reach, are `rows` (units, d)
    in the orthonormal `frame` (d, inputs), d = min(units, inputs). target: (readers, d) M in the
    same coordinates.

    weight: (readers,) w. reach: (inputs,) rho. pivots: the order in which rows enter the basis,
    best first. singular: the weighted singular values of the target.
    """

    target: Floats
    rows: Floats
    frame: Floats
    weight: Floats
    reach: Floats
    dtype: str
    pivots: Ints
    singular: Floats


@dataclass(frozen=True)
class Basis:
    """The first rows of Q, and the singular directions of what they leave.

    chosen: (t,) rows of W that stay, ascending. rows: (m, inputs) new rows, stored. factor:
    (readers, t + m). residual: (readers, d). directions: (min(readers, d), d), the leading one
    first."""

    chosen: Ints
    rows: Floats
    factor: Floats
    residual: Floats
    directions: Floats

    def __len__(self) -> int:
        return len(self.chosen) + len(self.rows)


def prepare(columns: Floats, rows: Floats, weight: Floats, reach: Floats, dtype: str) -> Task:
    """The task for M = columns rows: (readers, units) and (units, inputs)."""
    weight = np.maximum(weight, 1e-9 * weight.max(initial=1e-300))
    frame, local = _frame(rows * reach)
    target = columns @ local
    scaled = weight[:, None] * target
    singular = np.asarray(np.linalg.svd(scaled, compute_uv=False), dtype=np.float64)
    return Task(target, local, frame, weight, reach, dtype, _pivots(scaled, local), singular)


def _frame(rows: Floats) -> tuple[Floats, Floats]:
    """An orthonormal frame of the row space, and the rows in its coordinates."""
    if rows.shape[0] >= rows.shape[1]:
        return np.eye(rows.shape[1]), rows
    q, r = np.linalg.qr(rows.T)
    return np.asarray(q.T), np.asarray(r.T)


def _pivots(target: Floats, rows: Floats) -> Ints:
    """Greedy order of the rows; those that depend on chosen ones are left out."""
    residual, candidates = target.copy(), rows.copy()
    sizes = np.linalg.norm(rows, axis=1)
    chosen: list[int] = []
    for _ in range(min(rows.shape)):
        norms = np.linalg.norm(candidates, axis=1)
        usable = norms > _INDEPENDENT * sizes
        usable[chosen] = False
        if not usable.any():
            break
        directions = candidates / np.where(usable, norms, 1.0)[:, None]
        gain = np.where(usable, np.linalg.norm(residual @ directions.T, axis=0), -1.0)
        best = int(np.argmax(gain))
        chosen.append(best)
        q = directions[best]
        residual = residual - np.outer(residual @ q, q)
        candidates = candidates - np.outer(candidates @ q, q)
        candidates = candidates - np.outer(candidates @ q, q)  # twice is enough (Kahan)
    return np.array(chosen, dtype=np.int64)


def small_rows_first(task: Task) -> Task:
    """The task with the smallest independent rows as pivots: where rows are sums and multiples of
    others, these others are usually smaller, and the factor holds small integers, exactly."""
    chosen: list[int] = []
    candidates = task.rows.copy()
    sizes = np.linalg.norm(task.rows, axis=1)
    for i in np.argsort(sizes, kind="stable").tolist():
        norm = np.linalg.norm(candidates[i])
        if norm > _INDEPENDENT * sizes[i]:
            q = candidates[i] / norm
            candidates = candidates - np.outer(candidates @ q, q)
            candidates = candidates - np.outer(candidates @ q, q)
            chosen.append(i)
    return replace(task, pivots=np.array(chosen, dtype=np.int64))


def basis(task: Task, count: int) -> Basis:
    """The first `count` pivots, their factor, and the directions of the rest."""
    chosen = np.sort(task.pivots[:count])
    return _completed(task, chosen, np.zeros((0, len(task.reach))), task.rows[chosen])


def reader_basis(task: Task) -> Basis:
    """New rows: those of M itself, as far as they are independent, so that their readers take them
    as they are, with the factor 1, which is not rounded."""
    scaled = task.weight[:, None] * task.target
    chosen = np.sort(_pivots(scaled, scaled))
    rows = stored(task.target[chosen] @ task.frame / _positive(task.reach), task.dtype)
    local = (rows * task.reach) @ task.frame.T
    return _completed(task, np.zeros(0, dtype=np.int64), rows, local)


def _completed(task: Task, chosen: Ints, rows: Floats, local: Floats) -> Basis:
    """The basis with its factor and residual; `local`: its rows in the coordinates of the task."""
    factor = np.zeros((len(task.target), len(local)))
    if len(local):
        solution = np.linalg.lstsq(local.T, task.target.T, rcond=None)
        factor = stored(np.asarray(solution[0].T), task.dtype)
        factor = np.where(np.isfinite(factor), factor, 0.0)  # then the certificate refuses it
    residual = task.target - factor @ local
    directions = np.linalg.svd(task.weight[:, None] * residual, full_matrices=False)[2]
    return Basis(chosen, rows, factor, residual, np.asarray(directions))


def _positive(reach: Floats) -> Floats:
    """The reach, 1 where it is 0: what is constant has no row to speak of."""
    return np.where(reach > 0, reach, 1.0)


def extension(task: Task, start: Basis, count: int) -> tuple[Floats, Floats]:
    """P_2 (readers, count) and Q_2 (count, inputs) of the `count` leading directions, stored."""
    directions = start.directions[:count]
    left = start.residual @ directions.T
    right = directions @ task.frame / _positive(task.reach)
    up = np.abs(left).max(axis=0, initial=0.0)
    down = np.abs(right).max(axis=1, initial=0.0)
    # both factors of similar size, by a power of two, which is exact
    balance = np.where((up > 0) & (down > 0), up / np.where(down > 0, down, 1.0), 1.0)
    scale = np.exp2(np.round(0.5 * np.log2(balance)))
    second = stored(right * scale[:, None], task.dtype)
    # the stored row has turned a little: its best factor again, with the reach as metric
    turned = second * task.reach
    norms = (turned**2).sum(axis=1)
    first = start.residual @ (turned @ task.frame.T).T / np.where(norms > 0, norms, 1.0)
    return stored(first, task.dtype), second


def starts(task: Task) -> tuple[int, ...]:
    """Numbers of original rows worth trying: as many as there are singular values above each power
    of 16."""
    top = min(len(task.pivots), len(task.singular))
    if top == 0:
        return (0,)
    steps = task.singular[0] * 16.0 ** -np.arange(16.0)
    counts = {int((task.singular > step).sum()) for step in steps}
    return tuple(sorted({0, top, *(min(count, top) for count in counts)}))
