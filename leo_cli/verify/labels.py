"""Labels that differ between two models, and whether each is shown to be a near-tie.

A label of the candidate that the original's own operators make of the candidate's scores was
decided by the difference of the scores; the original's decision lies between score vectors that are
at most the allowed difference apart. Where the operators cannot be asked, a tie is shown by scores
of which the two largest change places: with i the largest in the original and j in the candidate,
the original's gap s_i - s_j must be at most allowed_i + allowed_j.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Bools, Floats
from leo_cli.verify.difference import Difference, is_discrete
from leo_cli.verify.outcome import Labels, NearTie
from leo_cli.verify.runtime import Column

SHOWN = 5  # near-ties that a report lists


@dataclass(frozen=True)
class Scores:
    """Continuous values of both models, (n, components) each, and (components,) how far they may be
    apart."""

    first: Floats
    second: Floats
    allowed: Floats

    def within(self) -> Bools:
        """(n,) rows at which every component is as near as allowed."""
        with np.errstate(invalid="ignore"):
            apart = np.abs(self.first - self.second)
        same = (self.first == self.second) | (np.isnan(self.first) & np.isnan(self.second))
        near: Bools = np.all((apart <= self.allowed) | same, axis=1)
        return near

    def gap(self, row: int) -> tuple[float, float] | None:
        """The original's lead of its best score over the candidate's best one, and the largest lead
        that counts as a tie; None where both have the same best score."""
        i, j = int(np.argmax(self.first[row])), int(np.argmax(self.second[row]))
        if i == j:
            return None
        lead = float(self.first[row, i] - self.first[row, j])
        return lead, float(np.nextafter(self.allowed[i] + self.allowed[j], np.inf))


def judge_labels(
    names: Sequence[str],
    first: Mapping[str, Column],
    second: Mapping[str, Column],
    differences: Mapping[str, Difference],
    explained: Mapping[str, Bools] | None,
    dense: Sequence[Scores],
    others: Sequence[Scores],
    strict: bool,
) -> tuple[Labels, tuple[str, int] | None]:
    """Counts over the discrete ones of the outputs `names`, and the first (output, row) that is no
    near-tie.

    dense: scores at the output of the dense part; others: continuous graph outputs with an allowed
    difference. strict: a label must be what the original's operators make of the candidate's
    scores, wherever they can be asked.
    """
    compared, flipped, ties = 0, 0, 0
    shown: list[NearTie] = []
    wrong: tuple[str, int] | None = None
    within = np.all([scores.within() for scores in dense], axis=0) if dense else None
    for name in names:
        if not (is_discrete(first[name]) or is_discrete(second[name])):
            continue
        rows = differences[name].rows
        compared += len(rows)
        for row in np.flatnonzero(~rows).tolist():
            flipped += 1
            evidence = None
            if (
                explained is not None
                and within is not None
                and explained[name][row]
                and within[row]
            ):
                evidence = _decisive(dense, row)
            elif explained is None or not strict:
                evidence = _change_of_places([*dense, *others], row)
            if evidence is None:
                wrong = wrong or (name, row)
                continue
            ties += 1
            if len(shown) < SHOWN:
                pair = (_text(first[name], row), _text(second[name], row))
                shown.append(NearTie(name, row, pair, *evidence))
    return Labels(compared, flipped, ties, tuple(shown)), wrong


def _change_of_places(scores: Sequence[Scores], row: int) -> tuple[float, float] | None:
    """(gap, allowed) of a near-tie of the two largest scores, or None."""
    gaps = [gap for one in scores if (gap := one.gap(row)) is not None]
    return next((gap for gap in gaps if gap[0] <= gap[1]), None)


def _decisive(scores: Sequence[Scores], row: int) -> tuple[float, float]:
    """The same where it shows; else (a threshold lies between the scores) their largest difference
    and what is allowed."""
    found = _change_of_places(scores, row)
    if found is not None:
        return found
    apart = [np.abs(one.first[row] - one.second[row]).max(initial=0.0) for one in scores]
    return float(max(apart)), float(max(one.allowed.max(initial=0.0) for one in scores))


def _text(values: Column, row: int) -> str:
    return ", ".join(str(value) for value in values[row].tolist()) if row < len(values) else ""
