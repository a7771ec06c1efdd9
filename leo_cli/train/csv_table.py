"""CSV files with a header line and one target column."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
from numpy.typing import NDArray

from leo_cli.errors import InputError

USUAL_TARGETS = ("target", "y", "label", "class")


def parse_csv(
    text: str, source: str, target: str | None
) -> tuple[NDArray[np.generic], NDArray[np.generic], tuple[str, ...]]:
    """(x: (n, features) float64, y: (n,) integers, floats or text, names of the features).

    target: the column to predict; None takes the one that is called target, y, label or class.
    Raises InputError naming the line and the column.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        for row in reader:
            if row:
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(f"{source}: line {reader.line_num}: {error}") from error
    position = _target_position(header, target, source)
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            raise InputError(
                f"{source}: line {line} has {len(row)} fields, the header has {len(header)}"
            )
    features = [k for k in range(len(header)) if k != position]
    x = np.empty((len(rows), len(features)))
    for i, (line, row) in enumerate(zip(lines, rows, strict=True)):
        for k, column in enumerate(features):
            x[i, k] = _number(row[column], source, line, header[column])
    y = _targets([row[position].strip() for row in rows], source, lines, header[position])
    return x, y, tuple(header[k] for k in features)


def _target_position(header: list[str], target: str | None, source: str) -> int:
    shown = ", ".join(header[:8]) + (", ..." if len(header) > 8 else "")
    if len(header) < 2:
        raise InputError(f"{source}: the first line must name at least two comma-separated columns")
    for name in header:
        if header.count(name) > 1:
            raise InputError(f'{source}: two columns are called "{name}"')
    if all(_is_number(name) for name in header):
        raise InputError(
            f"{source}: the first line holds numbers; a line of column names is needed"
        )
    if target is None:
        for usual in USUAL_TARGETS:
            if usual in header:
                return header.index(usual)
        raise InputError(f"{source}: which column to predict? Give --target, one of: {shown}")
    if target not in header:
        raise InputError(f'{source}: no column "{target}"; the columns are: {shown}')
    return header.index(target)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(text: str, source: str, line: int, column: str) -> float:
    where = f'{source}: line {line}, column "{column}"'
    if not text.strip():
        raise InputError(f"{where}: empty; fill or drop such rows first")
    try:
        value = float(text)
    except ValueError:
        raise InputError(f'{where}: "{text.strip()}" is not a number') from None
    if not math.isfinite(value):
        raise InputError(f"{where}: {value} is not finite; fill or drop such rows first")
    return value


def _targets(texts: list[str], source: str, lines: list[int], column: str) -> NDArray[np.generic]:
    """Integers where all are spelled as integers, floats where all are numbers, else text."""
    for line, text in zip(lines, texts, strict=True):
        if not text:
            raise InputError(f'{source}: line {line}, column "{column}": the target is empty')
    try:
        return np.array([int(text) for text in texts], dtype=np.int64)
    except (ValueError, OverflowError):
        pass
    if not all(_is_number(text) for text in texts):
        return np.array(texts, dtype=np.str_)
    return np.array(
        [_number(text, source, line, column) for line, text in zip(lines, texts, strict=True)]
    )
