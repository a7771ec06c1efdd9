"""A domain as it was written: rationals in the file's own space, before any rounding.

The readers of the formats fill an `ExactDomain`; assemble.py makes a `Domain` of it. Features are
numbered through all inputs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate

from leo_cli.domain.place import Place, quoted
from leo_cli.tensors import TensorSpec

HOT_OR_COLD = (Fraction(0), Fraction(1))  # the two values of one-hot features, as written

Ranges = tuple[list[Fraction], list[Fraction]]


@dataclass(frozen=True)
class ExactLinear:
    """sum coefficients[i] * x_i  op  rhs, with op "<=", ">=" or "=="; place: for messages."""

    coefficients: dict[int, Fraction]
    op: str
    rhs: Fraction
    place: Place


@dataclass
class ExactDomain:
    """lower, upper: one entry a feature, None where nothing was said yet. fixed, integer, one_hot,
    linear: by feature. scale: (mean, std) of features whose values are raw: the model sees (raw -
    mean) / std. names: for messages. notes: remarks for the report."""

    place: Place
    inputs: tuple[TensorSpec, ...]
    lower: list[Fraction | None]
    upper: list[Fraction | None]
    fixed: dict[int, Fraction] = field(default_factory=dict)
    integer: set[int] = field(default_factory=set)
    one_hot: list[tuple[int, ...]] = field(default_factory=list)
    linear: list[ExactLinear] = field(default_factory=list)
    scale: dict[int, tuple[Fraction, Fraction]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @staticmethod
    def blank(inputs: Sequence[TensorSpec], place: Place) -> ExactDomain:
        size = sum(spec.size for spec in inputs)
        return ExactDomain(place, tuple(inputs), [None] * size, [None] * size)

    @property
    def size(self) -> int:
        return len(self.lower)

    @property
    def offsets(self) -> list[int]:
        """Index of the first feature of each input."""
        return [0, *accumulate(spec.size for spec in self.inputs)][:-1]

    @property
    def members(self) -> set[int]:
        """Features that belong to a one-hot group."""
        return {i for group in self.one_hot for i in group}

    def scale_of(self, feature: int) -> tuple[Fraction, Fraction]:
        """(mean, std); (0, 1) for features that are not raw."""
        return self.scale.get(feature, (Fraction(0), Fraction(1)))

    def levels(self, feature: int) -> list[Fraction]:
        """The cold and the hot value of a one-hot feature in the model's space."""
        mean, std = self.scale_of(feature)
        return [(value - mean) / std for value in HOT_OR_COLD]

    def where(self, feature: int) -> Place:
        """The place of a feature, for messages."""
        owner = bisect_right(self.offsets, feature) - 1
        while self.inputs[owner].size == 0:  # an empty input shares its offset with the next
            owner -= 1
        local = feature - self.offsets[owner]
        name = f" ({quoted(self.names[feature])})" if feature in self.names else ""
        return self.place.at(f"input {quoted(self.inputs[owner].name)}").at(
            f"feature {local}{name}"
        )


def shape_text(spec: TensorSpec) -> str:
    """[batch, 784]"""
    return "[" + ", ".join("?" if n is None else str(n) for n in spec.shape) + "]"


def show(value: Fraction) -> str:
    """A rational for a message: as a decimal of up to 12 digits."""
    try:
        return f"{float(value):.12g}"
    except OverflowError:
        return "a number beyond 1e308" if value > 0 else "a number below -1e308"
