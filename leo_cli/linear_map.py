"""Linear maps behind one interface: a stored matrix, or a scaled selection of inputs.

Layers, bounds and rewrites ask for products, rows and sub-maps only, so that a map that is no
matrix (a selection now, a convolution later) never has to become one. All arrays are float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from leo_cli.arrays import Floats, Ints, frozen, sealed

LARGE = 2**23  # entries; what is derived from a larger matrix is made in blocks of rows, not kept
BLOCK = 2**21  # entries of such a block


class LinearMap(Protocol):
    """A linear map, whatever its storage. All arrays are float64."""

    @property
    def in_features(self) -> int: ...
    @property
    def out_features(self) -> int: ...
    @property
    def depth(self) -> int:
        """Largest number of products summed for one entry of `apply` (for rounding bounds)."""
        ...

    @property
    def depth_transposed(self) -> int:
        """The same for `apply_transposed`."""
        ...

    @property
    def connections(self) -> int:
        """Number of stored matrix entries, the papers' measure of size."""
        ...

    @property
    def smallest(self) -> float:
        """Smallest magnitude of a non-zero entry (infinite if there is none), to rule out
        underflow.
        """
        ...

    def apply(self, x: Floats) -> Floats:
        """(..., in) -> (..., out): W x, in plain float64 arithmetic."""
        ...

    def apply_transposed(self, y: Floats) -> Floats:
        """(..., out) -> (..., in): y W, in plain float64 arithmetic."""
        ...

    def rows(self, index: Ints | slice) -> Floats:
        """The dense (len, in) rows of W."""
        ...

    def magnitude(self) -> LinearMap:
        """The map |W|."""
        ...

    def parts(self) -> tuple[LinearMap, LinearMap]:
        """(max(W, 0), min(W, 0)), entry by entry."""
        ...

    def take(self, rows: Ints | None = None, columns: Ints | None = None) -> LinearMap:
        """The map restricted to some outputs and inputs (None: all)."""
        ...


def _smallest(entries: Floats) -> float:
    sizes = np.abs(entries)
    return float(np.min(sizes, initial=np.inf, where=sizes > 0))


def _positive(entries: Floats) -> Floats:
    return np.maximum(entries, 0.0)


def _negative(entries: Floats) -> Floats:
    return np.minimum(entries, 0.0)


