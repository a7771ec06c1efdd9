"""Feasibility of linear constraints in rational arithmetic.

The general simplex of B. Dutertre and L. de Moura (A Fast Linear-Arithmetic Solver for DPLL(T),
CAV 2006): every constraint is a row s = sum a_j x_j with bounds on s; non-basic variables stay
within their bounds while basic ones that violate theirs are exchanged. Choosing the smallest index
(Bland) makes it end. Everything is exact, so "none" is a proof.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

Row = tuple[Mapping[int, Fraction], Fraction]


class SearchLimitError(Exception):
    """The search was given up; nothing is known."""


class Work:
    """Counts updated tableau entries, so that a search ends after the same work on every
    machine."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise SearchLimitError


@dataclass(frozen=True)
class LinearSystem:
    """lower, upper: bounds by variable. at_most: rows a.x <= limit. equal: rows a.x == value."""

    lower: Mapping[int, Fraction]
    upper: Mapping[int, Fraction]
    at_most: Sequence[Row] = ()
    equal: Sequence[Row] = ()

    def solve(self, work: Work) -> dict[int, Fraction] | None:
        """Values of all variables, or None if there are none. Raises SearchLimitError."""
        slack = max(self.lower, default=-1) + 1
        tableau = _Tableau(dict(self.lower), dict(self.upper), dict(self.lower), {})
        for coefficients, limit in self.at_most:
            tableau.add(slack, coefficients, None, limit)
            slack += 1
        for coefficients, value in self.equal:
            tableau.add(slack, coefficients, value, value)
            slack += 1
        if any(self.lower[i] > self.upper[i] for i in self.lower) or not tableau.repair(work):
            return None
        return {i: tableau.value[i] for i in self.lower}


@dataclass(frozen=True)
class _Tableau:
    """lower, upper: bounds (None: none). rows: for each basic variable its coefficients over
    non-basic ones."""

    lower: dict[int, Fraction | None]
    upper: dict[int, Fraction | None]
    value: dict[int, Fraction]
    rows: dict[int, dict[int, Fraction]]

    def add(
        self,
        slack: int,
        coefficients: Mapping[int, Fraction],
        lower: Fraction | None,
        upper: Fraction | None,
    ) -> None:
        self.rows[slack] = {i: a for i, a in coefficients.items() if a}
        self.value[slack] = sum(
            (a * self.value[i] for i, a in self.rows[slack].items()), Fraction(0)
        )
        self.lower[slack], self.upper[slack] = lower, upper

    def _below(self, i: int) -> bool:
        bound = self.lower[i]
        return bound is not None and self.value[i] < bound

    def _above(self, i: int) -> bool:
        bound = self.upper[i]
        return bound is not None and self.value[i] > bound

    def _can_move(self, j: int, up: bool) -> bool:
        bound = self.upper[j] if up else self.lower[j]
        return bound is None or (self.value[j] < bound if up else self.value[j] > bound)

    def repair(self, work: Work) -> bool:
        """Bring all basic variables within their bounds; False: impossible."""
        while True:
            work.spend(len(self.rows))
            wrong = min((i for i in self.rows if self._below(i) or self._above(i)), default=None)
            if wrong is None:
                return True
            rising = self._below(wrong)
            row = self.rows[wrong]
            entering = min(
                (j for j, a in row.items() if self._can_move(j, (a > 0) == rising)), default=None
            )
            if entering is None:
                return False
            goal = self.lower[wrong] if rising else self.upper[wrong]
            if goal is not None:
                self._exchange(wrong, entering, goal, work)

    def _exchange(self, leaving: int, entering: int, goal: Fraction, work: Work) -> None:
        """Make `entering` basic in place of `leaving`, whose value becomes `goal`."""
        row = self.rows.pop(leaving)
        pivot = row.pop(entering)
        step = (goal - self.value[leaving]) / pivot
        self.value[leaving] = goal
        self.value[entering] += step
        new = {j: -a / pivot for j, a in row.items()}
        new[leaving] = 1 / pivot
        for i, other in self.rows.items():
            factor = other.pop(entering, None)
            if factor is None:
                continue
            self.value[i] += factor * step
            for j, a in new.items():
                total = other.get(j, Fraction(0)) + factor * a
                if total:
                    other[j] = total
                else:
                    other.pop(j, None)
            work.spend(len(new))
        self.rows[entering] = new
        work.spend(len(new))
