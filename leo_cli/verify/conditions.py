"""The conditions under which a verification passes, each with the reason that it gives when it
fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.errors import InputError
from leo_cli.verify.allowance import Allowance
from leo_cli.verify.difference import is_discrete
from leo_cli.verify.labels import Scores, judge_labels
from leo_cli.verify.measure import Measured
from leo_cli.verify.outcome import Labels, WorstPoint
from leo_cli.verify.points import ORIGINS
from leo_cli.verify.reasons import (
    beyond_at_points,
    beyond_bounds,
    beyond_tolerance,
    excess,
    place,
    unexplained,
)
from leo_cli.verify.runtime import Column
from leo_cli.verify.subject import SharedPart, Subject


@dataclass(frozen=True)
class Judgement:
    """failures: reasons, the weightiest first; none: passed. kinds: of each compared tensor."""

    failures: tuple[str, ...]
    labels: Labels
    kinds: Mapping[str, str]
    worst: WorstPoint | None
    notes: tuple[str, ...]


def judge(
    a: Subject,
    b: Subject,
    shared: SharedPart,
    domain: Domain,
    deviation: Floats,
    allowed: Allowance,
    measured: Measured,
    tolerance: float | None,
    examined: int,
) -> Judgement:
    """deviation: (components,) in the shared order. tolerance: for the continuous graph outputs,
    instead of rounding bounds. examined: points judged one by one. Raises InputError where a
    tolerance is needed."""
    kinds = _kinds(a, shared, measured)
    _require_comparable(a, b, shared, kinds, tolerance)
    apart = _dense_differences(shared, measured)
    worst = _worst(a, shared, allowed, measured, apart)
    labels, flip = _labels(a, shared, allowed, measured, kinds, tolerance)
    failures: list[str] = []
    if tolerance is None:
        failures += beyond_bounds(worst, measured, allowed)
        if not failures:
            failures += beyond_at_points(a, b, shared, domain, deviation, measured, apart, examined)
    else:
        failures += beyond_tolerance(a, kinds, measured, tolerance)
    if flip is not None:
        output, row = flip
        failures.append(
            f"output {output!r}: {_value(measured.first[output], row)} became "
            f"{_value(measured.second[output], row)} where no near-tie of the scores explains it "
            f"({place(measured, row)})"
        )
    if tolerance is None:
        failures += unexplained(kinds, measured)
    return Judgement(
        tuple(failures), labels, kinds, worst, _notes(shared, allowed, measured, tolerance)
    )


def _kinds(a: Subject, shared: SharedPart, measured: Measured) -> dict[str, str]:
    return {
        name: "dense"
        if name in shared.names
        else "discrete"
        if is_discrete(measured.first[name]) or is_discrete(measured.second[name])
        else "continuous"
        for name in measured.first
    }


def _require_comparable(
    a: Subject, b: Subject, shared: SharedPart, kinds: Mapping[str, str], tolerance: float | None
) -> None:
    if shared.whole or tolerance is not None:
        return
    for name, kind in kinds.items():
        if kind == "continuous":
            raise InputError(
                f"{a.name} and {b.name}: no rounding bound is known for output {name!r}, which "
                "comes behind dense parts that end in different tensors; give --tolerance"
            )


def _dense_differences(shared: SharedPart, measured: Measured) -> Floats:
    """(n, components) native differences in the shared order."""
    parts = [measured.differences[name].absolute for name in shared.names]
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(measured.where), 0))


def _worst(
    a: Subject, shared: SharedPart, allowed: Allowance, measured: Measured, apart: Floats
) -> WorstPoint | None:
    if apart.size == 0:
        return None
    share = excess(apart, allowed.native)
    row, component = (int(i) for i in np.unravel_index(int(share.argmax()), share.shape))
    name, where = next(
        (name, part) for name, part in shared.split(a) if part.start <= component < part.stop
    )
    return WorstPoint(
        point=measured.where.values[row],
        origin=ORIGINS[int(measured.where.origin[row])],
        output=name,
        component=component - where.start,
        difference=float(apart[row, component]),
        allowed=float(allowed.native[component]),
    )


def _labels(
    a: Subject,
    shared: SharedPart,
    allowed: Allowance,
    measured: Measured,
    kinds: Mapping[str, str],
    tolerance: float | None,
) -> tuple[Labels, tuple[str, int] | None]:
    def scores(name: str, bound: Floats) -> Scores:
        first, second = (
            np.asarray(values[name], dtype=np.float64)
            for values in (measured.first, measured.second)
        )
        return Scores(first, second, bound)

    dense = [scores(name, allowed.native[part]) for name, part in shared.split(a)]
    others = []
    if tolerance is not None:
        others = [
            scores(name, np.full(measured.first[name].shape[1], tolerance))
            for name, kind in kinds.items()
            if kind == "continuous"
        ]
    return judge_labels(
        a.graph_outputs,
        measured.first,
        measured.second,
        measured.differences,
        measured.explained,
        dense,
        others,
        strict=tolerance is None,
    )


def _notes(
    shared: SharedPart, allowed: Allowance, measured: Measured, tolerance: float | None
) -> tuple[str, ...]:
    notes = []
    if measured.where.outside:
        notes.append(
            f"{measured.where.outside} given points lie outside the domain and were left out"
        )
    if measured.explained is None and tolerance is None:
        notes.append(
            f"what follows the dense part was not evaluated by itself: {measured.unexplained}"
        )
    if np.isinf(allowed.native).any():
        notes.append("the rounding bound is infinite: the type can overflow on the domain")
    elif tolerance is None and np.isinf(allowed.float64).any():
        sizes = [np.abs(measured.first[name]).max(initial=0.0) for name in shared.names]
        most, size = float(allowed.native.max(initial=0.0)), float(max(sizes, default=0.0))
        if most > size:
            notes.append(
                f"the rounding bounds allow differences of {most:.3g}, more than the outputs "
                f"themselves ({size:.3g}); --tolerance asks for less"
            )
    return tuple(notes)


def _value(values: Column, row: int) -> str:
    return ", ".join(str(value) for value in values[row].tolist())