def _blocks(matrix: Floats) -> Iterator[slice]:
    """Rows of a matrix, BLOCK entries at a time."""
    step = max(1, BLOCK // max(1, matrix.shape[1]))
    for start in range(0, len(matrix), step):
        yield slice(start, start + step)


@dataclass(frozen=True)
class _Stored:
    """What the shape of a stored matrix (out, in) tells."""

    matrix: Floats

    @property
    def in_features(self) -> int:
        return int(self.matrix.shape[1])

    @property
    def out_features(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def depth(self) -> int:
        return self.in_features

    @property
    def depth_transposed(self) -> int:
        return self.out_features

    @property
    def connections(self) -> int:
        return int(self.matrix.size)


@dataclass(frozen=True)
class Dense(_Stored):
    """A stored matrix (out, in)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", frozen(self.matrix))
        if self.matrix.ndim != 2:
            raise ValueError(f"a matrix has two axes, not {self.matrix.ndim}")

    @cached_property
    def smallest(self) -> float:
        return min((_smallest(self.matrix[rows]) for rows in _blocks(self.matrix)), default=np.inf)

    def _derived(self, function: Callable[[Floats], Floats]) -> LinearMap:
        if self.matrix.size > LARGE:
            return Entrywise(self.matrix, function)
        return Dense(sealed(function(self.matrix)))

    @cached_property
    def _magnitude(self) -> LinearMap:
        return self._derived(np.abs)

    @cached_property
    def _parts(self) -> tuple[LinearMap, LinearMap]:
        return self._derived(_positive), self._derived(_negative)

    def apply(self, x: Floats) -> Floats:
        return x @ self.matrix.T

    def apply_transposed(self, y: Floats) -> Floats:
        return y @ self.matrix

    def rows(self, index: Ints | slice) -> Floats:
        return self.matrix[index]

    def magnitude(self) -> LinearMap:
        return self._magnitude

    def parts(self) -> tuple[LinearMap, LinearMap]:
        return self._parts

    def take(self, rows: Ints | None = None, columns: Ints | None = None) -> Dense:
        matrix = self.matrix
        if rows is not None and not _all_of(rows, matrix.shape[0]):
            matrix = sealed(matrix[rows])
        if columns is not None and not _all_of(columns, matrix.shape[1]):
            matrix = sealed(matrix[:, columns])
        return self if matrix is self.matrix else Dense(matrix)


def _all_of(index: Ints, count: int) -> bool:
    return len(index) == count and np.array_equal(index, np.arange(count))


@dataclass(frozen=True)
class Entrywise(_Stored):
    """function(matrix), entry by entry, made in blocks of rows whenever it is used: for matrices
    too large to be kept several times."""

    function: Callable[[Floats], Floats]

    @property
    def smallest(self) -> float:
        sizes = (_smallest(self.rows(rows)) for rows in _blocks(self.matrix))
        return min(sizes, default=np.inf)

    def apply(self, x: Floats) -> Floats:
        out = np.empty((*x.shape[:-1], self.out_features))
        for rows in _blocks(self.matrix):
            out[..., rows] = x @ self.rows(rows).T
        return out

    def apply_transposed(self, y: Floats) -> Floats:
        out = np.zeros((*y.shape[:-1], self.in_features))
        for rows in _blocks(self.matrix):
            out += y[..., rows] @ self.rows(rows)
        return out

    def rows(self, index: Ints | slice) -> Floats:
        return self.function(self.matrix[index])

    def magnitude(self) -> LinearMap:
        return Entrywise(self.matrix, lambda entries: np.abs(self.function(entries)))

    def parts(self) -> tuple[LinearMap, LinearMap]:
        return (
            Entrywise(self.matrix, lambda entries: _positive(self.function(entries))),
            Entrywise(self.matrix, lambda entries: _negative(self.function(entries))),
        )

    def take(self, rows: Ints | None = None, columns: Ints | None = None) -> LinearMap:
        return Entrywise(Dense(self.matrix).take(rows, columns).matrix, self.function)


@dataclass(frozen=True)
class Scaled:
    """A scaled selection: out[i] = scale[i] * x[index[i]].

    Normalisations, identities, slices and permutations, without a matrix of mostly zeros.
    """

    index: Ints
    scale: Floats
    in_features: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", frozen(self.scale))

    @property
    def out_features(self) -> int:
        return len(self.index)

    @property
    def depth(self) -> int:
        return 1

    @cached_property
    def depth_transposed(self) -> int:
        return int(np.bincount(self.index, minlength=1).max(initial=1))

    @property
    def connections(self) -> int:
        return 0

    @cached_property
    def smallest(self) -> float:
        return _smallest(self.scale)

    def apply(self, x: Floats) -> Floats:
        return x[..., self.index] * self.scale

    def apply_transposed(self, y: Floats) -> Floats:
        out = np.zeros((*y.shape[:-1], self.in_features))
        np.add.at(np.moveaxis(out, -1, 0), self.index, np.moveaxis(y * self.scale, -1, 0))
        return out

    def rows(self, index: Ints | slice) -> Floats:
        picked = np.arange(self.out_features)[index]
        out = np.zeros((len(picked), self.in_features))
        out[np.arange(len(picked)), self.index[picked]] = self.scale[picked]
        return out

    def magnitude(self) -> Scaled:
        return replace(self, scale=np.abs(self.scale))

    def parts(self) -> tuple[Scaled, Scaled]:
        return (
            replace(self, scale=np.maximum(self.scale, 0.0)),
            replace(self, scale=np.minimum(self.scale, 0.0)),
        )

    def take(self, rows: Ints | None = None, columns: Ints | None = None) -> LinearMap:
        kept = (
            self if rows is None else replace(self, index=self.index[rows], scale=self.scale[rows])
        )
        if columns is None:
            return kept
        position = np.full(self.in_features, -1)
        position[columns] = np.arange(len(columns))
        index = position[kept.index]
        if np.any((index < 0) & (kept.scale != 0)):
            return Dense(kept.rows(slice(None))[:, columns])
        if len(columns) == 0:
            return Dense(np.zeros((kept.out_features, 0)))
        return Scaled(np.maximum(index, 0), np.where(index < 0, 0.0, kept.scale), len(columns))
