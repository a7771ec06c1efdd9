"""Operators that move entries without computing: their effect on positions is taken from `folding`.

The positions of a tensor's entries, laid out in its axes with the batch as an axis of length 1, go
through the same function that folds a constant; what comes out says which entry stands where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from leo_cli.onnx_io import folding
from leo_cli.onnx_io.affine import Form, constant, is_selection, picked, stacked
from leo_cli.onnx_io.constants import DTYPES
from leo_cli.onnx_io.operators import sizes
from leo_cli.onnx_io.step import Step
from leo_cli.onnx_io.values import (
    BATCH,
    FLOATING,
    Affine,
    Constant,
    Dim,
    Sizes,
    Unsupported,
    Value,
    broadcast_dims,
    expanded,
    resolve_target,
    single,
)
from leo_cli.onnx_io.values import reshape as reshaped

if TYPE_CHECKING:
    from leo_cli.onnx_io.scope import Scope


def _tensor(step: Step, scope: Scope, position: int = 0) -> Affine:
    value = scope.value(step, position)
    if not isinstance(value, Affine):
        raise Unsupported("moves something that is not known")
    return value


def _arrays(step: Step, scope: Scope, value: Affine) -> list[folding.Array | None]:
    """Arguments for a folding function: the positions, then the constant inputs."""
    arrays: list[folding.Array | None] = [value.indices()]
    for position in range(1, len(step.inputs)):
        given = scope.value(step, position)
        if given is not None and not isinstance(given, Constant):
            raise Unsupported("has arguments that are not constant")
        arrays.append(None if given is None else given.array)
    return arrays


def _made(step: Step, value: Affine, index: folding.Array, batch: int | None) -> Affine:
    moved = value.relabelled(index, batch)
    return moved.with_form(moved.form.through(step.position))


def _axis(step: Step, value: Affine, default: int, extra: int = 0) -> int:
    axis = step.integer("axis", default)
    return axis % (len(value.dims) + extra)


def identity(step: Step, scope: Scope) -> Sequence[Value]:
    value = scope.value(step, 0)
    if isinstance(value, Sizes):
        return [value]
    return [_tensor(step, scope)]


def dropout(step: Step, scope: Scope) -> Sequence[Value]:
    """The identity in inference; the mask, if somebody reads it, stays unknown."""
    training = scope.value(step, 2)
    if training is not None and not (isinstance(training, Constant) and not training.array.any()):
        raise Unsupported("is in training mode; export the model for inference")
    return [_tensor(step, scope)]


def transpose(step: Step, scope: Scope) -> Sequence[Value]:
    value = _tensor(step, scope)
    order = step.integers("perm") or tuple(reversed(range(len(value.dims))))
    (index,) = folding.transpose(step, [value.indices()])
    batch = None if value.batch is None else order.index(value.batch)
    return [_made(step, value, index, batch)]


def reshape(step: Step, scope: Scope) -> Sequence[Value]:
    value = _tensor(step, scope)
    given = scope.value(step, 1)
    target: tuple[Dim, ...]
    if isinstance(given, Constant):
        target = tuple(int(n) for n in given.array.reshape(-1))
    elif isinstance(given, Sizes):
        target = given.entries
    else:
        raise Unsupported("reshapes to a shape that is not known")
    allow_zero = step.integer("allowzero", 0) == 1
    dims = resolve_target(value.dims, target, allow_zero, scope.batch_size)
    return [reshaped(value, dims)]


def flatten(step: Step, scope: Scope) -> Sequence[Value]:
    value = _tensor(step, scope)
    axis = step.integer("axis", 1)
    axis += len(value.dims) if axis < 0 else 0
    parts = []
    for dims in (value.dims[:axis], value.dims[axis:]):
        size = int(np.prod([n for n in dims if n != BATCH], dtype=np.int64))
        if BATCH in dims and size != 1:
            raise Unsupported("moves entries between samples of a batch", "batch")
        parts.append(BATCH if BATCH in dims else size)
    return [reshaped(value, parts)]


def squeeze(step: Step, scope: Scope) -> Sequence[Value]:
    value = _tensor(step, scope)
    arrays = _arrays(step, scope, value)
    given = folding.argument(step, arrays, 1, "axes")
    rank = len(value.dims)
    axes = (
        tuple(k for k, n in enumerate(value.dims) if n == 1)
        if given is None
        else tuple(a % rank for a in given)
    )
    if given is None and value.batch is not None and scope.batch_size is None:
        raise Unsupported("drops axes that depend on the batch size")
    if any(value.dims[a] != 1 for a in axes):
        raise Unsupported("drops the batch axis", "batch")
    dims = [n for k, n in enumerate(value.dims) if k not in axes]
    return [reshaped(value, dims)]


def unsqueeze(step: Step, scope: Scope) -> Sequence[Value]:
    given = scope.value(step, 0)
    if isinstance(given, Sizes):
        return [Sizes(given.entries)]
    value = _tensor(step, scope)
    axes = folding.argument(step, _arrays(step, scope, value), 1, "axes") or ()
    rank = len(value.dims) + len(axes)
    new = {a % rank for a in axes}
    old = iter(value.dims)
    return [reshaped(value, [1 if k in new else next(old) for k in range(rank)])]


def expand(step: Step, scope: Scope) -> Sequence[Value]:
    given = scope.value(step, 1)
    data = scope.value(step, 0)
    if isinstance(data, Constant) and isinstance(given, Sizes):
        return [_repeated(data, given, scope, step)]
    value = _tensor(step, scope)
    if isinstance(given, Constant):
        dims: tuple[Dim, ...] = tuple(int(n) for n in given.array.reshape(-1))
    elif isinstance(given, Sizes):
        dims = given.entries
    else:
        raise Unsupported("expands to a shape that is not known")
    return [expanded(value, broadcast_dims(value.dims, dims))]


def _repeated(data: Constant, target: Sizes, scope: Scope, step: Step) -> Affine:
    """A constant repeated for each sample."""
    if data.array.dtype.name not in FLOATING:
        raise Unsupported("repeats something that is no real number")
    numbers = scope.numbers(step, 0, data.array.dtype.name)
    dims = broadcast_dims(numbers.shape, target.entries)
    if BATCH not in dims:
        raise Unsupported("repeats a constant to a shape that is not known")
    batch = dims.index(BATCH)
    whole = np.broadcast_to(numbers, single(dims))
    shape = tuple(n for k, n in enumerate(whole.shape) if k != batch)
    return Affine(shape, batch, data.array.dtype.name, constant(whole.reshape(-1)))


def slice_(step: Step, scope: Scope) -> Sequence[Value]:
    if isinstance(scope.value(step, 0), Sizes):
        return sizes.slice_(step, scope)
    value = _tensor(step, scope)
    arrays = _arrays(step, scope, value)
    for axis, part in folding.slices(step, arrays):
        whole = part.start == 0 and part.stop is not None and part.step == 1
        if axis == value.batch and not (whole and _reaches_end(step, arrays, axis, value)):
            raise Unsupported("picks samples of a batch", "batch")
    (index,) = folding.slice_(step, arrays)
    return [_made(step, value, index, value.batch)]


def _reaches_end(step: Step, arrays: folding.Arrays, axis: int, value: Affine) -> bool:
    """Does the slice of the batch axis keep any number of samples?"""
    ends = folding.argument(step, arrays, 2, "ends") or ()
    axes = folding.argument(step, arrays, 3, "axes") or tuple(range(len(ends)))
    rank = len(value.dims)
    return all(e >= 2**31 - 1 for e, a in zip(ends, axes, strict=True) if a % rank == axis)


def gather(step: Step, scope: Scope) -> Sequence[Value]:
    value = scope.value(step, 0)
    if isinstance(value, Sizes):
        return sizes.gather(step, scope)
    value = _tensor(step, scope)
    axis = _axis(step, value, 0)
    if axis == value.batch:
        raise Unsupported("picks samples of a batch", "batch")
    arrays = _arrays(step, scope, value)
    (index,) = folding.gather(step, arrays)
    grown = index.ndim - len(value.dims)
    batch = value.batch
    if batch is not None and batch > axis:
        batch += grown
    return [_made(step, value, index, batch)]


def split(step: Step, scope: Scope) -> Sequence[Value]:
    value = _tensor(step, scope)
    if _axis(step, value, 0) == value.batch:
        raise Unsupported("picks samples of a batch", "batch")
    parts = folding.split(step, _arrays(step, scope, value))
    return [_made(step, value, index, value.batch) for index in parts]


def concat(step: Step, scope: Scope) -> Sequence[Value]:
    values = [scope.value(step, k) for k in range(len(step.inputs))]
    if any(isinstance(v, Sizes) for v in values):
        return sizes.concat(step, scope)
    tensors = [v for v in values if isinstance(v, Affine)]
    if len({(v.dtype, v.batch, len(v.dims)) for v in tensors}) != 1:
        raise Unsupported("joins tensors of different kinds", "batch")
    axis = _axis(step, tensors[0], 1)
    if axis == tensors[0].batch:
        raise Unsupported("joins along the batch axis", "batch")
    forms: list[Form] = []
    positions = []
    offset = 0
    for place, value in enumerate(values):
        if isinstance(value, Affine):
            if picked(value.form) is None or value.form.sealed or value.form.realisation:
                value = scope.materialise(step.inputs[place])
            forms.append(value.form)
            index = value.indices()
        elif isinstance(value, Constant) and tensors[0].batch is None:
            numbers = scope.numbers(step, place, tensors[0].dtype)
            forms.append(constant(numbers.reshape(-1)))
            index = np.arange(numbers.size).reshape(numbers.shape)
        else:
            raise Unsupported("joins a tensor and a constant")
        positions.append(index + offset)
        offset += index.size
    joined = np.concatenate(positions, axis=axis)
    form = stacked(forms, joined.reshape(-1))
    if form is None:
        raise Unsupported("joins tensors that cannot be told apart")
    batch = tensors[0].batch
    shape = tuple(n for k, n in enumerate(joined.shape) if k != batch)
    return [Affine(shape, batch, tensors[0].dtype, form.through(step.position))]


def cast(step: Step, scope: Scope) -> Sequence[Value]:
    """Between number types. A conversion that can round becomes a node of its own, so that bounds
    on native rounding see it; in real arithmetic it is the identity."""
    value = scope.value(step, 0)
    if isinstance(value, Sizes):
        return [value]
    value = _tensor(step, scope)
    target = DTYPES.get(step.integer("to", 0), "")
    if target == value.dtype:
        return [value]
    if target not in FLOATING:
        raise Unsupported(f"converts to {target or 'another type'}", "boundary")
    if not is_selection(value.form):
        value = scope.materialise(step.inputs[0])
    exact = np.can_cast(value.dtype, target, "safe")
    form = Form(value.form.terms, value.form.bias, sealed=not exact, nodes=value.form.nodes)
    return [Affine(value.shape, value.batch, target, form.through(step.position))]


READERS: Mapping[tuple[str, str], Callable[[Step, Scope], Sequence[Value]]] = {
    ("", "Identity"): identity,
    ("", "Dropout"): dropout,
    ("", "Transpose"): transpose,
    ("", "Reshape"): reshape,
    ("", "Flatten"): flatten,
    ("", "Squeeze"): squeeze,
    ("", "Unsqueeze"): unsqueeze,
    ("", "Expand"): expand,
    ("", "Slice"): slice_,
    ("", "Gather"): gather,
    ("", "Split"): split,
    ("", "Concat"): concat,
    ("", "Cast"): cast,
}
