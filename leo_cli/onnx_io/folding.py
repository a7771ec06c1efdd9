"""Constant expressions, evaluated with the operators' semantics in numpy.

Only operators whose result does not depend on who computes it: those that move values, and those
that IEEE 754 rounds correctly, in the tensor's own type. A constant expression of another kind
stays unknown. The same functions move the entries of tensors that are not constant: a tensor's
positions, laid out as an integer array, go through them (`operators.relabel`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from leo_cli.onnx_io.constants import DTYPES, to_array
from leo_cli.onnx_io.step import Step
from leo_cli.onnx_io.values import Unsupported, resolve_target

Array = NDArray[Any]
Arrays = Sequence[Array | None]
LARGEST = 1 << 26  # entries of a folded constant; larger ones stay unknown


def argument(step: Step, arrays: Arrays, position: int, name: str) -> tuple[int, ...] | None:
    """A list of integers that older operator sets give as an attribute, newer ones as an input."""
    if position < len(arrays) and arrays[position] is not None:
        return tuple(int(n) for n in np.asarray(arrays[position]).reshape(-1))
    return step.integers(name)


def _first(arrays: Arrays) -> Array:
    data = arrays[0] if arrays else None
    if data is None:
        raise Unsupported("has no first input")
    return data


def _bounded(count: int) -> None:
    if count > LARGEST:
        raise Unsupported(f"makes a constant of {count} entries")


def _both(arrays: Arrays) -> tuple[Array, Array]:
    if len(arrays) != 2 or arrays[0] is None or arrays[1] is None:
        raise Unsupported("lacks an input")
    left, right = arrays[0], arrays[1]
    _bounded(prod(np.broadcast_shapes(left.shape, right.shape)))
    return left, right


def same(step: Step, arrays: Arrays) -> list[Array]:
    return [_first(arrays)]


def transpose(step: Step, arrays: Arrays) -> list[Array]:
    return [np.transpose(_first(arrays), step.integers("perm"))]


def squeeze(step: Step, arrays: Arrays) -> list[Array]:
    data = _first(arrays)
    axes = argument(step, arrays, 1, "axes")
    return [np.squeeze(data, axis=None if axes is None else axes)]


def unsqueeze(step: Step, arrays: Arrays) -> list[Array]:
    axes = argument(step, arrays, 1, "axes")
    if axes is None:
        raise Unsupported("has no axes")
    return [np.expand_dims(_first(arrays), axes)]


def flatten(step: Step, arrays: Arrays) -> list[Array]:
    data = _first(arrays)
    axis = step.integer("axis", 1)
    axis += data.ndim if axis < 0 else 0
    return [data.reshape(prod(data.shape[:axis]), prod(data.shape[axis:]))]


def reshape(step: Step, arrays: Arrays) -> list[Array]:
    data = _first(arrays)
    target = argument(step, arrays, 1, "shape")
    if target is None:
        raise Unsupported("has no shape")
    dims = resolve_target(data.shape, target, step.integer("allowzero", 0) == 1, None)
    return [data.reshape([n for n in dims if isinstance(n, int)])]


def expand(step: Step, arrays: Arrays) -> list[Array]:
    data = _first(arrays)
    shape = argument(step, arrays, 1, "shape") or ()
    out = np.broadcast_shapes(data.shape, shape)
    _bounded(prod(out))
    return [np.broadcast_to(data, out)]


def slices(step: Step, arrays: Arrays) -> list[tuple[int, slice]]:
    """(axis, slice) of a Slice node. Raises Unsupported for a step of 0."""
    data = _first(arrays)
    starts = argument(step, arrays, 1, "starts") or ()
    ends = argument(step, arrays, 2, "ends") or ()
    axes = argument(step, arrays, 3, "axes") or tuple(range(len(starts)))
    steps = argument(step, arrays, 4, "steps") or (1,) * len(starts)
    out = []
    for start, end, axis, stride in zip(starts, ends, axes, steps, strict=True):
        if stride == 0:
            raise Unsupported("has a step of 0")
        length = data.shape[axis]
        low, high = (0, length) if stride > 0 else (-1, length - 1)
        begin = min(max(start + length if start < 0 else start, 0), high)
        stop = min(max(end + length if end < 0 else end, low), length)
        out.append((axis % data.ndim, slice(begin, None if stop < 0 else stop, stride)))
    return out


def slice_(step: Step, arrays: Arrays) -> list[Array]:
    data = _first(arrays)
    index = [slice(None)] * data.ndim
    for axis, part in slices(step, arrays):
        index[axis] = part
    return [data[tuple(index)]]


def gather(step: Step, arrays: Arrays) -> list[Array]:
    data, index = _first(arrays), arrays[1]
    if index is None or not np.issubdtype(index.dtype, np.integer):
        raise Unsupported("has no integer indices")
    axis = step.integer("axis", 0)
    if not -data.ndim <= axis < data.ndim:
        raise Unsupported(f"picks along axis {axis} of a tensor of rank {data.ndim}")
    length = data.shape[axis]
    if np.any((index < -length) | (index >= length)):
        raise Unsupported("picks entries that do not exist")
    _bounded(data.size // max(length, 1) * index.size)
    return [np.take(data, index, axis=axis)]


def concat(step: Step, arrays: Arrays) -> list[Array]:
    parts = [a for a in arrays if a is not None]
    return [np.concatenate(parts, axis=step.integer("axis", 1))]


def split(step: Step, arrays: Arrays) -> list[Array]:
    data = _first(arrays)
    axis = step.integer("axis", 0)
    sizes = argument(step, arrays, 1, "split")
    if sizes is None:
        part = -(-data.shape[axis] // len(step.outputs))
        sizes = tuple(
            max(0, min(part, data.shape[axis] - k * part)) for k in range(len(step.outputs))
        )
    if sum(sizes) != data.shape[axis] or len(sizes) != len(step.outputs):
        raise Unsupported(f"splits an axis of {data.shape[axis]} into {list(sizes)}")
    return np.split(data, np.cumsum(sizes)[:-1], axis=axis)


def cast(step: Step, arrays: Arrays) -> list[Array]:
    dtype = DTYPES.get(step.integer("to", 0))
    data = _first(arrays)
    if dtype is None or (data.dtype.kind == "f" and not dtype.startswith("float")):
        raise Unsupported("converts to a type that is not folded")
    with np.errstate(over="ignore"):
        return [data.astype(dtype)]


def shape(step: Step, arrays: Arrays) -> list[Array]:
    dims = _first(arrays).shape
    return [np.array(dims[step.integer("start", 0) : step.attributes.get("end")], dtype=np.int64)]


def size(step: Step, arrays: Arrays) -> list[Array]:
    return [np.array(_first(arrays).size, dtype=np.int64)]


def constant(step: Step, arrays: Arrays) -> list[Array]:
    given = step.attributes
    if isinstance(given.get("value"), TensorProto):
        stored = to_array(given["value"])
        if stored is not None:
            return [stored]
    if "value_float" in given:
        return [np.array(given["value_float"], dtype=np.float32)]
    if "value_floats" in given:
        return [np.array(given["value_floats"], dtype=np.float32)]
    if "value_int" in given:
        return [np.array(given["value_int"], dtype=np.int64)]
    if "value_ints" in given:
        return [np.array(given["value_ints"], dtype=np.int64)]
    raise Unsupported("holds a value that is not numeric")


def constant_of_shape(step: Step, arrays: Arrays) -> list[Array]:
    dims = [int(n) for n in _first(arrays).reshape(-1)]
    if min(dims, default=0) < 0:
        raise Unsupported(f"makes a constant of shape {dims}")
    _bounded(prod(dims))
    value = step.attributes.get("value")
    filler = np.zeros(1, dtype=np.float32) if value is None else to_array(value)
    if filler is None:
        raise Unsupported("holds a value that is not numeric")
    return [np.full(dims, filler.reshape(-1)[0])]


def _arithmetic(function: Callable[[Array, Array], Array]) -> Callable[[Step, Arrays], list[Array]]:
    def folded(step: Step, arrays: Arrays) -> list[Array]:
        left, right = _both(arrays)
        if left.dtype != right.dtype:
            raise Unsupported(f"combines {left.dtype} and {right.dtype}")
        with np.errstate(all="ignore"):
            return [np.asarray(function(left, right), dtype=left.dtype)]

    return folded


def divide(step: Step, arrays: Arrays) -> list[Array]:
    left, right = _both(arrays)
    if left.dtype.kind != "f" or left.dtype != right.dtype:
        raise Unsupported("divides integers")
    with np.errstate(all="ignore"):
        return [np.asarray(left / right, dtype=left.dtype)]


def _rounded(function: Callable[[Array], Array]) -> Callable[[Step, Arrays], list[Array]]:
    def folded(step: Step, arrays: Arrays) -> list[Array]:
        data = _first(arrays)
        with np.errstate(all="ignore"):
            return [np.asarray(function(data), dtype=data.dtype)]

    return folded


FOLD: dict[str, Callable[[Step, Arrays], list[Array]]] = {
    "Identity": same,
    "Dropout": same,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Flatten": flatten,
    "Reshape": reshape,
    "Expand": expand,
    "Slice": slice_,
    "Gather": gather,
    "Concat": concat,
    "Split": split,
    "Cast": cast,
    "Shape": shape,
    "Size": size,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Add": _arithmetic(np.add),
    "Sub": _arithmetic(np.subtract),
    "Mul": _arithmetic(np.multiply),
    "Div": divide,
    "Neg": _rounded(np.negative),
    "Sqrt": _rounded(np.sqrt),
    "Abs": _rounded(np.abs),
}
