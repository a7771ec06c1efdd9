"""ONNX graphs for tests: a builder, random graphs in the styles of exporters, native evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from leo_cli.arrays import Floats
from leo_cli.network import Dense, Network, Scaled, Term
from leo_cli.onnx_io import Model, observed_tensors, with_outputs

ELEMENT = {
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
}
ELEMENT |= {"int64": TensorProto.INT64}


@dataclass
class Graph:
    """Collects operators and constants; `tensor` names are made up unless given."""

    dtype: str = "float32"
    opset: int = 17
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    count: int = 0

    def name(self, wanted: str = "t") -> str:
        self.count += 1
        return f"{wanted}{self.count}"

    def input(self, name: str, shape: Sequence[int | str | None], dtype: str | None = None) -> str:
        kind = ELEMENT[dtype or self.dtype]
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def constant(self, array: Any, name: str | None = None) -> str:
        name = name or self.name("c")
        values = np.asarray(array)
        self.constants[name] = values.astype(self.dtype) if values.dtype.kind == "f" else values
        return name

    def op(
        self, kind: str, *inputs: str, out: str | None = None, outputs: int = 1, **attributes: Any
    ) -> str:
        names = [out or self.name(), *(self.name() for _ in range(outputs - 1))]
        domain = attributes.pop("domain", "")
        self.nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return names[0]

    def model(self, *outputs: str, ir: int = 8, value_info: bool = False) -> onnx.ModelProto:
        shown = [onnx.ValueInfoProto(name=name) for name in outputs]
        graph = helper.make_graph(
            self.nodes,
            "g",
            self.inputs,
            shown,
            [numpy_helper.from_array(a, n) for n, a in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("ai.onnx.ml", 2)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=ir)
        if ir < 4:
            model.graph.input.extend(
                helper.make_tensor_value_info(t.name, t.data_type, t.dims)
                for t in model.graph.initializer
            )
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        known = {
            v.name: v for v in (*inferred.graph.value_info, *inferred.graph.output, *self.inputs)
        }
        del model.graph.output[:]
        for name in outputs:
            made = known.get(name)
            if made is None or not made.type.HasField("tensor_type"):
                raise AssertionError(f"no type known for output {name}")
            model.graph.output.append(made)
        if value_info:
            model.graph.value_info.extend(inferred.graph.value_info)
        return model

    def bytes(self, *outputs: str, **options: Any) -> bytes:
        return self.model(*outputs, **options).SerializeToString()


def dense_relu(
    sizes: Sequence[int], seed: int = 0, dtype: str = "float32", **options: Any
) -> onnx.ModelProto:
    """x -> Gemm, Relu, ..., Gemm -> y with random weights, tensors z1, a1, ..., y."""
    rng = np.random.default_rng(seed)
    graph = Graph(dtype)
    tensor = graph.input("x", ["N", sizes[0]])
    for k, (n, m) in enumerate(pairwise(sizes), start=1):
        last = k == len(sizes) - 1
        w = graph.constant(rng.normal(size=(m, n)), f"W{k}")
        b = graph.constant(rng.normal(size=m), f"b{k}")
        tensor = graph.op("Gemm", tensor, w, b, out="y" if last else f"z{k}", transB=1)
        if not last:
            tensor = graph.op("Relu", tensor, out=f"a{k}")
    return graph.model("y", **options)


def run(
    content: bytes, feeds: dict[str, np.ndarray], names: Sequence[str] | None = None
) -> list[Any]:
    """Evaluate natively, without graph optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return list(session.run(None if names is None else list(names), feeds))


def feeds(model: Model, points: Floats) -> dict[str, np.ndarray]:
    """The points (n, inputs) as the model's inputs; n is 1 where the model takes single samples."""
    out, start = {}, 0
    for spec in model.inputs:
        part = points[:, start : start + spec.size].astype(spec.dtype)
        start += spec.size
        batched = len(spec.features) < len(spec.shape)
        out[spec.name] = part.reshape((len(points), *spec.features) if batched else spec.features)
    return out


def sample(model: Model, rng: np.random.Generator, count: int = 5) -> Floats:
    """Points with small integer entries, as many as the model takes at once."""
    n = model.batch_size or count
    return rng.integers(-4, 5, size=(n, model.network.inputs)).astype(np.float64)


def native(model: Model, points: Floats, content: bytes | None = None) -> list[Floats]:
    """The observed tensors of the model, natively: a list of (n, width)."""
    names = [spec.name for spec in observed_tensors(model)]
    if not names:
        return []
    values = run(content or with_outputs(model, names), feeds(model, points), names)
    return [np.asarray(v, dtype=np.float64).reshape(len(points), -1) for v in values]


