"""From what was written to a Domain: raw values are normalised, and everything is rounded so that
nothing is lost.

Box bounds are rounded outward to the input's type, integer bounds inward, fixed and one-hot values
to the nearest number.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor

import numpy as np

from leo_cli.domain.constraints import round_constraints
from leo_cli.domain.domain import Domain
from leo_cli.domain.exact import HOT_OR_COLD, ExactDomain, Ranges, show
from leo_cli.domain.grid import FLOAT_TYPES, round_down, round_nearest, round_up
from leo_cli.domain.parts import OneHot
from leo_cli.domain.place import quoted
from leo_cli.errors import DomainError

_INTEGER_TYPES = {
    "bool": (0, 1),
    **{f"int{n}": (-(2 ** (n - 1)), 2 ** (n - 1) - 1) for n in (8, 16, 32, 64)},
    **{f"uint{n}": (0, 2**n - 1) for n in (8, 16, 32, 64)},
}


def to_domain(written: ExactDomain) -> Domain:
    """Raises DomainError, with the place, for everything that makes no domain; a point of it was
    found."""
    dtype = _narrowest(written)
    low, high = _in_model_space(written, _ranges(written))
    whole = _whole_in_model(written)
    _respect_integer_types(written, low, high)
    lower, upper = round_down(low, dtype), round_up(high, dtype)
    nearest = sorted({*written.fixed, *written.members})
    lower[nearest] = round_nearest([low[i] for i in nearest], dtype)
    upper[nearest] = round_nearest([high[i] for i in nearest], dtype)
    for bounds, values in ((lower, low), (upper, high)):
        for i in np.flatnonzero(~np.isfinite(bounds)).tolist():
            raise written.where(i).error(
                f"bound {show(values[i])} is beyond the largest number of {dtype}, "
                f"{float(np.finfo(dtype).max):.6g}; give bounds within it"
            )
    try:
        groups = tuple(_group(written, group, dtype) for group in written.one_hot)
        integer = np.zeros(written.size, dtype=bool)
        integer[list(whole)] = True
        box = Domain(lower, upper, dtype, integer, groups)
        constraints = round_constraints(written, box, (low, high))
        domain = Domain(lower, upper, dtype, integer, groups, constraints, tuple(written.notes))
        domain.feasible_point()
    except DomainError as error:
        if str(error).startswith(f"{written.place.file}: "):
            raise
        raise written.place.error(str(error)) from None
    return domain


def _narrowest(written: ExactDomain) -> str:
    """The float type whose numbers all float inputs can take; float64 if all inputs are
    integers."""
    narrowest = "float64"
    for spec in written.inputs:
        if spec.dtype in FLOAT_TYPES:
            narrowest = min(narrowest, spec.dtype, key=FLOAT_TYPES.index)
        elif spec.dtype not in _INTEGER_TYPES:
            raise written.place.at(f"input {quoted(spec.name)}").error(
                f"its type {quoted(spec.dtype)} has no bounds; leo takes float16, float32, float64 "
                "and integer inputs"
            )
    return narrowest


def _ranges(written: ExactDomain) -> Ranges:
    """The range of each feature in the file's space: fixed, one-hot and integer features
    applied."""
    members = written.members
    low, high = [], []
    for i, (lo, hi) in enumerate(zip(written.lower, written.upper, strict=True)):
        if i in written.fixed:
            value = written.fixed[i]
            if (lo is not None and value < lo) or (hi is not None and value > hi):
                raise written.where(i).error(
                    f"the fixed value {show(value)} is outside its bounds; change one of them"
                )
            lo = hi = value
        if i in members:
            levels = [v for v in HOT_OR_COLD if (lo is None or lo <= v) and (hi is None or v <= hi)]
            if not levels:
                raise written.where(i).error(
                    "a one-hot feature is 0 or 1, and its bounds exclude both"
                )
            lo, hi = levels[0], levels[-1]
        if lo is None or hi is None:
            side = "lower" if lo is None else "upper"
            raise written.where(i).error(f"no {side} bound; every feature needs one")
        if lo > hi:
            raise written.where(i).error(
                f"lower {show(lo)} > upper {show(hi)}; no input lies between"
            )
        if i in written.integer:
            whole = Fraction(ceil(lo)), Fraction(floor(hi))
            if whole[0] > whole[1]:
                raise written.where(i).error(
                    f"no integer between {show(lo)} and {show(hi)}; widen the bounds"
                )
            lo, hi = whole
        low.append(lo)
        high.append(hi)
    return low, high


def _in_model_space(written: ExactDomain, ranges: Ranges) -> Ranges:
    """(raw - mean) / std for raw features. Equal objects stay equal objects, which the rounding
    uses."""
    if not written.scale:
        return ranges
    known: dict[tuple[int, int, int], Fraction] = {}
    mapped: list[list[Fraction]] = []
    for values in ranges:
        out = list(values)
        for i, (mean, std) in written.scale.items():
            key = (id(values[i]), id(mean), id(std))
            if key not in known:
                known[key] = (values[i] - mean) / std
            out[i] = known[key]
        mapped.append(out)
    return mapped[0], mapped[1]


def _whole_in_model(written: ExactDomain) -> set[int]:
    """Integer features that are integers in the model's space too; the others are noted as
    intervals."""
    members = written.members
    whole, relaxed = set(), 0
    for i in written.integer - members:
        mean, std = written.scale_of(i)
        if std == 1 and mean.denominator == 1:
            whole.add(i)
        elif i not in written.fixed:
            relaxed += 1
    if relaxed:
        written.notes.append(
            f"{relaxed} integer feature(s) are no integers after normalisation: taken as intervals"
        )
    return whole | {
        offset + i
        for offset, spec in zip(written.offsets, written.inputs, strict=True)
        if spec.dtype in _INTEGER_TYPES
        for i in range(spec.size)
        if offset + i not in members
    }


def _respect_integer_types(written: ExactDomain, low: list[Fraction], high: list[Fraction]) -> None:
    """Bounds of inputs of an integer type rounded inward and checked against the type, in place."""
    for offset, spec in zip(written.offsets, written.inputs, strict=True):
        if spec.dtype not in _INTEGER_TYPES:
            continue
        least, most = _INTEGER_TYPES[spec.dtype]
        for i in range(offset, offset + spec.size):
            lo, hi = Fraction(ceil(low[i])), Fraction(floor(high[i]))
            if lo > hi:
                raise written.where(i).error(
                    f"no integer between {show(low[i])} and {show(high[i])}, and the input "
                    f"has type {spec.dtype}; widen the bounds"
                )
            if lo < least or hi > most:
                raise written.where(i).error(
                    f"bounds [{show(lo)}, {show(hi)}] exceed the input's type {spec.dtype}, "
                    f"[{least}, {most}]"
                )
            low[i], high[i] = lo, hi


def _group(written: ExactDomain, group: Sequence[int], dtype: str) -> OneHot:
    levels = [round_nearest(written.levels(i), dtype) for i in group]
    for i, (cold, hot) in zip(group, levels, strict=True):
        if cold == hot or not (np.isfinite(cold) and np.isfinite(hot)):
            raise written.where(i).error(
                f"the two values of this one-hot feature cannot be told apart in {dtype} after "
                "normalisation; check mean and std"
            )
    return OneHot(
        np.array(group), np.array([v[0] for v in levels]), np.array([v[1] for v in levels])
    )
