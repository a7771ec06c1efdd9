"""The parts of a domain beyond its box: one-hot groups and linear constraints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats, Ints, frozen


@dataclass(frozen=True, eq=False)
class OneHot:
    """Exactly one member is hot. members: (m,) feature indices; cold, hot: (m,) their two
    values."""

    members: Ints
    cold: Floats
    hot: Floats

    def __post_init__(self) -> None:
        members = np.array(self.members, dtype=np.int64)
        members.setflags(write=False)
        object.__setattr__(self, "members", members)
        object.__setattr__(self, "cold", frozen(self.cold))
        object.__setattr__(self, "hot", frozen(self.hot))
        if members.ndim != 1 or not members.shape == self.cold.shape == self.hot.shape:
            raise ValueError("a one-hot group has one cold and one hot value for each member")
        if len(np.unique(members)) != len(members):
            raise ValueError("a one-hot group names a feature twice")
        if np.any(self.cold == self.hot):
            raise ValueError("a member of a one-hot group has equal cold and hot values")

    def choices(self, lower: Floats, upper: Floats) -> Ints:
        """Positions in `members` that can be hot, all others being cold, in the box (inputs,)."""
        low, high = lower[self.members], upper[self.members]
        can_be_hot = (low <= self.hot) & (self.hot <= high)
        must_be_hot = ~((low <= self.cold) & (self.cold <= high))
        others_forced = must_be_hot.sum() - must_be_hot
        return np.flatnonzero(can_be_hot & (others_forced == 0))


@dataclass(frozen=True, eq=False)
class LinearConstraint:
    """coefficients: (inputs,); op: "<=" or "=="; coefficients . x  op  rhs, in real arithmetic."""

    coefficients: Floats
    op: str
    rhs: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "coefficients", frozen(self.coefficients))
        if self.op not in ("<=", "=="):
            raise ValueError(f'a linear constraint has op "<=" or "==", not "{self.op}"')
        if self.coefficients.ndim != 1:
            raise ValueError("a linear constraint has one coefficient for each feature")
        if not (np.isfinite(self.coefficients).all() and np.isfinite(self.rhs)):
            raise ValueError("a linear constraint has finite coefficients and a finite rhs")