def with_dead_units(network: Network, rng: np.random.Generator) -> tuple[Network, Network]:
    """Two networks of equal value: some units' outgoing coefficients made 0, and these units
    dropped. Output nodes keep their units."""
    zeroed, dropped = list(network.layers), list(network.layers)
    for k, layer in enumerate(network.layers):
        if k + 1 in network.outputs or layer.width < 2:
            continue
        keep = np.sort(
            rng.choice(layer.width, max(1, layer.width - layer.width // 3), replace=False)
        )
        gone = np.setdiff1d(np.arange(layer.width), keep)
        dropped[k] = replace(
            dropped[k],
            terms=tuple(Term(t.source, t.map.take(rows=keep)) for t in dropped[k].terms),
            bias=dropped[k].bias[keep],
            origin=dropped[k].origin[keep],
            bias_error=None if layer.bias_error is None else layer.bias_error[keep],
        )
        for c in network.consumers(k + 1):
            zeroed[c] = replace(
                zeroed[c],
                terms=tuple(_without(t, gone) if t.source == k + 1 else t for t in zeroed[c].terms),
            )
            dropped[c] = replace(
                dropped[c],
                terms=tuple(
                    Term(t.source, _columns(t, keep)) if t.source == k + 1 else t
                    for t in dropped[c].terms
                ),
            )
    return replace(network, layers=tuple(zeroed)), replace(network, layers=tuple(dropped))


def _without(term: Term, gone: np.ndarray) -> Term:
    if isinstance(term.map, Scaled):
        scale = np.where(np.isin(term.map.index, gone), 0.0, term.map.scale)
        return Term(term.source, replace(term.map, scale=scale))
    matrix = term.map.rows(slice(None)).copy()
    matrix[:, gone] = 0.0
    return Term(term.source, Dense(matrix))


def _columns(term: Term, keep: np.ndarray) -> Dense | Scaled:
    if not isinstance(term.map, Scaled):
        return Dense(term.map.rows(slice(None))[:, keep])
    position = np.full(term.map.in_features, -1)
    position[keep] = np.arange(len(keep))
    index = position[term.map.index]
    return Scaled(np.maximum(index, 0), np.where(index < 0, 0.0, term.map.scale), len(keep))


class RandomGraph:
    """A random graph of supported operators over one or two inputs, batched or not.

    All numbers are small integers or multiples of 1/4, so that float32 and float64 evaluations are
    exact, unless `inexact`: then divisions and normalisations occur.
    """

    def __init__(self, seed: int, inexact: bool = False) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = Graph(opset=int(self.rng.choice([7, 9, 11, 13, 17])))
        self.inexact = inexact
        self.batch: int | str | None = self.rng.choice(["N", "3", "1"])
        self.batch = "N" if self.batch == "N" else int(self.batch)
        self.live: list[tuple[str, tuple[int, ...]]] = []  # (tensor, shape without the batch axis)
        for k in range(int(self.rng.integers(1, 3))):
            shape = (int(self.rng.integers(2, 6)),)
            if self.rng.random() < 0.3:
                shape = (2, int(self.rng.integers(1, 4)))
            name = self.graph.input(f"in{k}", [self.batch, *shape])
            self.live.append((name, shape))

    def numbers(self, *shape: int) -> np.ndarray:
        return self.rng.integers(-4, 5, size=shape) / self.rng.choice([1.0, 2.0, 4.0])

    def weights(self, *shape: int) -> str:
        """A constant, plain or by way of a constant expression."""
        array = self.numbers(*shape)
        style = self.rng.integers(0, 5)
        graph = self.graph
        if style == 0 and array.ndim == 2:
            return graph.op("Transpose", graph.constant(array.T), perm=[1, 0])
        if style == 1:
            return graph.op("Identity", graph.constant(array))
        if style == 2:
            stored = numpy_helper.from_array(array.astype(graph.dtype))
            return graph.op("Constant", value=stored)
        if style == 3 and array.ndim == 2 and len(array) > 1:
            halves = graph.constant(array[:1]), graph.constant(array[1:])
            return graph.op("Concat", *halves, axis=0)
        return graph.constant(array)

    def pick(self, flat: bool = False) -> tuple[str, tuple[int, ...]]:
        choices = [t for t in self.live if len(t[1]) == 1] if flat else self.live
        if not choices:
            return self.flatten()
        recent = min(len(choices), 3)
        return choices[-1 - int(self.rng.integers(0, recent))]

    def add(self, tensor: str, *shape: int) -> tuple[str, tuple[int, ...]]:
        self.live.append((tensor, shape))
        return self.live[-1]

    def flatten(self) -> tuple[str, tuple[int, ...]]:
        name, shape = self.pick()
        size = int(np.prod(shape))
        if self.rng.random() < 0.5:
            return self.add(self.graph.op("Flatten", name, axis=1), size)
        target = self.graph.constant(np.array([[0, -1], [-1, size]][int(self.rng.integers(0, 2))]))
        return self.add(self.graph.op("Reshape", name, target), size)

    def dense(self) -> None:
        name, (width,) = self.pick(flat=True)
        out = int(self.rng.integers(1, 6))
        graph, style = self.graph, self.rng.integers(0, 4)
        if style == 0:
            turned = bool(self.rng.integers(0, 2))
            weights = self.weights(out, width) if turned else self.weights(width, out)
            inputs = [name, weights]
            if self.rng.random() < 0.7 or graph.opset < 11:
                shapes = [(out,), (1, out), (1,)]
                inputs.append(self.weights(*shapes[int(self.rng.integers(0, 3))]))
            attributes: dict[str, Any] = {"transB": int(turned)}
            if self.rng.random() < 0.3:
                attributes["alpha"] = float(self.rng.choice([-1.0, 0.5, 3.0]))
                attributes["beta"] = float(self.rng.choice([-1.0, 2.0, 3.0, 0.0]))
            self.add(graph.op("Gemm", *inputs, **attributes), out)
        else:
            made = graph.op("MatMul", name, self.weights(width, out))
            if style > 1:
                bias = self.weights(out)
                made = graph.op("Add", *([bias, made] if style == 2 else [made, bias]))
            self.add(made, out)

    def relu(self) -> None:
        name, shape = self.pick()
        graph, style = self.graph, self.rng.integers(0, 4)
        if style == 0 and graph.opset >= 8:
            zero = graph.constant(np.zeros(()))
            made = graph.op("Max", *([name, zero] if self.rng.random() < 0.5 else [zero, name]))
        elif style == 1 and graph.opset >= 11:
            made = graph.op("Clip", name, graph.constant(np.zeros(())))
        elif style == 1:
            made = graph.op("Clip", name, min=0.0)
        else:
            made = graph.op("Relu", name)
        self.add(made, *shape)

    def elementwise(self) -> None:
        name, shape = self.pick()
        graph = self.graph
        kind = str(
            self.rng.choice(
                ["Add", "Sub", "Mul", "Neg", "Rsub", "Div", "pair", "BatchNormalization"]
            )
        )
        last = shape[-1:] if self.rng.random() < 0.7 else ()
        if kind == "Neg":
            self.add(graph.op("Neg", name), *shape)
        elif kind == "Rsub":
            self.add(graph.op("Sub", self.weights(*last), name), *shape)
        elif kind == "Div":
            divisor = self.rng.choice(
                [1.0, 2.0, -0.5] if not self.inexact else [3.0, 0.7, -2.0], size=last
            )
            self.add(graph.op("Div", name, graph.constant(divisor)), *shape)
        elif kind == "pair":
            same = [t for t, s in self.live if s == shape]
            other = same[int(self.rng.integers(0, len(same)))]
            self.add(graph.op(str(self.rng.choice(["Add", "Sub"])), name, other), *shape)
        elif kind == "BatchNormalization":
            if not self.inexact:
                return
            parts = [self.numbers(shape[0]) for _ in range(3)] + [self.rng.random(shape[0]) + 0.5]
            constants = [graph.constant(np.asarray(p)) for p in parts]
            self.add(graph.op("BatchNormalization", name, *constants), *shape)
        else:
            self.add(graph.op(kind, name, self.weights(*last)), *shape)

    def move(self) -> None:
        name, shape = self.pick()
        graph = self.graph
        kind = int(self.rng.integers(0, 7))
        if kind == 0 and len(shape) == 2:
            self.add(graph.op("Transpose", name, perm=[0, 2, 1]), *shape[::-1])
        elif kind == 1 and len(shape) == 1 and shape[0] % 2 == 0:
            target = graph.constant(np.array([-1, 2, shape[0] // 2]))
            self.add(graph.op("Reshape", name, target), 2, shape[0] // 2)
        elif kind == 2:
            axis = len(shape)
            index = self.rng.integers(-shape[-1], shape[-1], size=int(self.rng.integers(1, 5)))
            picked = graph.op("Gather", name, graph.constant(index), axis=axis)
            self.add(picked, *shape[:-1], len(index))
        elif kind == 3 and shape[-1] > 1 and graph.opset >= 10:
            ends = [graph.constant(np.array([v])) for v in (1, 2**31 - 1, len(shape))]
            self.add(graph.op("Slice", name, *ends), *shape[:-1], shape[-1] - 1)
        elif kind == 4:
            other = [t for t in self.live if len(t[1]) == len(shape) and t[1][:-1] == shape[:-1]]
            second = other[int(self.rng.integers(0, len(other)))]
            joined = graph.op("Concat", name, second[0], axis=len(shape))
            self.add(joined, *shape[:-1], shape[-1] + second[1][-1])
        elif kind == 5:
            self.add(graph.op("Identity", name), *shape)
        else:
            self.flatten()

    def build(self, steps: int = 10) -> bytes:
        """The finished model: dense layers behind what was made, and sometimes more outputs."""
        for _ in range(steps):
            step = self.rng.choice(["dense", "dense", "relu", "relu", "elementwise", "move"])
            getattr(self, str(step))()
        self.dense()
        self.relu()
        self.dense()
        outputs = [self.live[-1][0]]
        if self.rng.random() < 0.4:
            outputs.append(self.live[-2 - int(self.rng.integers(0, 3))][0])
        made = {o for n in self.graph.nodes for o in n.output}
        return self.graph.bytes(
            *dict.fromkeys(o for o in outputs if o in made), ir=int(self.rng.choice([3, 8]))
        )
