"""Shape arithmetic with a batch size that is not known: enough for what feeds a Reshape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from leo_cli.onnx_io import folding
from leo_cli.onnx_io.step import Step
from leo_cli.onnx_io.values import BATCH, Affine, Constant, Dim, Sizes, Unsupported, Value

if TYPE_CHECKING:
    from leo_cli.onnx_io.scope import Scope


def _known(entries: Sequence[Dim], scalar: bool) -> Value:
    """A constant where every entry is a number, sizes where the batch is among them."""
    if BATCH in entries:
        return Sizes(tuple(entries), scalar)
    numbers = np.array([n for n in entries if isinstance(n, int)], dtype=np.int64)
    return Constant(numbers.reshape(()) if scalar else numbers)


def _entries(value: Value | None) -> tuple[Dim, ...]:
    if isinstance(value, Sizes):
        return value.entries
    if isinstance(value, Constant) and value.array.ndim <= 1:
        return tuple(int(n) for n in value.array.reshape(-1))
    raise Unsupported("computes a shape from something that is not known")


def shape(step: Step, scope: Scope) -> Sequence[Value]:
    value = scope.value(step, 0)
    if not isinstance(value, Affine):
        raise Unsupported("takes the shape of something that is not known")
    dims = value.dims[step.integer("start", 0) : step.attributes.get("end")]
    return [_known(dims, False)]


def gather(step: Step, scope: Scope) -> Sequence[Value]:
    entries = _entries(scope.value(step, 0))
    index = scope.value(step, 1)
    if not isinstance(index, Constant) or index.array.ndim > 1:
        raise Unsupported("computes a shape from something that is not known")
    positions = [int(n) for n in index.array.reshape(-1)]
    if any(not -len(entries) <= k < len(entries) for k in positions):
        raise Unsupported("takes an axis that does not exist")
    return [_known([entries[k] for k in positions], index.array.ndim == 0)]


def slice_(step: Step, scope: Scope) -> Sequence[Value]:
    entries = _entries(scope.value(step, 0))
    arrays: list[folding.Array | None] = [np.arange(len(entries))]
    for position in range(1, len(step.inputs)):
        given = scope.value(step, position)
        arrays.append(given.array if isinstance(given, Constant) else None)
    (index,) = folding.slice_(step, arrays)
    return [_known([entries[int(k)] for k in index], False)]


def concat(step: Step, scope: Scope) -> Sequence[Value]:
    parts = [_entries(scope.value(step, k)) for k in range(len(step.inputs))]
    return [_known([n for part in parts for n in part], False)]


READERS: Mapping[tuple[str, str], Callable[[Step, Scope], Sequence[Value]]] = {
    ("", "Shape"): shape,
}
