"""What the reader knows about a tensor, and the arithmetic of its axes.

A tensor that depends on the inputs is described for one sample. Its axes are those of the file with
the batch axis, if there is one, marked by `BATCH`; `None` for `batch` means that the tensor holds
exactly one sample (a fixed batch of 1 counts as that: its axis is an ordinary axis of length 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from leo_cli.arrays import Ints
from leo_cli.onnx_io.forms import Form, select

BATCH: Literal["batch"] = "batch"
Dim: TypeAlias = int | Literal["batch"]
FLOATING = ("float16", "float32", "float64")


class Unsupported(Exception):  # noqa: N818 (a reasoned refusal, not an error of the user)
    """An operator that ends the network on its path.

    kind: "layer" (computation that a later version may read), "boundary" (an ordinary end of a
    network), or "batch" (it mixes samples if axis 0 counts them).
    """

    def __init__(self, reason: str, kind: Literal["layer", "boundary", "batch"] = "layer") -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind


@dataclass(frozen=True)
class Constant:
    """A known tensor. name: of the tensor, for messages."""

    array: NDArray[Any]
    name: str = ""


@dataclass(frozen=True)
class Sizes:
    """Integers of which some are the batch size: a shape or a part of one. scalar: of rank 0."""

    entries: tuple[Dim, ...]
    scalar: bool = False


@dataclass(frozen=True)
class Opaque:
    """A tensor behind the network. constant: it does not depend on the inputs, but is not known."""

    constant: bool = False


@dataclass(frozen=True)
class Affine:
    """A tensor as a form over nodes. shape: without the batch axis; batch: its position."""

    shape: tuple[int, ...]
    batch: int | None
    dtype: str
    form: Form

    @property
    def dims(self) -> tuple[Dim, ...]:
        if self.batch is None:
            return self.shape
        return (*self.shape[: self.batch], BATCH, *self.shape[self.batch :])

    def indices(self) -> Ints:
        """The positions of the entries in the form, laid out in the tensor's axes (batch as 1)."""
        return np.arange(self.form.size).reshape(single(self.dims))

    def relabelled(self, index: Ints, batch: int | None) -> Affine:
        """The tensor with entries `index`, given in the new axes (batch as 1, at `batch`)."""
        shape = tuple(n for axis, n in enumerate(index.shape) if axis != batch)
        return Affine(shape, batch, self.dtype, select(self.form, index.reshape(-1)))

    def with_form(self, form: Form) -> Affine:
        return replace(self, form=form)


Value: TypeAlias = Constant | Sizes | Opaque | Affine


def single(dims: Sequence[Dim]) -> tuple[int, ...]:
    """The shape for a batch of one."""
    return tuple(1 if n == BATCH else n for n in dims)


def batch_axis(dims: Sequence[Dim]) -> int | None:
    return dims.index(BATCH) if BATCH in dims else None


def size_of(dims: Sequence[Dim]) -> int:
    """Number of entries of one sample."""
    return prod(single(dims))


def broadcast_dims(a: Sequence[Dim], b: Sequence[Dim]) -> tuple[Dim, ...]:
    """numpy's rule, with the batch axis meeting itself or axes of length 1."""
    rank = max(len(a), len(b))
    left: tuple[Dim, ...] = (*(1,) * (rank - len(a)), *a)
    right: tuple[Dim, ...] = (*(1,) * (rank - len(b)), *b)
    out: list[Dim] = []
    for m, n in zip(left, right, strict=True):
        if m == n or n == 1:
            out.append(m)
        elif m == 1:
            out.append(n)
        elif BATCH in (m, n):
            raise Unsupported("treats the samples of a batch differently", "batch")
        else:
            raise Unsupported(f"combines shapes {list(a)} and {list(b)} that do not fit")
    if out.count(BATCH) > 1:
        raise Unsupported("combines every sample of a batch with every other", "batch")
    return tuple(out)


def expanded(value: Affine, dims: Sequence[Dim]) -> Affine:
    """The tensor repeated along axes of length 1 to the axes `dims`."""
    if value.dims == tuple(dims):
        return value
    if (value.batch is None) != (batch_axis(dims) is None):
        raise Unsupported("mixes a tensor that has a batch axis with one that has none", "batch")
    index = np.broadcast_to(value.indices(), single(dims))
    return value.relabelled(index, batch_axis(dims))


def reshape(value: Affine, target: Sequence[Dim]) -> Affine:
    """The tensor in new axes of the same order of entries; `target` has no -1 and no 0."""
    dims = tuple(target)
    if value.batch is None:
        if BATCH in dims or size_of(dims) != value.form.size:
            raise Unsupported(f"reshapes {list(value.dims)} to {list(dims)}")
        return value.relabelled(np.arange(value.form.size).reshape(single(dims)), None)
    axis = batch_axis(dims)
    if axis is None or size_of(dims) != value.form.size:
        raise Unsupported(f"reshapes {list(value.dims)} to {list(dims)}", "batch")
    if prod(value.shape[: value.batch]) != 1 or prod(single(dims[:axis])) != 1:
        raise Unsupported("moves entries between samples of a batch", "batch")
    return value.relabelled(np.arange(value.form.size).reshape(single(dims)), axis)


def resolve_target(
    dims: Sequence[Dim], target: Sequence[Dim], allow_zero: bool, batch_size: int | None
) -> tuple[Dim, ...]:
    """The axes that Reshape gives a tensor of axes `dims`: 0 copies an axis, -1 is what is left,
    and the fixed batch size `batch_size`, if there is one, is recognised as the batch axis."""
    out: list[Dim] = []
    for axis, n in enumerate(target):
        if n == 0 and not allow_zero:
            if axis >= len(dims):
                raise Unsupported(f"copies axis {axis} of a tensor of shape {list(dims)}")
            out.append(dims[axis])
        else:
            out.append(n)
    features = size_of(dims)
    if BATCH in dims and BATCH not in out and -1 not in out and batch_size is not None:
        at = next((k for k, n in enumerate(out) if n == batch_size), None)
        if (
            at is not None
            and prod(n for k, n in enumerate(out) if k != at and n != BATCH) == features
        ):
            out[at] = BATCH
    if out.count(-1) > 1:
        raise Unsupported("leaves more than one axis open")
    if -1 in out:
        known = prod(n for n in out if n not in (-1, BATCH))
        if BATCH in dims and BATCH not in out and known == features:
            out[out.index(-1)] = BATCH
        elif known > 0 and features % known == 0 and (BATCH in dims) == (BATCH in out):
            out[out.index(-1)] = features // known
        else:
            raise Unsupported(
                f"reshapes {list(dims)} to {list(target)}", "batch" if BATCH in dims else "layer"
            )
    return tuple(out)
