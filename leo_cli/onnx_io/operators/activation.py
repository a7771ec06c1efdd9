"""ReLU in its spellings: Relu, Max(z, 0), Clip(min=0), PRelu and LeakyRelu with slope 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from leo_cli.onnx_io.step import Step
from leo_cli.onnx_io.values import Constant, Unsupported, Value, broadcast_dims, expanded

if TYPE_CHECKING:
    from leo_cli.onnx_io.scope import Scope


def relu(step: Step, scope: Scope) -> Sequence[Value]:
    return [scope.relu(step, scope.affine(step, 0))]


def maximum(step: Step, scope: Scope) -> Sequence[Value]:
    """max(z, 0) with the 0 on either side."""
    if len(step.inputs) != 2:
        raise Unsupported(f"takes the maximum of {len(step.inputs)} tensors")
    known = 1 if isinstance(scope.value(step, 1), Constant) else 0
    value = scope.affine(step, 1 - known)
    zeros = scope.numbers(step, known, value.dtype)
    if np.any(zeros):
        raise Unsupported("takes the maximum with something other than 0")
    wide = expanded(value, broadcast_dims(value.dims, zeros.shape))
    return [scope.relu(step, wide)]


def _limit(step: Step, scope: Scope, position: int, name: str) -> float | None:
    """A bound of Clip, an attribute up to opset 10, later an optional input."""
    if name in step.attributes:
        return step.number(name, 0.0)
    value = scope.value(step, position)
    if value is None:
        return None
    if not isinstance(value, Constant) or value.array.size != 1:
        raise Unsupported("has bounds that are not constant")
    return float(value.array.reshape(()))


def clip(step: Step, scope: Scope) -> Sequence[Value]:
    """Clip(min=0) without an upper bound that the type could reach."""
    value = scope.affine(step, 0)
    largest = float(np.finfo(value.dtype).max)
    low, high = _limit(step, scope, 1, "min"), _limit(step, scope, 2, "max")
    if (low is not None and np.isnan(low)) or (high is not None and np.isnan(high)):
        raise Unsupported("has a bound that is NaN")
    if high is not None and high < largest:
        raise Unsupported(f"has an upper bound of {high:g} (a ReLU has none)")
    if low is None or low <= -largest:
        return [value]
    if low != 0:
        raise Unsupported(f"has a lower bound of {low:g} (a ReLU has 0)")
    return [scope.relu(step, value)]


def leaky_relu(step: Step, scope: Scope) -> Sequence[Value]:
    slope = step.number("alpha", float(np.float32(0.01)))
    if slope != 0:
        raise Unsupported(f"is a leaky ReLU of slope {slope:g}")
    return [scope.relu(step, scope.affine(step, 0))]


def prelu(step: Step, scope: Scope) -> Sequence[Value]:
    value = scope.affine(step, 0)
    if np.any(scope.numbers(step, 1, value.dtype)):
        raise Unsupported("is a leaky ReLU")
    return [scope.relu(step, value)]


def thresholded_relu(step: Step, scope: Scope) -> Sequence[Value]:
    threshold = step.number("alpha", 1.0)
    if threshold != 0:
        raise Unsupported(f"has a threshold of {threshold:g}")
    return [scope.relu(step, scope.affine(step, 0))]


READERS: Mapping[tuple[str, str], Callable[[Step, Scope], Sequence[Value]]] = {
    ("", "Relu"): relu,
    ("", "Max"): maximum,
    ("", "Clip"): clip,
    ("", "LeakyRelu"): leaky_relu,
    ("", "PRelu"): prelu,
    ("", "ThresholdedRelu"): thresholded_relu,
}
