"""What the tests of verification share: evaluation in any type and order, models with a tail."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from leo_cli.arrays import Floats
from leo_cli.network import Layer, Network
from leo_cli.onnx_io import Model, read_model

Values = NDArray[Any]
Sum = Callable[[Values, np.random.Generator], Values]


def forwards(terms: Values, rng: np.random.Generator) -> Values:
    """terms: (..., n) of one type; added one after the other."""
    del rng
    total = terms[..., 0]
    for i in range(1, terms.shape[-1]):
        total = total + terms[..., i]
    return total


def backwards(terms: Values, rng: np.random.Generator) -> Values:
    return forwards(terms[..., ::-1], rng)


def shuffled(terms: Values, rng: np.random.Generator) -> Values:
    return forwards(terms[..., rng.permutation(terms.shape[-1])], rng)


def largest_first(terms: Values, rng: np.random.Generator) -> Values:
    order = np.argsort(-np.abs(terms), axis=-1, kind="stable")
    return forwards(np.take_along_axis(terms, order, axis=-1), rng)


def positive_first(terms: Values, rng: np.random.Generator) -> Values:
    """The order with the largest partial sums."""
    order = np.argsort(-terms, axis=-1, kind="stable")
    return forwards(np.take_along_axis(terms, order, axis=-1), rng)


def pairwise(terms: Values, rng: np.random.Generator) -> Values:
    while terms.shape[-1] > 1:
        paired = terms[..., 0 : terms.shape[-1] // 2 * 2 : 2] + terms[..., 1::2]
        terms = np.concatenate([paired, terms[..., 2 * paired.shape[-1] :]], axis=-1)
    return terms[..., 0]


def blocked(terms: Values, rng: np.random.Generator) -> Values:
    """Three accumulators, then their sum, as vector units do it."""
    parts = [forwards(terms[..., k::3], rng) for k in range(min(3, terms.shape[-1]))]
    return forwards(np.stack(parts, axis=-1), rng)


ORDERS: tuple[Sum, ...] = (
    forwards,
    backwards,
    shuffled,
    largest_first,
    positive_first,
    pairwise,
    blocked,
)


def native(
    network: Network, points: Floats, dtype: str, order: Sum, rng: np.random.Generator
) -> Values:
    """The concatenated outputs at points (n, inputs), every operation done in `dtype`."""
    kind = np.dtype(dtype).type
    values: list[Values] = [points.astype(kind)]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for layer in network.layers:
            z = order(_summands(layer, values, kind), rng)
            values.append(np.maximum(z, kind(0)) if layer.relu else z)
    return np.concatenate([values[node] for node in network.outputs], axis=1)


def _summands(layer: Layer, values: list[Values], kind: type) -> Values:
    """(n, width, summands) rounded products, and the bias."""
    count = len(values[0])
    parts = [np.broadcast_to(layer.bias.astype(kind)[None, :, None], (count, layer.width, 1))]
    for term in layer.terms:
        weights = term.map.rows(slice(None)).astype(kind)
        parts.append(values[term.source][:, None, :] * weights[None])
    return np.concatenate(parts, axis=-1)


Parameters = list[tuple[Values, Values]]
TAILS = ("none", "softmax", "argmax", "strings", "threshold")
_ELEMENT = {
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
}


def parameters(widths: list[int], rng: np.random.Generator, dtype: str = "float32") -> Parameters:
    """Weights (out, in) and biases of a random network with these widths, inputs first."""
    return [
        (
            (rng.normal(size=(out, into)) / np.sqrt(into)).astype(dtype),
            (0.3 * rng.normal(size=out)).astype(dtype),
        )
        for into, out in itertools.pairwise(widths)
    ]


def mlp(
    layers: Parameters, tail: str = "none", batch: int | str = "n", name: str = "model"
) -> Model:
    """A model x -> Gemm Relu ... Gemm -> tail, written and read again.

    tail: "none" (output y), "softmax" (q), "argmax" (best, integers), "strings" (label, strings,
    and p, a dictionary for each row) or "threshold" (flag: is the sigmoid above one half?).
    """
    dtype = str(layers[0][0].dtype)
    kind = _ELEMENT[dtype]
    nodes, constants, value = [], [], "x"
    for k, (weights, bias) in enumerate(layers):
        constants += [
            numpy_helper.from_array(weights, f"W{k}"),
            numpy_helper.from_array(bias, f"b{k}"),
        ]
        last = k + 1 == len(layers)
        out = "y" if last else f"z{k}"
        nodes.append(helper.make_node("Gemm", [value, f"W{k}", f"b{k}"], [out], transB=1))
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"h{k}"]))
        value = f"h{k}"
    width = len(layers[-1][1])
    shape = [batch, width]
    scores = helper.make_tensor_value_info("y", kind, shape)
    outputs = [scores]
    if tail in ("softmax", "strings"):
        nodes.append(helper.make_node("Softmax", ["y"], ["q"], axis=1))
        outputs = [helper.make_tensor_value_info("q", kind, shape)]
    if tail in ("argmax", "strings"):
        nodes.append(helper.make_node("ArgMax", ["y"], ["best"], axis=1, keepdims=0))
        outputs = [helper.make_tensor_value_info("best", TensorProto.INT64, [batch])]
    if tail == "strings":
        names = [f"class {k}" for k in range(width)]
        ml = "ai.onnx.ml"
        nodes.append(
            helper.make_node(
                "LabelEncoder",
                ["best"],
                ["label"],
                domain=ml,
                keys_int64s=list(range(width)),
                values_strings=names,
            )
        )
        nodes.append(helper.make_node("ZipMap", ["q"], ["p"], domain=ml, classlabels_strings=names))
        per_class = helper.make_map_type_proto(
            TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        )
        outputs = [
            helper.make_tensor_value_info("label", TensorProto.STRING, [batch]),
            helper.make_value_info("p", helper.make_sequence_type_proto(per_class)),
        ]
    if tail == "threshold":
        constants.append(numpy_helper.from_array(np.array(0.5, dtype=dtype), "half"))
        nodes.append(helper.make_node("Sigmoid", ["y"], ["s"]))
        nodes.append(helper.make_node("Greater", ["s", "half"], ["flag"]))
        outputs = [helper.make_tensor_value_info("flag", TensorProto.BOOL, shape)]
    inputs = [helper.make_tensor_value_info("x", kind, [batch, layers[0][0].shape[1]])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return read_model(model.SerializeToString(), name)


def edited(model: Model, change: Callable[[onnx.ModelProto], None], name: str = "edited") -> Model:
    """The model after a change of its file."""
    proto = onnx.load_model_from_string(model.source)
    change(proto)
    return read_model(proto.SerializeToString(), name)
