"""The checker's own small reader of ONNX files: affine nodes with or without a ReLU, and the rest
of the graph.

Semantics: real arithmetic on the stored numbers, axis 0 counts samples. Node 0 is the input vector
(all graph inputs, flattened, side by side); node k >= 1 is z = sum over sources s of W_s h_s + b, h
= max(z, 0) if relu else z. A tensor of the graph is a `Pick`: an array of (node, unit). What is not
affine and no ReLU is opaque: `skeleton` describes the inputs and, for every graph output, the
operators (with their attributes and constants) that lead from picks, the `cuts`, to it. Two files
with equal skeletons compute the same outputs wherever their cuts have the same values.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Array = NDArray[Any]
ROUNDED = 2.0**-50  # relative error of a coefficient that float64 computed in up to three steps
LARGEST = 1 << 27  # entries of a matrix that the checker builds itself


class Unreadable(Exception):  # noqa: N818
    """The file is no proof, no model, or uses what the checker does not know."""


@dataclass(frozen=True)
class Node:
    """terms: source -> (width, width of source) float64. slack: relative error of the
    coefficients, of which there is one a unit then, computed from the stored numbers `given`:
    (width, n)."""

    name: str
    terms: dict[int, Array]
    bias: Array
    relu: bool
    slack: float = 0.0
    given: Array | None = None


@dataclass(frozen=True)
class Pick:
    """nodes, units: arrays of the tensor's shape without its first axis."""

    nodes: Array
    units: Array


@dataclass(frozen=True)
class Opaque:
    """The value of an operator that the checker does not look into. inputs: tensors."""

    operator: tuple[Any, ...]
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Axes:
    """A tensor that holds a shape: numbers, and "N" for the number of samples."""

    sizes: tuple[Any, ...]


@dataclass
class Net:
    """nodes[0] is a placeholder for the input. cuts: picks that the skeleton refers to by
    position."""

    widths: list[int]
    nodes: list[Node]
    cuts: list[Pick] = field(default_factory=list)
    skeleton: tuple[Any, ...] = ()
    sha256: str = ""


def read_net(source: Path | bytes) -> Net:
    """Read a model file, or its bytes. Raises Unreadable."""
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
        proto = onnx.load_model_from_string(content)
        if isinstance(source, Path):
            onnx.load_external_data_for_model(proto, str(source.parent))
        net = _Reader(proto).read()
    except Unreadable as error:
        raise Unreadable(f"{source if isinstance(source, Path) else 'model'}: {error}") from None
    except Exception as error:  # whatever a malformed file does to the parser
        kind = f"{type(error).__name__}: {error}"
        raise Unreadable(f"{source if isinstance(source, Path) else 'model'}: {kind}") from error
    net.sha256 = hashlib.sha256(content).hexdigest()
    return net


