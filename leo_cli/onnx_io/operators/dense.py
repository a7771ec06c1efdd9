"""Gemm and MatMul with one constant operand: the dense layers.

For one sample: Gemm is alpha op(A) op(B) + beta C, MatMul is A B. The data may stand on either
side; the axis that is summed over must belong to the features, and every other axis of the data
must be the batch or of length 1 (a matrix applied along an inner axis would be a convolution in
disguise).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.onnx_io.affine import dense as product
from leo_cli.onnx_io.affine import scaled
from leo_cli.onnx_io.forms import constant
from leo_cli.onnx_io.operators.elementwise import add
from leo_cli.onnx_io.step import Step
from leo_cli.onnx_io.values import (
    BATCH,
    Affine,
    Constant,
    Dim,
    Unsupported,
    Value,
    broadcast_dims,
    single,
)

if TYPE_CHECKING:
    from leo_cli.onnx_io.scope import Scope


def _contract(
    step: Step, scope: Scope, position: int, axis: int, matrix: Floats, dims: tuple[Dim, ...]
) -> Affine:
    """The tensor of axes `dims` that replaces axis `axis` of an input by matrix @ (that axis)."""
    value = scope.affine(step, position)
    if value.dims[axis] == BATCH:
        raise Unsupported("sums over the samples of a batch", "batch")
    inner = [n for k, n in enumerate(value.dims) if k != axis and n not in (1, BATCH)]
    if inner:
        raise Unsupported(f"is applied along an inner axis of a tensor of shape {list(value.dims)}")
    if value.dims[axis] != matrix.shape[1]:
        raise Unsupported(
            f"multiplies {value.dims[axis]} features by a matrix of {matrix.shape[1]}"
        )
    if 0 in matrix.shape:
        raise Unsupported("has a matrix without rows or columns")
    form = product(value.form, matrix, value.dtype)
    if form is None:
        value = scope.materialise(step.inputs[position])
        form = product(value.form, matrix, value.dtype)
    if form is None:
        raise Unsupported("has weights that its own type cannot hold")
    shape = tuple(n for n in dims if isinstance(n, int))
    batch = dims.index(BATCH) if BATCH in dims else None
    return Affine(shape, batch, value.dtype, form.through(step.position))


def _operands(step: Step, scope: Scope) -> tuple[int, int]:
    """(position of the data, position of the matrix)."""
    first, second = scope.value(step, 0), scope.value(step, 1)
    if isinstance(first, Affine) and isinstance(second, Constant):
        return 0, 1
    if isinstance(second, Affine) and isinstance(first, Constant):
        return 1, 0
    raise Unsupported("multiplies two tensors that both depend on the input")


def matmul(step: Step, scope: Scope) -> Sequence[Value]:
    data, weights = _operands(step, scope)
    value = scope.affine(step, data)
    matrix = scope.numbers(step, weights, value.dtype)
    dims = value.dims
    while matrix.ndim > 2 and matrix.shape[0] == 1:
        dims = dims if matrix.ndim <= len(dims) else (1, *dims)
        matrix = matrix[0]
    if matrix.ndim not in (1, 2) or len(dims) == 0:
        raise Unsupported(f"multiplies by a tensor of shape {list(matrix.shape)}")
    if dims != value.dims:
        raise Unsupported(f"multiplies by a tensor of more axes than {list(value.dims)}")
    out: tuple[Dim, ...]
    if data == 0:
        axis = len(dims) - 1
        stacked = matrix.T if matrix.ndim == 2 else matrix[None, :]
        out = (*dims[:-1], *matrix.shape[1:])
    else:
        axis = max(len(dims) - 2, 0)
        stacked = matrix if matrix.ndim == 2 else matrix[None, :]
        out = (*dims[:axis], *matrix.shape[:-1], *dims[axis + 1 :])
    return [_contract(step, scope, data, axis, stacked, out)]


def gemm(step: Step, scope: Scope) -> Sequence[Value]:
    data, weights = _operands(step, scope)
    value = scope.affine(step, data)
    matrix = scope.numbers(step, weights, value.dtype)
    if len(value.dims) != 2 or matrix.ndim != 2:
        raise Unsupported("multiplies tensors that are no matrices")
    flipped = step.integer("transA" if data == 0 else "transB", 0) != 0
    turned = step.integer("transA" if weights == 0 else "transB", 0) != 0
    matrix = matrix.T if turned else matrix
    out: tuple[Dim, ...]
    if data == 0:
        axis = 0 if flipped else 1
        out = (value.dims[1 - axis], matrix.shape[1])
        result = _contract(step, scope, data, axis, matrix.T, out)
    else:
        axis = 1 if flipped else 0
        out = (matrix.shape[0], value.dims[1 - axis])
        result = _contract(step, scope, data, axis, matrix, out)
    result = _times(step, scope, result, scope.finite_number(step, "alpha", 1.0, value.dtype))
    addend = scope.value(step, 2)
    if addend is None:
        return [result]
    if broadcast_dims(out, _dims(addend)) != out:
        raise Unsupported(f"adds a tensor of shape {list(_dims(addend))} to one of {list(out)}")
    factor = scope.finite_number(step, "beta", 1.0, value.dtype)
    if isinstance(addend, Affine):
        other = _times(step, scope, scope.affine(step, 2), factor)
        return [add(step, scope, (result, None), (other, None))]
    bias = scope.numbers(step, 2, value.dtype)
    if factor == 0 or not np.any(bias):
        return [result]
    if np.frexp(abs(factor))[0] == 0.5:
        return [scope.plus(step, result, bias * factor)]
    # beta * C need not be a number of the type: C becomes a node, and beta its scale
    spread = np.broadcast_to(bias, single(out)).reshape(-1)
    node = scope.virtual(result, constant(spread), step.outputs[0])
    scaled_bias = _times(step, scope, node, factor)
    return [add(step, scope, (result, None), (scaled_bias, None))]


def _dims(value: Value) -> tuple[Dim, ...]:
    if isinstance(value, Affine):
        return value.dims
    if isinstance(value, Constant):
        return tuple(value.array.shape)
    raise Unsupported("adds something that is not known")


def _times(step: Step, scope: Scope, value: Affine, factor: float) -> Affine:
    """factor * value; by way of a node where the product would not be a number of the type."""
    factors = np.full(value.form.size, factor)
    form = scaled(value.form, factors, value.dtype)
    if form is None:
        node = scope.virtual(value, value.form, step.outputs[0])
        form = scaled(node.form, factors, value.dtype)
    if form is None:
        raise Unsupported(f"scales by {factor}, which its own type cannot hold")
    return value.with_form(form.through(step.position))


def fused_gemm(step: Step, scope: Scope) -> Sequence[Value]:
    """onnxruntime's Gemm with an activation: read where that is a ReLU."""
    activation = step.attributes.get("activation", b"")
    if activation not in (b"Relu", b""):
        raise Unsupported(f"has the activation {activation.decode(errors='replace')}")
    (result,) = gemm(step, scope)
    if not isinstance(result, Affine) or activation == b"":
        return [result]
    return [scope.relu(step, result)]


READERS: Mapping[tuple[str, str], Callable[[Step, Scope], Sequence[Value]]] = {
    ("", "MatMul"): matmul,
    ("", "Gemm"): gemm,
    ("com.microsoft", "FusedGemm"): fused_gemm,
}
