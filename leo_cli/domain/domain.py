"""The domain D: the set of inputs on which equality is promised.

A box, optionally with integer features, one-hot groups and linear constraints. Features are those
of node 0 of the network: all model inputs in order, each flattened. D is a set of real vectors;
samples and corners of it are vectors of numbers of the inputs' float type.

What can be read off a part is applied to the box when a Domain is made: integer bounds are rounded
inward, members of one-hot groups that cannot be hot (or must be) are fixed. A box that is empty
after this is an error; whether linear constraints leave a point is shown by `feasible_point`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints, frozen
from leo_cli.domain import (
    feasible,
    halfspaces,
    lagrange,
    linear_form,
    membership,
    narrowing,
    projection,
    sampling,
)
from leo_cli.domain.grid import FLOAT_TYPES
from leo_cli.domain.halfspaces import HalfSpaces
from leo_cli.domain.parts import LinearConstraint, OneHot
from leo_cli.errors import DomainError

__all__ = ["Domain", "LinearConstraint", "OneHot"]


@dataclass(frozen=True, eq=False)
class Domain:
    """lower, upper: (inputs,) finite, lower <= upper, representable in `dtype`, the inputs' type.

    integer: (inputs,). one_hot: disjoint groups. notes: remarks for the report, no part of the
    value. Raises DomainError where the box, the integers or a one-hot group leave nothing.
    """

    lower: Floats
    upper: Floats
    dtype: str = "float32"
    integer: Bools = field(default_factory=lambda: np.zeros(0, dtype=bool))
    one_hot: tuple[OneHot, ...] = ()
    constraints: tuple[LinearConstraint, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lower, upper = np.array(self.lower, np.float64), np.array(self.upper, np.float64)
        if lower.ndim != 1 or lower.shape != upper.shape:
            raise ValueError(f"bounds of shapes {lower.shape} and {upper.shape}")
        if self.dtype not in FLOAT_TYPES:
            raise ValueError(f'a domain has type {", ".join(FLOAT_TYPES)}, not "{self.dtype}"')
        integer = np.array(self.integer, dtype=bool)
        if len(integer) == 0:
            integer = np.zeros(len(lower), dtype=bool)
        if integer.shape != lower.shape:
            raise ValueError(f"{len(lower)} features, {len(integer)} integer flags")
        for constraint in self.constraints:
            if constraint.coefficients.shape != lower.shape:
                raise ValueError("a linear constraint has one coefficient for each feature")
        _refuse(~(np.isfinite(lower) & np.isfinite(upper)), lower, upper, "is not a finite box")
        _refuse(lower > upper, lower, upper, "is empty: lower > upper")
        lower[integer], upper[integer] = np.ceil(lower[integer]), np.floor(upper[integer])
        _refuse(lower > upper, lower, upper, "is empty: it contains no integer")
        self._fix_members(lower, upper)
        integer.setflags(write=False)
        object.__setattr__(self, "integer", integer)
        object.__setattr__(self, "lower", frozen(lower + 0.0))  # -0.0 is 0.0
        object.__setattr__(self, "upper", frozen(upper + 0.0))

    def _fix_members(self, lower: Floats, upper: Floats) -> None:
        """Shrink the bounds of members of one-hot groups to what the group allows (in place)."""
        seen = np.zeros(len(lower), dtype=bool)
        for group in self.one_hot:
            if seen[group.members].any():
                raise ValueError("a feature is in two one-hot groups")
            seen[group.members] = True
            choices = group.choices(lower, upper)
            if len(choices) == 0:
                members = ", ".join(map(str, group.members[:8].tolist()))
                raise DomainError(
                    "the domain is empty: no member of the one-hot group of features "
                    f"{members} can be hot while the others are cold"
                )
            low, high = group.cold.copy(), group.cold.copy()
            low[choices] = np.minimum(group.cold, group.hot)[choices]
            high[choices] = np.maximum(group.cold, group.hot)[choices]
            if len(choices) == 1:
                low[choices] = high[choices] = group.hot[choices]
            lower[group.members], upper[group.members] = low, high

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Domain) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    @property
    def inputs(self) -> int:
        return len(self.lower)

    @property
    def is_box(self) -> bool:
        return not (self.integer.any() or self.one_hot or self.constraints)

    @property
    def relaxed(self) -> bool:
        """Whether `minimum` may be that of a superset of D, because there are linear
        constraints."""
        return bool(self.constraints)

    @cached_property
    def magnitude(self) -> Floats:
        """(inputs,) the largest |x| of each feature."""
        return frozen(np.maximum(np.abs(self.lower), np.abs(self.upper)))

    @cached_property
    def free(self) -> Ints:
        """Indices of the features that take more than one value, ascending."""
        return np.flatnonzero(self.lower < self.upper)

    @cached_property
    def groups(self) -> tuple[tuple[OneHot, Ints], ...]:
        """The one-hot groups that leave a choice, each with the positions that may be hot."""
        pairs = [(group, group.choices(self.lower, self.upper)) for group in self.one_hot]
        return tuple((group, choices) for group, choices in pairs if len(choices) > 1)

    @cached_property
    def sha256(self) -> str:
        """Hash of the set that this value describes, the type and the order of features
        included."""
        header = [1, self.dtype, self.inputs, len(self.one_hot), len(self.constraints)]
        digest = hashlib.sha256(json.dumps(header).encode())
        for bounds in (self.lower, self.upper):
            digest.update(bounds.astype("<f8").tobytes())
        digest.update(np.packbits(self.integer).tobytes())
        parts = [
            b"".join(
                values.astype(kind)[np.argsort(group.members)].tobytes()
                for values, kind in (
                    (group.members, "<i8"),
                    (group.cold, "<f8"),
                    (group.hot, "<f8"),
                )
            )
            for group in self.one_hot
        ]
        for constraint in self.constraints:
            numbers = np.append(constraint.coefficients, constraint.rhs) + 0.0
            parts.append(constraint.op.encode() + numbers.astype("<f8").tobytes())
        for part in sorted(parts):
            digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()

    def minimum(self, A: Floats) -> Floats:
        """(m, inputs) -> (m,) lower bounds of min over D of A x, rounded outward (linear_form.py).

        Exactly 0 where every product is 0; -inf where float64 overflows. Linear constraints are
        used by multipliers (lagrange.py): not to the full where there are several.
        """
        bound = linear_form.minimum(A, self.lower, self.upper, self.groups)
        return lagrange.improve(self, A, bound) if self.constraints else bound

    def minimiser(self, A: Floats) -> Floats:
        """(m, inputs) -> (m, inputs) points of D without its linear constraints where A x is
        smallest."""
        return linear_form.minimiser(A, self.lower, self.upper, self.groups)

    def narrow(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats, Bools]:
        """(m, inputs) ends of boxes in D's -> narrower ones that hold all their points of D, and
        (m,) boxes in which there is none. Only linear constraints narrow a box."""
        if not self.constraints:
            return lower, upper, np.zeros(len(lower), dtype=bool)
        return narrowing.narrow(self, lower, upper)

    def contains(self, points: Floats) -> Bools:
        """(m, inputs) -> (m,) whether each point lies in D, decided exactly."""
        return membership.contains(self, points)

    def project(self, points: Floats) -> Floats:
        """(m, inputs) -> (m, inputs) nearby points in the box, of the grid of `dtype`, with
        integers and one-hot groups as they must be (the member closest to hot is hot). Linear
        constraints are approached, not guaranteed: filter with `contains`."""
        return projection.project(self, points)

    def sample(self, count: int, rng: np.random.Generator) -> Floats:
        """(count, inputs) random points of D in `dtype`: uniform, unless there are linear
        constraints. Raises DomainError if none can be shown."""
        return sampling.sample(self, count, rng)

    def corners(self, count: int, rng: np.random.Generator) -> Floats:
        """(count, inputs) random extreme points of D in `dtype`: vertices of the box, moved
        towards the inside until they satisfy linear constraints. Raises DomainError if none can be
        shown."""
        return sampling.corners(self, count, rng)

    @cached_property
    def half_spaces(self) -> HalfSpaces:
        """The linear constraints as G x <= h, for searches (halfspaces.py)."""
        return halfspaces.half_spaces(self)

    @cached_property
    def grid_bounds(self) -> tuple[Floats, Floats]:
        """(inputs,) each: the least and the greatest numbers of `dtype` within the bounds."""
        return projection.grid_bounds(self)

    @cached_property
    def _feasible_point(self) -> Floats:
        return frozen(feasible.search(self))

    def feasible_point(self) -> Floats:
        """(inputs,) a point of D in `dtype`. Raises DomainError if none can be shown."""
        return self._feasible_point

    def sub_box(self, lower: Floats, upper: Floats) -> Domain:
        """D with each feature also in [lower, upper]: (inputs,) each. Raises DomainError if that
        is empty."""
        return replace(
            self, lower=np.maximum(self.lower, lower), upper=np.minimum(self.upper, upper)
        )


def _refuse(wrong: Bools, lower: Floats, upper: Floats, why: str) -> None:
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise DomainError(f"the range [{lower[i]:.17g}, {upper[i]:.17g}] of feature {i} {why}")
