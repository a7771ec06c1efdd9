"""The checker's own small reader of ONNX files: affine nodes with or without a ReLU, and the rest.

Semantics: real arithmetic on the stored numbers. Node 0 is the input vector (all graph inputs,
flattened, side by side); node k >= 1 is z = sum over sources s of W_s h_s + b, h = max(z, 0) if
relu else z. The graph is read for one, two and three samples (or as many as its inputs have), and
must be the same nodes each time. A tensor is followed as an array of ids, one for each element.
Operators that only move values are run on these ids by onnx's own reference implementation; what
comes out must be the same elements of each sample. Affine operators and ReLUs become nodes. All
others are opaque: `skeleton` tells the inputs and, for every output, which operators lead from
known tensors, the `cuts`, to it. Two files with equal skeletons compute the same outputs wherever
their cuts have the same values.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Array = NDArray[Any]
ROUNDED = 2.0**-50  # relative error of a coefficient that float64 computed in up to three steps
LARGEST = 1 << 13  # units of a node that the checker adds for an operator on each element
WIDE, SPAN = 1 << 24, 1 << 44  # between the ids of two nodes, and of two samples
MOVES = {"Concat", "Dropout", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice",
         "Squeeze", "Transpose", "Unsqueeze"}  # fmt: skip
FOLDS = {"Cast", "Constant", "ConstantOfShape", "Shape", *MOVES}
FLOATS = (onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)


class Unreadable(Exception):  # noqa: N818
    """The file is no proof, no model, or uses what the checker does not know."""


@dataclass(frozen=True)
class Node:
    """terms: source -> (width, width of source) float64. slack: relative error of coefficients that
    were computed from the stored numbers `given`."""

    name: str
    terms: dict[int, Array]
    bias: Array
    relu: bool
    slack: float = 0.0
    given: bytes = b""

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for nodes that compute the same."""
        terms = tuple(sorted((s, w.tobytes()) for s, w in self.terms.items()))
        return self.relu, self.slack, self.given, self.bias.tobytes(), terms


@dataclass(frozen=True)
class Net:
    """nodes[0] is a placeholder for the input. cuts: (elements, 2) arrays of (node, unit)."""

    nodes: list[Node]
    cuts: list[Array] = field(default_factory=list)
    skeleton: tuple[Any, ...] = ()
    sha256: str = ""


@dataclass(frozen=True)
class Units:
    """A tensor of units of nodes. ids: sample * SPAN + node * WIDE + unit."""

    ids: Array


