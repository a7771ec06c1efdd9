"""A mixed-integer linear program as arrays, questions about it, and answers.

Nothing here knows PuLP or any solver: a model can be sent to another process, and a test can answer
a question by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints

# What "z > 0" means to a solver: its tolerances are about 1e-7, absolute.
THRESHOLD = 1e-6
# Solvers take numbers of 1e20 and more for infinite, and lose all digits long before.
LARGEST = 1e12


@dataclass(frozen=True, eq=False)
class MilpModel:
    """Find v with lower <= v <= upper, v integral where `integer`, and row_lower <= A v <=
    row_upper.

    lower, upper, integer: (columns,). start: (rows + 1,), column and coefficient: the non-zero
    entries of row r are those from start[r] to start[r + 1]. row_lower, row_upper: (rows,), equal
    or one infinite.
    """

    lower: Floats
    upper: Floats
    integer: Bools
    start: Ints
    column: Ints
    coefficient: Floats
    row_lower: Floats
    row_upper: Floats

    @property
    def columns(self) -> int:
        return len(self.lower)

    @property
    def rows(self) -> int:
        return len(self.row_lower)


@dataclass(frozen=True, eq=False)
class Question:
    """Is there a feasible v with coefficients . v[columns] >= least? If so, preferably one where it
    is large."""

    columns: Ints
    coefficients: Floats
    least: float


@dataclass(frozen=True, eq=False)
class Answer:
    """What a solver says; none of it is proved.

    infeasible: there is no such v. values: (columns,) some v, all finite, or None. They may violate
    anything, and after a limit they may be those of a relaxation.
    """

    infeasible: bool = False
    values: Floats | None = None


class Solver(Protocol):
    """Answers questions on one model."""

    @property
    def label(self) -> str:
        """Name and version, for reports."""
        ...

    @property
    def efforts(self) -> int:
        """How many ways of asking there are; each is worth trying if those before it gave
        nothing."""
        ...

    def ask(self, question: Question, effort: int, seconds: float) -> Answer:
        """An answer within about `seconds`. Raises SolverError if the solver fails."""
        ...

    def close(self) -> None: ...


class Builder:
    """Collects columns and rows of a model, on top of another one."""

    def __init__(self, base: MilpModel | None = None) -> None:
        self._columns: list[tuple[Floats, Floats, Bools]] = []
        self._width = 0
        self._rows: list[tuple[Ints, Floats, float, float]] = []
        if base is not None:
            self._columns, self._width = [(base.lower, base.upper, base.integer)], base.columns
            parts = (
                np.split(entries, base.start[1:-1]) for entries in (base.column, base.coefficient)
            )
            ends = base.row_lower.tolist(), base.row_upper.tolist()
            self._rows = list(zip(*parts, *ends, strict=True)) if base.rows else []

    def add_columns(self, lower: Floats, upper: Floats, integer: bool | Bools = False) -> Ints:
        """The indices of new columns with these bounds."""
        count = len(lower)
        self._columns.append((lower, upper, np.broadcast_to(integer, (count,))))
        self._width += count
        return np.arange(self._width - count, self._width)

    def add_row(self, columns: Ints, coefficients: Floats, lower: float, upper: float) -> None:
        """lower <= coefficients . v[columns] <= upper; nothing where all coefficients are 0."""
        used = coefficients != 0.0
        if used.any():
            self._rows.append((columns[used], coefficients[used], lower, upper))

    def build(self) -> MilpModel:
        lower, upper, integer = (
            np.concatenate([np.zeros(0), *parts]) for parts in zip(*self._columns, strict=True)
        )
        return MilpModel(
            lower,
            upper,
            integer.astype(bool),
            np.cumsum([0, *(len(row[0]) for row in self._rows)]),
            np.concatenate([np.zeros(0, dtype=np.int64), *(row[0] for row in self._rows)]),
            np.concatenate([np.zeros(0), *(row[1] for row in self._rows)]),
            np.array([row[2] for row in self._rows], dtype=np.float64),
            np.array([row[3] for row in self._rows], dtype=np.float64),
        )
