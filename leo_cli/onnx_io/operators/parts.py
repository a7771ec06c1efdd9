"""Operators that take tensors apart and join them: Slice, Gather, Split, Concat.

Like those of `relabel`, they move entries without computing, and take their effect on positions
from `folding`; along the batch axis they are no part of a network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from leo_cli.onnx_io import folding
from leo_cli.onnx_io.affine import stacked
from leo_cli.onnx_io.forms import Form, constant, picked
from leo_cli.onnx_io.operators import sizes
from leo_cli.onnx_io.operators.relabel import arguments, moved, tensor
from leo_cli.onnx_io.step import Step
from leo_cli.onnx_io.values import Affine, Constant, Sizes, Unsupported, Value

if TYPE_CHECKING:
    from leo_cli.onnx_io.scope import Scope


def _axis(step: Step, value: Affine, default: int) -> int:
    return step.integer("axis", default) % len(value.dims)


def slice_(step: Step, scope: Scope) -> Sequence[Value]:
    if isinstance(scope.value(step, 0), Sizes):
        return sizes.slice_(step, scope)
    value = tensor(step, scope)
    arrays = arguments(step, scope, value)
    for axis, part in folding.slices(step, arrays):
        whole = part.start == 0 and part.stop is not None and part.step == 1
        if axis == value.batch and not (whole and _reaches_end(step, arrays, axis, value)):
            raise Unsupported("picks samples of a batch", "batch")
    (index,) = folding.slice_(step, arrays)
    return [moved(step, value, index, value.batch)]


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
    value = tensor(step, scope)
    axis = _axis(step, value, 0)
    if axis == value.batch:
        raise Unsupported("picks samples of a batch", "batch")
    arrays = arguments(step, scope, value)
    (index,) = folding.gather(step, arrays)
    grown = index.ndim - len(value.dims)
    batch = value.batch
    if batch is not None and batch > axis:
        batch += grown
    return [moved(step, value, index, batch)]


def split(step: Step, scope: Scope) -> Sequence[Value]:
    value = tensor(step, scope)
    if _axis(step, value, 0) == value.batch:
        raise Unsupported("picks samples of a batch", "batch")
    parts = folding.split(step, arguments(step, scope, value))
    return [moved(step, value, index, value.batch) for index in parts]


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


READERS: Mapping[tuple[str, str], Callable[[Step, Scope], Sequence[Value]]] = {
    ("", "Slice"): slice_,
    ("", "Gather"): gather,
    ("", "Split"): split,
    ("", "Concat"): concat,
}
