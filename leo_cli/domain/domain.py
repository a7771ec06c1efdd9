"""The domain D: the set of inputs on which equality is promised.

A box, optionally with integer features, one-hot groups and linear constraints. Features are those of
node 0 of the network: all model inputs in order, each flattened.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints, frozen


@dataclass(frozen=True)
class OneHot:
    """Exactly one member is hot. members: (m,) feature indices; cold, hot: (m,) their two values."""

    members: Ints
    cold: Floats
    hot: Floats


@dataclass(frozen=True)
class LinearConstraint:
    """coefficients: (inputs,); op: "<=" or "=="; coefficients . x  op  rhs."""

    coefficients: Floats
    op: str
    rhs: float


@dataclass(frozen=True)
class Domain:
    """lower, upper: (inputs,) finite, lower <= upper, representable in `dtype`, the inputs' type."""

    lower: Floats
    upper: Floats
    dtype: str = "float32"
    integer: Bools = field(default_factory=lambda: np.zeros(0, dtype=bool))
    one_hot: tuple[OneHot, ...] = ()
    constraints: tuple[LinearConstraint, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "lower", frozen(self.lower))
        object.__setattr__(self, "upper", frozen(self.upper))
        if len(self.integer) == 0:
            object.__setattr__(self, "integer", np.zeros(self.inputs, dtype=bool))

    @property
    def inputs(self) -> int:
        return len(self.lower)

    @property
    def is_box(self) -> bool:
        return not (self.integer.any() or self.one_hot or self.constraints)
