"""Stored tensors as numpy arrays, with their declared shape checked against their data first."""

from __future__ import annotations

from math import prod
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from leo_cli.errors import ModelError

DTYPES: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.DOUBLE: "float64",
    TensorProto.INT8: "int8",
    TensorProto.INT16: "int16",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.UINT8: "uint8",
    TensorProto.UINT16: "uint16",
    TensorProto.UINT32: "uint32",
    TensorProto.UINT64: "uint64",
    TensorProto.BOOL: "bool",
}
ELEMENT_TYPES: dict[str, int] = {name: number for number, name in DTYPES.items()}
_BYTES = {"float16": 2, "float32": 4, "float64": 8, "bool": 1} | {
    f"{sign}int{bits}": bits // 8 for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


def type_name(element_type: int) -> str:
    """The name of an ONNX element type for messages."""
    try:
        return str(TensorProto.DataType.Name(element_type))
    except ValueError:
        return f"number {element_type}"


def element_count(tensor: TensorProto, model: str) -> int:
    """Number of entries that the shape asks for. Raises ModelError for a negative axis."""
    if any(n < 0 for n in tensor.dims):
        raise ModelError(
            f'{model}: initializer "{tensor.name}": negative axis in {list(tensor.dims)}'
        )
    return prod(int(n) for n in tensor.dims)


def expected_bytes(tensor: TensorProto, model: str) -> int:
    """Number of bytes that shape and type ask for. Raises ModelError for types other than
    numbers."""
    dtype = DTYPES.get(tensor.data_type)
    if dtype is None:
        raise ModelError(
            f'{model}: initializer "{tensor.name}": external data of type '
            f"{type_name(tensor.data_type)} is not supported; store it in the model file"
        )
    return element_count(tensor, model) * _BYTES[dtype]


def check_data(tensor: TensorProto, model: str) -> None:
    """Raise ModelError where a tensor does not hold as many values as its shape says."""
    count = element_count(tensor, model)
    dtype = DTYPES.get(tensor.data_type)
    if dtype is None or tensor.data_location == TensorProto.EXTERNAL:
        return
    if tensor.HasField("raw_data"):
        fits = len(tensor.raw_data) == count * _BYTES[dtype]
        values = len(tensor.raw_data) // _BYTES[dtype]
    else:
        values = max(len(getattr(tensor, name)) for name in _FIELDS)
        fits = values == count
    if not fits:
        raise ModelError(
            f'{model}: initializer "{tensor.name}": {values} values for shape {list(tensor.dims)}; '
            "export the model again"
        )


def to_array(tensor: TensorProto) -> NDArray[Any] | None:
    """The tensor's values, or None for types that the reader does not know."""
    if tensor.data_type not in DTYPES:
        return None
    array: NDArray[Any] = numpy_helper.to_array(tensor)
    return array


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node as Python values (tensors as TensorProto)."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}
