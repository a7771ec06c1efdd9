"""Operators that move entries without computing: their effect on positions is taken from `folding`.

The positions of a tensor's entries, laid out in its axes with the batch as an axis of length 1, go
through the same function that folds a constant; what comes out says which entry stands where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from leo_cli.onnx_io import folding
from leo_cli.onnx_io.constants import DTYPES
from leo_cli.onnx_io.forms import Form, constant, is_selection
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


def tensor(step: Step, scope: Scope, position: int = 0) -> Affine:
    value = scope.value(step, position)
    if not isinstance(value, Affine):
        raise Unsupported("moves something that is not known")
    return value


def arguments(step: Step, scope: Scope, value: Affine) -> list[folding.Array | None]:
    """Arguments for a folding function: the positions, then the constant inputs."""
    arrays: list[folding.Array | None] = [value.indices()]
    for position in range(1, len(step.inputs)):
        given = scope.value(step, position)
        if given is not None and not isinstance(given, Constant):
            raise Unsupported("has arguments that are not constant")
        arrays.append(None if given is None else given.array)
    return arrays


def moved(step: Step, value: Affine, index: folding.Array, batch: int | None) -> Affine:
    moved = value.relabelled(index, batch)
    return moved.with_form(moved.form.through(step.position))


def identity(step: Step, scope: Scope) -> Sequence[Value]:
    value = scope.value(step, 0)
    if isinstance(value, Sizes):
        return [value]
    return [tensor(step, scope)]


def dropout(step: Step, scope: Scope) -> Sequence[Value]:
    """The identity in inference; the mask, if somebody reads it, stays unknown."""
    training = scope.value(step, 2)
    if training is not None and not (isinstance(training, Constant) and not training.array.any()):
        raise Unsupported("is in training mode; export the model for inference")
    return [tensor(step, scope)]


def transpose(step: Step, scope: Scope) -> Sequence[Value]:
    value = tensor(step, scope)
    order = step.integers("perm") or tuple(reversed(range(len(value.dims))))
    (index,) = folding.transpose(step, [value.indices()])
    batch = None if value.batch is None else order.index(value.batch)
    return [moved(step, value, index, batch)]


def reshape(step: Step, scope: Scope) -> Sequence[Value]:
    value = tensor(step, scope)
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
    value = tensor(step, scope)
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
    value = tensor(step, scope)
    arrays = arguments(step, scope, value)
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
    value = tensor(step, scope)
    axes = folding.argument(step, arguments(step, scope, value), 1, "axes") or ()
    rank = len(value.dims) + len(axes)
    new = {a % rank for a in axes}
    old = iter(value.dims)
    return [reshaped(value, [1 if k in new else next(old) for k in range(rank)])]


def expand(step: Step, scope: Scope) -> Sequence[Value]:
    given = scope.value(step, 1)
    data = scope.value(step, 0)
    if isinstance(data, Constant) and isinstance(given, Sizes):
        return [_repeated(data, given, scope, step)]
    value = tensor(step, scope)
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


def cast(step: Step, scope: Scope) -> Sequence[Value]:
    """Between number types. A conversion that can round becomes a node of its own, so that bounds
    on native rounding see it; in real arithmetic it is the identity."""
    value = scope.value(step, 0)
    if isinstance(value, Sizes):
        return [value]
    value = tensor(step, scope)
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
    ("", "Cast"): cast,
}