class _Reader:
    def __init__(self, proto: onnx.ModelProto) -> None:
        self.graph = proto.graph
        if proto.functions:
            raise Unreadable("local functions are not read by the checker")
        self.values: dict[str, Any] = {
            t.name: numpy_helper.to_array(t) for t in self.graph.initializer
        }
        self.nodes = [Node("input", {}, np.zeros(0), False)]
        self.cut_of: dict[str, int] = {}
        self.cuts: list[Pick] = []

    def read(self) -> Net:
        start, inputs = 0, []
        for spec in self.graph.input:
            if spec.name in self.values:
                continue
            axes = [d.dim_value for d in spec.type.tensor_type.shape.dim]
            if len(axes) < 2 or any(size <= 0 for size in axes[1:]):
                raise Unreadable(f'input "{spec.name}" has no axis of samples before its features')
            inputs.append((spec.name, spec.type.tensor_type.elem_type, tuple(axes[1:])))
            size = int(np.prod(axes[1:]))
            units = np.arange(start, start + size).reshape(axes[1:])
            self.values[spec.name] = Pick(np.zeros_like(units), units)
            start += size
        self.nodes[0] = Node("input", {}, np.zeros(start), False)
        for node in self.graph.node:
            self._operator(node)
        outputs = tuple((o.name, self._key(o.name)) for o in self.graph.output)
        return self._reachable((tuple(inputs), outputs))

    def _reachable(self, skeleton: tuple[Any, ...]) -> Net:
        """The nodes that the cuts depend on, numbered anew."""
        needed = {0} | {int(k) for cut in self.cuts for k in np.unique(cut.nodes)}
        for k in range(len(self.nodes) - 1, 0, -1):
            if k in needed:
                needed.update(self.nodes[k].terms)
        number = {old: new for new, old in enumerate(sorted(needed))}
        nodes = [
            Node(
                n.name, {number[s]: w for s, w in n.terms.items()}, n.bias, n.relu, n.slack, n.given
            )
            for n in (self.nodes[k] for k in sorted(needed))
        ]
        renumber = np.vectorize(number.__getitem__, otypes=[np.int64])
        cuts = [Pick(renumber(c.nodes) if c.nodes.size else c.nodes, c.units) for c in self.cuts]
        for node in nodes:
            for part in (node.bias, *node.terms.values()):
                if not np.isfinite(part).all():
                    raise Unreadable(f'"{node.name}" has a weight that is not finite')
        return Net([len(n.bias) for n in nodes], nodes, cuts, skeleton)

    def _key(self, tensor: str) -> tuple[Any, ...]:
        value = self.values.get(tensor)
        if isinstance(value, Pick):
            if tensor not in self.cut_of:
                self.cut_of[tensor] = len(self.cuts)
                self.cuts.append(value)
            return ("cut", self.cut_of[tensor], value.units.shape)
        if isinstance(value, Opaque):
            return (value.operator, *(self._key(i) if i else () for i in value.inputs))
        if isinstance(value, Axes):
            return ("shape", value.sizes)
        if value is None:
            raise Unreadable(f'tensor "{tensor}" is not computed')
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return ("constant", str(value.dtype), value.shape, digest)

    def _operator(self, node: onnx.NodeProto) -> None:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if any(a.g.node or a.graphs for a in node.attribute):
            raise Unreadable(f'{node.op_type} "{node.name}" has a subgraph')
        known = [self.values.get(i) if i else None for i in node.input]
        result = None
        handler = getattr(self, f"op_{node.op_type.lower()}", None)
        if handler is not None and node.domain in ("", "ai.onnx", "ai.onnx.ml", "com.microsoft"):
            result = handler(node.output[0], attributes, *known)
        if result is None:
            wire = tuple(sorted(a.SerializeToString(deterministic=True) for a in node.attribute))
            for place, name in enumerate(node.output):
                operator = (node.domain, node.op_type, wire, place)
                self.values[name] = Opaque(operator, tuple(node.input))
            return
        self.values[node.output[0]] = result

    # Operators. Each gives the value of the first output, or None for what it does not know.

    def _add_node(self, name: str, terms: dict[int, Array], bias: Array, relu: bool = False,
                  slack: float = 0.0, given: Array | None = None) -> Pick:  # fmt: skip
        bias = np.array(bias, np.float64)
        for part in (bias, *terms.values()):
            part.setflags(write=False)
        self.nodes.append(Node(name, terms, bias, relu, slack, given))
        return Pick(np.full(len(bias), len(self.nodes) - 1), np.arange(len(bias)))

    def _affine(self, name: str, matrix: Array, pick: Pick, bias: Any = 0.0) -> Pick:
        """matrix (out, features) applied to the elements of a pick, plus bias."""
        nodes, units = pick.nodes.ravel(), pick.units.ravel()
        if matrix.size > LARGEST:
            raise Unreadable(f'"{name}": a matrix of {matrix.size} entries')
        if len(set(zip(nodes.tolist(), units.tolist(), strict=True))) < len(nodes):
            # an element that occurs twice: its coefficients must not be added in floats
            return self._affine(name, matrix, self._rows(name, pick), bias)
        terms = {}
        for s in np.unique(nodes).tolist():
            at = nodes == s
            terms[s] = np.zeros((len(matrix), len(self.nodes[s].bias)))
            terms[s][:, units[at]] = matrix[:, at]
        return self._add_node(name, terms, np.zeros(len(matrix)) + bias)

    def _rows(self, name: str, pick: Pick, scale: Any = 1.0, given: Array | None = None) -> Pick:
        """A node whose units are `scale` times the elements of a pick, computed from `given`."""
        nodes, units = pick.nodes.ravel(), pick.units.ravel()
        scale = np.zeros(len(nodes)) + scale
        terms = {}
        for s in np.unique(nodes).tolist():
            at = np.flatnonzero(nodes == s)
            if len(nodes) * len(self.nodes[s].bias) > LARGEST:
                raise Unreadable(f'"{name}": a selection of {len(nodes)} features')
            terms[s] = np.zeros((len(nodes), len(self.nodes[s].bias)))
            terms[s][at, units[at]] = scale[at]
        return self._add_node(name, terms, np.zeros(len(nodes)), False,
                              0.0 if given is None else ROUNDED, given)  # fmt: skip

    def _whole(self, pick: Pick) -> int:
        """The node whose units the pick lists in order, or -1."""
        k = int(pick.nodes.flat[0]) if pick.nodes.size else 0
        same = k > 0 and np.all(pick.nodes == k) and pick.nodes.size == len(self.nodes[k].bias)
        return k if same and np.array_equal(pick.units.ravel(), np.arange(pick.units.size)) else -1

    def _shaped(self, pick: Pick, like: Array) -> Pick:
        return Pick(pick.nodes.reshape(like.shape), pick.units.reshape(like.shape))

    def _plus(self, name: str, pick: Pick, constant: Array) -> Pick | None:
        bias = _features(constant, pick.units.shape)
        if bias is None:
            return None
        k = self._whole(pick)
        if k < 0 or self.nodes[k].relu or self.nodes[k].bias.any():
            self._rows(name, pick)
            k = len(self.nodes) - 1
        node = self.nodes[k]
        made = self._add_node(name, node.terms, bias.ravel(), False, node.slack, node.given)
        return self._shaped(made, pick.units)

    def op_add(self, name: str, attributes: Any, a: Any, b: Any) -> Any:
        if isinstance(a, Pick) and isinstance(b, Pick) and a.units.shape == b.units.shape:
            return self._sum(name, a, b, 1.0)
        if isinstance(a, Pick) and isinstance(b, np.ndarray):
            return self._plus(name, a, b)
        if isinstance(b, Pick) and isinstance(a, np.ndarray):
            return self._plus(name, b, a)
        return None

    def op_sub(self, name: str, attributes: Any, a: Any, b: Any) -> Any:
        if isinstance(a, Pick) and isinstance(b, Pick) and a.units.shape == b.units.shape:
            return self._sum(name, a, b, -1.0)
        if isinstance(a, Pick) and isinstance(b, np.ndarray):
            return self._plus(name, a, -b)
        if isinstance(b, Pick) and isinstance(a, np.ndarray):
            return self._plus(name, self._shaped(self._rows(name, b, -1.0), b.units), a)
        return None

    def _sum(self, name: str, a: Pick, b: Pick, sign: float) -> Pick:
        first, second = self._rows(name, a), self._rows(name, b, sign)
        left, right = self.nodes[int(first.nodes[0])], self.nodes[int(second.nodes[0])]
        terms = dict(left.terms)
        for s, w in right.terms.items():  # entries 0, 1, -1: their sums are exact
            terms[s] = terms[s] + w if s in terms else w
        return self._shaped(self._add_node(name, terms, left.bias), a.units)

    def op_mul(self, name: str, attributes: Any, a: Any, b: Any) -> Any:
        pick, constant = (a, b) if isinstance(a, Pick) else (b, a)
        if not isinstance(pick, Pick) or not isinstance(constant, np.ndarray):
            return None
        scale = _features(constant, pick.units.shape)
        if scale is None:
            return None
        return self._shaped(self._rows(name, pick, scale.ravel()), pick.units)

    def op_div(self, name: str, attributes: Any, a: Any, b: Any) -> Any:
        if not isinstance(a, Pick) or not isinstance(b, np.ndarray):
            return None
        divisor = _features(b, a.units.shape)
        if divisor is None or not divisor.all():
            return None
        exact = np.all(np.frexp(np.abs(divisor))[0] == 0.5)
        given = None if exact else divisor.reshape(-1, 1)
        made = self._rows(name, a, (1.0 / divisor).ravel(), given)
        return self._shaped(made, a.units)

    def op_matmul(self, name: str, attributes: Any, a: Any, b: Any) -> Any:
        if not isinstance(a, Pick) or not isinstance(b, np.ndarray) or b.ndim != 2:
            return None
        if a.units.size != a.units.shape[-1] or a.units.size != len(b):
            return None
        made = self._affine(name, np.asarray(b, np.float64).T, a)
        shape = (*a.units.shape[:-1], b.shape[1])
        return Pick(made.nodes.reshape(shape), made.units.reshape(shape))

    def op_gemm(self, name: str, attributes: Any, a: Any, b: Any, c: Any = None) -> Any:
        alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
        if not isinstance(a, Pick) or not isinstance(b, np.ndarray) or a.units.ndim != 1:
            return None
        if attributes.get("transA", 0) or isinstance(c, (Pick, Opaque)):
            return None
        if (alpha != 1.0 or beta != 1.0) and b.dtype == np.float64:
            return None  # only products of float32 numbers are exact in float64
        matrix = (
            np.asarray(b, np.float64) if attributes.get("transB", 0) else b.T.astype(np.float64)
        )
        bias = np.zeros(len(matrix))
        if c is not None:
            found = _features(np.atleast_1d(c), (len(matrix),))
            if found is None:
                return None
            bias = found * beta
        return self._affine(name, matrix * alpha, a, bias)

    def op_fusedgemm(self, name: str, attributes: Any, *inputs: Any) -> Any:
        if attributes.get("activation", b"") != b"Relu":
            return None
        made = self.op_gemm(name, attributes, *inputs)
        return None if made is None else self.op_relu(name, {}, made)

    def op_relu(self, name: str, attributes: Any, a: Any) -> Any:
        if not isinstance(a, Pick):
            return None
        k = self._whole(a)
        if k < 0 or self.nodes[k].relu:
            k = int(self._rows(name, a).nodes[0])
        node = self.nodes[k]
        made = self._add_node(name, node.terms, node.bias, True, node.slack, node.given)
        return self._shaped(made, a.units)

    def op_max(self, name: str, attributes: Any, *values: Any) -> Any:
        picks = [v for v in values if isinstance(v, Pick)]
        others = [v for v in values if not isinstance(v, Pick)]
        if len(picks) != 1 or not all(isinstance(v, np.ndarray) and not v.any() for v in others):
            return None
        return self.op_relu(name, {}, picks[0]) if others else picks[0]

    def op_clip(self, name: str, attributes: Any, a: Any, low: Any = None, high: Any = None) -> Any:
        low = attributes.get("min", low)
        high = attributes.get("max", high)
        if isinstance(high, (Pick, Opaque)) or isinstance(low, (Pick, Opaque)) or low is None:
            return None
        bounded = high is not None and float(np.min(high)) < float(np.finfo(np.float32).max)
        return None if bounded or np.any(low) else self.op_relu(name, {}, a)

    def op_leakyrelu(self, name: str, attributes: Any, a: Any) -> Any:
        return self.op_relu(name, {}, a) if attributes.get("alpha", 0.01) == 0.0 else None

    def op_batchnormalization(self, name: str, attributes: Any, a: Any, scale: Any, shift: Any,
                            mean: Any, variance: Any) -> Any:  # fmt: skip
        parts = (scale, shift, mean, variance)
        if not isinstance(a, Pick) or not all(isinstance(p, np.ndarray) for p in parts):
            return None
        if attributes.get("training_mode", 0) or a.units.ndim != 1:
            return None
        root = np.sqrt(variance.astype(np.float64) + float(attributes.get("epsilon", 1e-5)))
        centred = self._plus(name, a, -mean)
        if centred is None or not np.all(root > 0) or np.any(variance < 0):
            return None
        given = np.stack(
            [scale, variance, np.full(scale.shape, attributes.get("epsilon", 1e-5))], 1
        )
        made = self._rows(name, centred, scale.astype(np.float64) / root, given.astype(np.float64))
        return self._plus(name, made, shift)

    def op_scaler(self, name: str, attributes: Any, a: Any) -> Any:
        if not isinstance(a, Pick):
            return None
        centred = self._plus(name, a, -np.array(attributes["offset"], np.float64))
        return None if centred is None else self.op_mul(
            name, {}, centred, np.array(attributes["scale"], np.float64)
        )  # fmt: skip

    def op_constant(self, name: str, attributes: Any) -> Any:
        if "value" in attributes:
            return numpy_helper.to_array(attributes["value"])
        for key, kind in (("value_float", np.float32), ("value_floats", np.float32),
                          ("value_int", np.int64), ("value_ints", np.int64)):  # fmt: skip
            if key in attributes:
                return np.array(attributes[key], kind)
        return None

    def op_cast(self, name: str, attributes: Any, a: Any) -> Any:
        kind = onnx.helper.tensor_dtype_to_np_dtype(attributes["to"])
        if isinstance(a, np.ndarray):
            return a.astype(kind)
        return a if isinstance(a, Pick) and kind in (np.float16, np.float32, np.float64) else None

    def op_identity(self, name: str, attributes: Any, a: Any, *rest: Any) -> Any:
        return a if isinstance(a, (Pick, np.ndarray, Axes)) else None

    def op_dropout(self, name: str, attributes: Any, a: Any, ratio: Any = None, train: Any = None
                 ) -> Any:  # fmt: skip
        off = train is None or (isinstance(train, np.ndarray) and not train.any())
        return a if isinstance(a, Pick) and off else None

    def op_flatten(self, name: str, attributes: Any, a: Any) -> Any:
        if not isinstance(a, Pick) or attributes.get("axis", 1) != 1:
            return None
        return Pick(a.nodes.ravel(), a.units.ravel())

    def op_reshape(self, name: str, attributes: Any, a: Any, shape: Any) -> Any:
        if isinstance(a, np.ndarray) and isinstance(shape, np.ndarray):
            return a.reshape(shape.tolist())
        sizes = list(shape.sizes) if isinstance(shape, Axes) else None
        if isinstance(shape, np.ndarray):
            sizes = shape.tolist()
        if not isinstance(a, Pick) or not sizes or len(sizes) < 2 or "N" in sizes[1:]:
            return None
        for i in range(1, len(sizes)):
            if sizes[i] == 0 and i <= a.units.ndim and not attributes.get("allowzero", 0):
                sizes[i] = a.units.shape[i - 1]
        rest = [size for size in sizes[1:] if size != -1]
        unknown = len(sizes) - 1 - len(rest)
        if unknown > 1 or (unknown and sizes[0] == -1):
            return None
        if unknown and (not rest or a.units.size % int(np.prod(rest)) == 0):
            lacking = a.units.size // int(np.prod(rest))
            sizes = [sizes[0], *(lacking if size == -1 else size for size in sizes[1:])]
        if int(np.prod(sizes[1:])) != a.units.size:
            return None
        return Pick(a.nodes.reshape(sizes[1:]), a.units.reshape(sizes[1:]))

    def op_squeeze(self, name: str, attributes: Any, a: Any, axes: Any = None) -> Any:
        where = attributes.get("axes", axes)
        if isinstance(a, np.ndarray):
            return np.squeeze(a, None if where is None else tuple(np.atleast_1d(where).tolist()))
        if not isinstance(a, Pick) or not isinstance(where, (list, np.ndarray)):
            return None
        dims = [int(i) % (a.units.ndim + 1) for i in np.atleast_1d(where)]
        if 0 in dims or any(a.units.shape[i - 1] != 1 for i in dims) or len(dims) == a.units.ndim:
            return None
        keep = [n for i, n in enumerate(a.units.shape, start=1) if i not in dims]
        return Pick(a.nodes.reshape(keep), a.units.reshape(keep))

    def op_unsqueeze(self, name: str, attributes: Any, a: Any, axes: Any = None) -> Any:
        where = attributes.get("axes", axes)
        if isinstance(a, np.ndarray) and where is not None:
            return np.expand_dims(a, tuple(np.atleast_1d(where).tolist()))
        return None

    def op_transpose(self, name: str, attributes: Any, a: Any) -> Any:
        return np.transpose(a, attributes.get("perm")) if isinstance(a, np.ndarray) else None

    def op_shape(self, name: str, attributes: Any, a: Any) -> Any:
        return Axes(("N", *a.units.shape)) if isinstance(a, Pick) and not attributes else None

    def op_gather(self, name: str, attributes: Any, a: Any, index: Any) -> Any:
        axis = attributes.get("axis", 0)
        if not isinstance(index, np.ndarray):
            return None
        if isinstance(a, Axes) and axis == 0:
            return Axes(tuple(a.sizes[i] for i in np.atleast_1d(index)))
        if isinstance(a, np.ndarray):
            return np.take(a, index, axis)
        if not isinstance(a, Pick) or axis % (a.units.ndim + 1) == 0 or index.ndim != 1:
            return None
        axis = axis % (a.units.ndim + 1) - 1
        return Pick(np.take(a.nodes, index, axis), np.take(a.units, index, axis))

    def op_concat(self, name: str, attributes: Any, *values: Any) -> Any:
        axis = attributes["axis"]
        if all(isinstance(v, np.ndarray) for v in values):
            return np.concatenate(values, axis)
        if all(isinstance(v, (Axes, np.ndarray)) for v in values):
            lists = [v.sizes if isinstance(v, Axes) else tuple(v.tolist()) for v in values]
            return Axes(tuple(size for part in lists for size in part))
        if not all(isinstance(v, Pick) for v in values):
            return None
        if axis % (values[0].units.ndim + 1) == 0:
            return None
        axis = axis % (values[0].units.ndim + 1) - 1
        return Pick(
            np.concatenate([v.nodes for v in values], axis),
            np.concatenate([v.units for v in values], axis),
        )

    def op_expand(self, name: str, attributes: Any, a: Any, shape: Any) -> Any:
        """A row of constants, repeated for each sample."""
        if not isinstance(a, np.ndarray) or not isinstance(shape, Axes) or a.shape[0] != 1:
            return None
        if shape.sizes[0] != "N" or tuple(shape.sizes[1:]) != a.shape[1:]:
            return None
        made = self._add_node(name, {}, a.ravel().astype(np.float64))
        return Pick(made.nodes.reshape(a.shape[1:]), made.units.reshape(a.shape[1:]))


def _features(constant: Array, shape: tuple[int, ...]) -> Array | None:
    """A constant broadcast to one sample's features; None where it differs between samples."""
    value = np.asarray(constant, np.float64)
    try:
        return np.asarray(np.broadcast_to(value, (1, *shape))[0])
    except ValueError:
        return None