def read_net(source: Path | bytes, after: Net | None = None) -> Net:
    """Read a model file, or its bytes. after: another model whose nodes come first, and are used
    again where they are the same. Raises Unreadable."""
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
        proto = onnx.load_model_from_string(content)
        if isinstance(source, Path):
            onnx.load_external_data_for_model(proto, str(source.parent))
        proto = onnx.inliner.inline_local_functions(proto) if proto.functions else proto
        reader = _Reader(proto, after.nodes if after else [])
        found = [reader.read(count) for count in _counts(proto.graph)]
        cuts = found[0][1]
        if any(list(map(bytes, other)) != list(map(bytes, cuts)) for _, other in found):
            raise Unreadable("other units lead to its outputs for another number of samples")
        number = reader.prune(cuts, len(after.nodes) if after else 1)
        cuts = [np.stack([number[cut // WIDE], cut % WIDE], axis=1) for cut in cuts]
        sha256 = hashlib.sha256(content).hexdigest()
        return Net(reader.nodes, cuts, tuple(skeleton for skeleton, _ in found), sha256)
    except Exception as error:  # whatever a malformed file does to the parser
        kind = "" if isinstance(error, Unreadable) else f"{type(error).__name__}: "
        name = source if isinstance(source, Path) else "model"
        raise Unreadable(f"{name}: {kind}{error}") from error


def _counts(graph: onnx.GraphProto) -> list[int]:
    """The numbers of samples for which a graph is read."""
    weights, first = {t.name for t in graph.initializer}, set()
    for spec in (s for s in graph.input if s.name not in weights):
        shape = [d.dim_value for d in spec.type.tensor_type.shape.dim]
        if not spec.type.tensor_type.HasField("shape") or min(shape[1:] or shape, default=1) <= 0:
            raise Unreadable(f'input "{spec.name}": export the model with a fixed shape, of '
                             "which at most the axis of samples is free")  # fmt: skip
        first.add(shape[0] if len(shape) > 1 else -1)
    if len(first) > 1 and 0 in first:
        raise Unreadable("the axis of samples is free in some of its inputs only")
    return [1, 2, 3] if first == {0} else [max(*first, 1)] if len(first) == 1 else [1]


class _Reader:
    """values: of each tensor Units, a constant, or, where it is opaque, a tuple of the operator and
    its inputs. nodes: those that are known, and what it adds. count: of samples."""

    def __init__(self, proto: onnx.ModelProto, known: list[Node]) -> None:
        self.graph, self.opsets = proto.graph, {o.domain: o.version for o in proto.opset_import}
        self.constants = {t.name: numpy_helper.to_array(t) for t in self.graph.initializer}
        self.nodes, self.places = list(known), {node.key: k for k, node in enumerate(known)}

    def read(self, count: int) -> tuple[tuple[Any, ...], list[Array]]:
        """The skeleton for a number of samples, and the ids of each cut in the first sample."""
        self.count = count
        self.values: dict[str, Any] = {**self.constants, "": None}
        self.keys: dict[str, tuple[Any, ...]] = {"": ()}
        self.cuts: list[Array] = []
        inputs, waiting = self._inputs(), list(self.graph.node)
        while waiting:
            ready = [node for node in waiting if all(i in self.values for i in node.input)]
            if not ready:
                raise Unreadable(f'"{waiting[0].name}" reads a tensor that nothing computes')
            waiting.remove(ready[0])
            self._operator(ready[0])
        return (inputs, *((o.name, self._key(o.name)) for o in self.graph.output)), self.cuts

    def prune(self, cuts: list[Array], kept: int) -> Array:
        """Leave out new nodes that no cut depends on; the new number of each node."""
        keep = np.arange(len(self.nodes)) < kept
        for cut in cuts:
            keep[cut // WIDE] = True
        for k in reversed(range(len(self.nodes))):
            keep[list(self.nodes[k].terms)] |= keep[k]
        number = np.cumsum(keep) - 1
        self.nodes[kept:] = [
            replace(node, terms={int(number[s]): w for s, w in node.terms.items()})
            for node, stays in zip(self.nodes[kept:], keep[kept:], strict=True) if stays
        ]  # fmt: skip
        return number

    def _inputs(self) -> tuple[Any, ...]:
        found, start = [], 0
        for spec in (s for s in self.graph.input if s.name not in self.values):
            kind = spec.type.tensor_type
            shape = tuple(d.dim_value for d in kind.shape.dim)
            found.append((spec.name, kind.elem_type, shape))
            full = (self.count, *shape[1:]) if len(shape) > 1 and not shape[0] else shape
            size = int(np.prod(full)) // self.count
            self.values[spec.name] = self._units(np.arange(start, start + size), full)
            start += size
        if self._append(Node("input", {}, np.zeros(start), False)):
            raise Unreadable("its inputs have another size than the other model's")
        return tuple(found)

    def _append(self, node: Node) -> int:
        """The number of a node, which is new unless there is one that is the same."""
        k = self.places.setdefault(node.key, len(self.nodes))
        for part in (node.bias, *node.terms.values()):
            part.setflags(write=False)
            if not np.isfinite(part).all():
                raise Unreadable(f'"{node.name}" has a weight that is not finite')
        self.nodes += [node] if k == len(self.nodes) else []
        return k

    def _units(self, first: Array, shape: tuple[int, ...]) -> Units:
        """A tensor, from the ids of its first sample."""
        return Units((first + SPAN * np.arange(self.count)[:, None]).reshape(shape))

    def _first(self, values: Array, span: int = 0) -> Array | None:
        """What a tensor has for the first sample, flat; None if for others it is something else."""
        if self.count > 1 and values.shape[:1] != (self.count,):
            return None
        rows = values.reshape(self.count, -1)
        same = np.array_equal(rows, rows[0] + span * np.arange(self.count)[:, None])
        return rows[0] if same and (not span or rows[0].max(initial=0) < span) else None

    def _key(self, tensor: str) -> tuple[Any, ...]:
        """What a tensor is, apart from the values of cuts."""
        if tensor not in self.keys:
            value = self.values[tensor]
            if isinstance(value, Units):
                self.cuts.append(value.ids.reshape(self.count, -1)[0])
                whole = repr((len(self.cuts), value.ids.shape))
            elif isinstance(value, tuple):
                whole = repr((value[0], *map(self._key, value[1])))
            else:
                whole = repr((value.dtype.str, value.shape, value.tobytes()))
            self.keys[tensor] = type(value).__name__, hashlib.sha256(whole.encode()).hexdigest()
        return self.keys[tensor]

    def _operator(self, node: onnx.NodeProto) -> None:
        domain = "" if node.domain == "ai.onnx" else node.domain
        kind = f"{domain}:{node.op_type}".lstrip(":")
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if any(a.g.node or a.graphs for a in node.attribute):
            raise Unreadable(f'{kind} "{node.name}" has a subgraph; export the model without it')
        values = [self.values[i] for i in node.input]
        result = self._affine(kind, node.output[0], attributes, values)
        if result is None and kind in FOLDS:
            result = self._moved(node, values)
        wire = tuple(sorted(a.SerializeToString(deterministic=True) for a in node.attribute))
        version = self.opsets.get(node.domain, self.opsets.get(domain))
        for at, name in enumerate(node.output):
            opaque = (kind, version, wire, at), tuple(node.input)
            self.values[name] = opaque if at or result is None else result

    def _moved(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        """What an operator that only moves values gives; None if it does more, or chooses among
        samples."""
        kind, data = node.op_type, len(values) if node.op_type == "Concat" else 1
        units = [isinstance(value, Units) for value in values]
        moved = any(units[:data]) and kind != "Shape"
        unknown = any(units[data:]) or any(isinstance(value, tuple) for value in values)
        random = kind == "Dropout" and any(np.any(value) for value in values[2:])
        if unknown or random or (moved and (kind not in MOVES or not all(units[:data]))):
            return None
        given = [v.ids if isinstance(v, Units) else v for v in values]
        ends: Any = [[helper.make_empty_tensor_value_info(n) for n in dict.fromkeys(names) if n]
                for names in (node.input, node.output)]  # fmt: skip
        graph, feeds = helper.make_graph([node], "", *ends), zip(node.input, given, strict=True)
        try:
            evaluator: Any = ReferenceEvaluator(graph, opsets=self.opsets)
            found = np.asarray(evaluator.run(None, {name: v for name, v in feeds if name})[0])
        except (ValueError, IndexError, TypeError, RuntimeError):
            return None
        if moved:
            return Units(found) if self._first(found, SPAN) is not None else None
        if kind != "Expand" or found.dtype.kind != "f":
            return found
        # a row of constants, repeated for each sample
        row = self._first(found)
        made = None if row is None else Node(node.output[0], {}, row.astype(np.float64), False)
        return None if made is None else self._made(made, found.shape)

    def _made(self, node: Node, shape: tuple[int, ...]) -> Units:
        return self._units(self._append(node) * WIDE + np.arange(len(node.bias)), shape)

    def _affine(self, kind: str, name: str, attributes: dict[str, Any], values: list[Any]) -> Any:
        """The first output of an affine operator or a ReLU; None for others."""
        get, (a, b, c) = attributes.get, (*values, None, None, None)[:3]
        x, y = (a, b) if isinstance(a, Units) else (b, a)
        if not isinstance(x, Units):
            return None
        match kind:
            case "Relu" | "LeakyRelu" if kind == "Relu" or get("alpha", 0.01) == 0.0:
                return self._each(name, x, relu=True)
            case "Max" if len(values) == 2 and isinstance(y, np.ndarray) and not y.any():
                return self._each(name, x, bias=y, relu=True)
            case "Clip":
                ends = get("min", b), get("max", np.array(np.inf) if c is None else c)
                known = all(isinstance(end, (float, np.ndarray)) for end in ends)
                free = known and np.all(ends[1] >= np.finfo(np.float32).max)
                return self._each(name, x, relu=True) if free and not np.any(ends[0]) else None
            case "Cast" if attributes["to"] in FLOATS:
                return x
            case "Add" | "Sub" if isinstance(y, Units) and x.ids.shape == y.ids.shape:
                both = np.concatenate([v.ids.reshape(self.count, -1)[0] for v in (x, y)])
                eye = np.eye(len(both) // 2)
                matrix = np.hstack([eye, eye if kind == "Add" else -eye])
                return self._product(name, both, matrix, x.ids.shape)
            case "Add" | "Sub" if isinstance(y, np.ndarray):
                minus = kind == "Sub"
                factor = np.array(-1.0) if minus and x is b else None
                return self._each(name, x, factor, -y if minus and x is a else y)
            case "Mul":
                return self._each(name, x, factor=y)
            case "Div" if x is a and isinstance(y, np.ndarray) and y.all():
                y = y.astype(np.float64)
                exact = np.all(np.abs(np.frexp(y)[0]) == 0.5)  # powers of two
                return self._each(name, x, factor=1.0 / y, given=b"" if exact else y.tobytes())
            case "MatMul" if x is a and isinstance(b, np.ndarray) and b.ndim == 2:
                if x.ids.shape[-1] == len(b) == x.ids.size // self.count:
                    shape, first = (*x.ids.shape[:-1], b.shape[1]), x.ids.reshape(self.count, -1)[0]
                    return self._product(name, first, b.T.astype(np.float64), shape)
            case "Gemm" | "com.microsoft:FusedGemm" if x is a and isinstance(b, np.ndarray):
                alpha, beta, relu = get("alpha", 1.0), get("beta", 1.0), kind != "Gemm"
                plain = alpha == beta == 1.0 or b.dtype != np.float64  # else products are rounded
                if get("transA", 0) or not plain or (relu and get("activation", b"") != b"Relu"):
                    return None
                b = alpha * (b.T if get("transB", 0) else b).astype(np.float64)
                c = np.asarray(beta * c.astype(np.float64)) if isinstance(c, np.ndarray) else c
                return self._each(name, self._affine("MatMul", name, {}, [x, b]), None, c, relu)
            case "BatchNormalization" if all(isinstance(v, np.ndarray) for v in values[1:]):
                scale, shift, mean, variance = (v.astype(np.float64) for v in values[1:])
                epsilon = get("epsilon", float(np.float32(1e-5)))
                if get("training_mode", 0) or x.ids.ndim != 2 or np.any(variance + epsilon <= 0):
                    return None
                given = np.concatenate([scale, variance, [epsilon]]).tobytes()
                scale = scale / np.sqrt(variance + epsilon)
                centred = self._each(name, x, bias=-mean)
                return self._each(name, self._each(name, centred, scale, given=given), bias=shift)
            case "ai.onnx.ml:Scaler":
                centred = self._each(name, x, bias=-np.array(attributes["offset"]))
                return self._each(name, centred, factor=np.array(attributes["scale"]))
        return None

    def _product(self, name: str, ids: Array, matrix: Array, shape: Any, given: bytes = b"") -> Any:
        """A node of matrix (rows, elements) times the elements of a tensor."""
        if np.count_nonzero(matrix, axis=1).max(initial=0) > 1 and len(np.unique(ids)) < ids.size:
            # sums would be rounded
            copied = self._product(name, ids, np.eye(ids.size), (self.count, ids.size))
            ids = copied.ids[0]
        (sources, units), terms = np.divmod(ids, WIDE), {}
        for s in np.unique(sources).tolist():
            terms[s] = np.zeros((len(matrix), len(self.nodes[s].bias)))
            np.add.at(terms[s].T, units[sources == s], matrix[:, sources == s].T)
        slack = ROUNDED * bool(given)
        return self._made(Node(name, terms, np.zeros(len(matrix)), False, slack, given), shape)

    def _each(self, name: str, x: Any, factor: Any = None, bias: Any = None, relu: bool = False,
              given: bytes = b"") -> Any:  # fmt: skip
        """A node of factor * element + bias for each element of a tensor, in place of the last one
        where it only adds to that; None where a constant differs between samples, or is none."""
        if x is None:
            return None
        shape, first = x.ids.shape, x.ids.reshape(self.count, -1)[0]
        constants: list[Any] = []
        one, zero = np.ones(()), np.zeros(())
        for part in (one if factor is None else factor, zero if bias is None else bias):
            if not isinstance(part, np.ndarray) or np.broadcast_shapes(part.shape, shape) != shape:
                return None
            constants.append(self._first(np.broadcast_to(part.astype(np.float64), shape)))
            if constants[-1] is None:
                return None
        k = int(first.max(initial=0)) // WIDE
        node, whole = self.nodes[k], k * WIDE + np.arange(len(self.nodes[k].bias))
        same = factor is None and k and not node.relu and np.array_equal(first, whole)
        if not same or (constants[1].any() and node.bias.any()):  # or else a sum would be rounded
            if first.size > LARGEST:
                raise Unreadable(f'"{name}" copies {first.size} units')
            made = self._product(name, first, np.diag(constants[0]), shape, given)
            node = self.nodes[int(made.ids.max(initial=0)) % SPAN // WIDE]
        return self._made(replace(node, name=name, bias=node.bias + constants[1], relu=relu), shape)
