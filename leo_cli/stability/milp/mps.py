"""A model and a question in the MPS format, quickly, again and again.

The text of the model is made once; a question adds one row Q and an objective (minimise minus the
asked form). Numbers are written in full, where PuLP's own writer keeps 12 digits, and PuLP's writer
takes longer than most solves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leo_cli.stability.milp.model import MilpModel, Question


def column_name(column: int) -> str:
    return f"C{column}"


class MpsText:
    """The fixed part of the file of a model."""

    def __init__(self, model: MilpModel) -> None:
        kinds = np.where(
            model.row_lower == model.row_upper, "E", np.where(np.isinf(model.row_lower), "L", "G")
        )
        rhs = np.where(np.isinf(model.row_lower), model.row_upper, model.row_lower)
        self._head = "NAME leo FREE\nROWS\n N OBJ\n" + "".join(
            f" {kind} R{r}\n" for r, kind in enumerate(kinds.tolist())
        )
        self._entries = _entries(model)
        self._integer: Sequence[bool] = model.integer.tolist()
        self._rhs = "RHS\n" + "".join(
            f" RHS R{r} {value!r}\n" for r, value in enumerate(rhs.tolist()) if value != 0.0
        )
        bounds = zip(model.lower.tolist(), model.upper.tolist(), strict=True)
        self._tail = (
            "BOUNDS\n"
            + "".join(
                f" LO BND {column_name(c)} {low!r}\n UP BND {column_name(c)} {high!r}\n"
                for c, (low, high) in enumerate(bounds)
            )
            + "ENDATA\n"
        )

    def render(self, question: Question) -> str:
        """The whole file; its objective is to be minimised."""
        extra = dict.fromkeys(question.columns.tolist(), "")
        for c, value in zip(question.columns.tolist(), question.coefficients.tolist(), strict=True):
            name = column_name(c)
            extra[c] += f" {name} OBJ {-value!r}\n {name} Q {value!r}\n"
        parts = [self._head, " G Q\n", "COLUMNS\n"]
        inside = False
        for c, text in enumerate(self._entries):
            if self._integer[c] != inside:
                inside = self._integer[c]
                parts.append(_marker(inside))
            parts += [text, extra.get(c, "")]
            if not (text or c in extra):
                parts.append(f" {column_name(c)} OBJ 0\n")  # a column exists by its entries
        if inside:
            parts.append(_marker(False))
        parts += [self._rhs, f" RHS Q {question.least!r}\n", self._tail]
        return "".join(parts)


def _marker(start: bool) -> str:
    return f" MARKER 'MARKER' '{'INTORG' if start else 'INTEND'}'\n"


def _entries(model: MilpModel) -> list[str]:
    """For each column the lines of its entries."""
    row = np.repeat(np.arange(model.rows), np.diff(model.start))
    order = np.argsort(model.column, kind="stable")
    ends = np.searchsorted(model.column[order], np.arange(model.columns + 1)).tolist()
    rows, values = row[order].tolist(), model.coefficient[order].tolist()
    entries = []
    for c in range(model.columns):
        name = column_name(c)
        lines = [f" {name} R{rows[i]} {values[i]!r}\n" for i in range(ends[c], ends[c + 1])]
        entries.append("".join(lines))
    return entries
