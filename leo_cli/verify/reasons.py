"""What is wrong with a pair of models, in words: each function looks at one condition and yields
its reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from leo_cli.arrays import Bools, Floats
from leo_cli.domain import Domain
from leo_cli.verify.allowance import Allowance, at_point
from leo_cli.verify.measure import Measured
from leo_cli.verify.outcome import WorstPoint
from leo_cli.verify.points import ORIGINS
from leo_cli.verify.subject import SharedPart, Subject


def excess(apart: Floats, allowed: Floats) -> Floats:
    """Differences in proportion to what is allowed; infinite where NaN or infinity took part, or
    above 0 of 0."""
    size = np.abs(apart)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(size == 0.0, 0.0, size / allowed)
    return np.where(np.isfinite(size), share, np.inf)


def beyond_bounds(
    worst: WorstPoint | None, measured: Measured, allowed: Allowance
) -> Iterator[str]:
    if worst is not None and not _within(worst.difference, worst.allowed):
        yield (
            f"output {worst.output!r}, component {worst.component}: the models differ by "
            f"{worst.difference:.3g}, both rounding bounds and the deviation allow "
            f"{worst.allowed:.3g} (at a {worst.origin} point)"
        )
    share = excess(measured.float64, allowed.float64)
    if share.size and share.max() > 1.0:
        row, component = np.unravel_index(int(share.argmax()), share.shape)
        yield (
            f"component {component}: float64 evaluations differ by "
            f"{abs(measured.float64[row, component]):.3g}, both float64 bounds and the deviation "
            f"allow {allowed.float64[component]:.3g} "
            f"({place(measured, int(row))})"
        )


def _within(apart: float, allowed: float) -> bool:
    return apart <= allowed and bool(np.isfinite(apart))


def beyond_at_points(
    a: Subject,
    b: Subject,
    shared: SharedPart,
    domain: Domain,
    deviation: Floats,
    measured: Measured,
    apart: Floats,
    examined: int,
) -> Iterator[str]:
    """The points that differ most, natively or in float64, against bounds for each of them
    alone."""
    if apart.size == 0:
        return
    native, float64 = apart.max(axis=1), np.abs(measured.float64).max(axis=1)
    half = (examined + 1) // 2
    rows = np.concatenate([np.argsort(-native, kind="stable")[:half], np.argsort(-float64)[:half]])
    for row in dict.fromkeys(rows.tolist()):
        if native[row] == 0.0 and float64[row] == 0.0:
            continue
        here = at_point(a, b, shared, domain, deviation, measured.where.values[row])
        for kind, sizes, bound in (
            ("the models", apart[row], here.native),
            ("float64 evaluations", np.abs(measured.float64[row]), here.float64),
        ):
            share = excess(sizes, bound)
            component = int(share.argmax())
            if share[component] > 1.0:
                yield (
                    f"component {component}: {kind} differ by {sizes[component]:.3g}, where the "
                    f"rounding bounds of this point and the deviation allow {bound[component]:.3g} "
                    f"({place(measured, row)})"
                )
                return


def beyond_tolerance(
    a: Subject, kinds: Mapping[str, str], measured: Measured, tolerance: float
) -> Iterator[str]:
    for name in a.graph_outputs:
        if kinds[name] == "discrete":
            continue
        apart = measured.differences[name]
        if not _within(apart.largest, tolerance):
            row = int(apart.absolute.max(axis=1).argmax())
            yield (
                f"output {name!r}: the models differ by {apart.largest:.3g}, the tolerance is "
                f"{tolerance:.3g} ({place(measured, row)})"
            )


def unexplained(kinds: Mapping[str, str], measured: Measured) -> Iterator[str]:
    """Continuous outputs behind the dense part that are not what the original's operators make of
    the scores."""
    for name, kind in kinds.items():
        if kind != "continuous":
            continue
        rows: Bools = measured.differences[name].rows
        if measured.explained is not None:
            rows = measured.explained[name]
        if not rows.all():
            row = int(np.flatnonzero(~rows)[0])
            yield (
                f"output {name!r} is not what the original's operators make of the candidate's "
                f"scores ({place(measured, row)}); give --tolerance to compare it by value"
            )


def place(measured: Measured, row: int) -> str:
    return f"{ORIGINS[int(measured.where.origin[row])]} point {row} of the verification"
