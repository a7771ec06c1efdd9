"""Writing a new dense ReLU network as an ONNX model (the counterpart of training, not of
rewriting).

    [Sub, Mul]  Gemm Relu  ...  Gemm Relu  Gemm

One input (batch, features), one output (batch, outputs), float32 throughout, weights (out, in) as
stored. Nothing in the file depends on when or where it is made, so equal arrays give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from leo_cli import __version__

OPSET = 17
IR_VERSION = 8  # what opset 17 came with; older runtimes refuse newer ones

Floats32 = NDArray[np.float32]


def build_mlp(
    weights: Sequence[Floats32],
    biases: Sequence[Floats32],
    *,
    offset: Floats32 | None = None,
    scale: Floats32 | None = None,
    input_name: str = "x",
    output_name: str = "logits",
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """A checked model of  (x - offset) * scale,  ReLU layers, and a last affine layer.

    weights: (out, in) each; biases: (out,) each; offset, scale: (features,), both or neither.
    metadata: key -> value, written into the model's metadata. Raises ValueError when shapes do
    not fit.
    """
    features = weights[0].shape[1]
    nodes: list[onnx.NodeProto] = []
    initializers: list[onnx.TensorProto] = []

    def constant(name: str, array: Floats32, shape: tuple[int, ...]) -> str:
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, not {shape}")
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    value, width = input_name, features
    if offset is not None and scale is not None:
        constant("normalize.offset", offset, (features,))
        constant("normalize.scale", scale, (features,))
        nodes.append(_node("Sub", [value, "normalize.offset"], "normalize.shifted"))
        nodes.append(_node("Mul", ["normalize.shifted", "normalize.scale"], "normalize.scaled"))
        value = "normalize.scaled"
    last = len(weights) - 1
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        rows = len(bias)
        parameters = [
            constant(f"layer{k}.weight", weight, (rows, width)),
            constant(f"layer{k}.bias", bias, (rows,)),
        ]
        affine = output_name if k == last else f"layer{k}.linear"
        nodes.append(helper.make_node("Gemm", [value, *parameters], [affine], affine, transB=1))
        if k < last:
            nodes.append(_node("Relu", [affine], f"layer{k}.relu"))
        value, width = f"layer{k}.relu", rows
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["batch", features])],
        [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, ["batch", width])],
        initializers,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="leo",
        producer_version=__version__,
    )
    helper.set_model_props(model, dict(sorted((metadata or {}).items())))
    onnx.checker.check_model(model, full_check=True)
    return model


def build_mlp_bytes(
    weights: Sequence[Floats32],
    biases: Sequence[Floats32],
    *,
    offset: Floats32 | None = None,
    scale: Floats32 | None = None,
    input_name: str = "x",
    output_name: str = "logits",
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """The content of the file of `build_mlp`, for callers that know nothing of onnx."""
    model = build_mlp(
        weights,
        biases,
        offset=offset,
        scale=scale,
        input_name=input_name,
        output_name=output_name,
        metadata=metadata,
    )
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _node(op: str, inputs: list[str], output: str) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], name=output)
