"""The checker's own small reader of ONNX files: affine nodes with or without a ReLU, and the rest.

Semantics: real arithmetic on the stored numbers. Node 0 is the input vector (all graph inputs,
flattened, side by side); node k >= 1 is z = sum over sources s of W_s h_s + b, h = max(z, 0) if
relu else z. Operators that only move values are run on the ids of units by onnx's own reference
implementation. What is neither is opaque: `skeleton` tells which operators lead from known tensors,
the `cuts`, to the outputs (docs/what-is-proved.md).
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
WIDE, SPAN, LAST = 1 << 24, 1 << 44, 1 << 62  # between ids of two nodes, of two samples; of all
OLDEST = 7  # the operator set since which operators broadcast, and normalise, as they do here
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
    """nodes[0] is a placeholder for the input. cuts: nodes without a ReLU, or the input."""

    nodes: list[Node]
    cuts: list[int] = field(default_factory=list)
    skeleton: tuple[Any, ...] = ()
    sha256: str = ""


@dataclass(frozen=True)
class Units:
    """A tensor of units. ids: node * WIDE + unit of each element of one sample, flat; those of the
    next sample are larger by SPAN. shape: with all samples. whole: whether of an integer type."""

    ids: Array
    shape: tuple[int, ...]
    whole: bool = False


def read_net(source: Path | bytes, after: Net | None = None) -> Net:
    """Read a model file, or its bytes. after: another model whose nodes come first, and are used
    again where they are the same. Raises Unreadable."""
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
        proto = onnx.load_model_from_string(content)
        proto = onnx.inliner.inline_local_functions(proto) if proto.functions else proto
        if isinstance(source, Path):
            onnx.load_external_data_for_model(proto, str(source.parent))
        net = _Reader(proto, after.nodes if after else []).net()
        return replace(net, sha256=hashlib.sha256(content).hexdigest())
    except Exception as error:  # whatever a malformed file does to the parser
        kind = "" if isinstance(error, Unreadable) else f"{type(error).__name__}: "
        name = source if isinstance(source, Path) else "model"
        raise Unreadable(f"{name}: {kind}{error}") from error


class _Reader:
    """values: of each tensor Units, a constant, or, where it is opaque, a tuple of the operator and
    its inputs. nodes: those that are known, and what it adds. count: of samples."""

    def __init__(self, proto: onnx.ModelProto, known: list[Node]) -> None:
        for part in (*proto.opset_import, *proto.graph.node):
            part.domain = "" if part.domain == "ai.onnx" else part.domain
        self.graph, self.opsets = proto.graph, {o.domain: o.version for o in proto.opset_import}
        once = all(self.opsets[o.domain] == o.version for o in proto.opset_import)
        if not once or proto.functions or self.opsets.get("", 0) < OLDEST:
            raise Unreadable(f"it needs one operator set, {OLDEST} or newer, also of functions")
        self.constants = {t.name: numpy_helper.to_array(t) for t in self.graph.initializer}
        self.inputs = [spec for spec in self.graph.input if spec.name not in self.constants]
        self.nodes, self.kept = list(known), max(len(known), 1)
        self.places = {node.key: k for k, node in enumerate(known)}

    def net(self) -> Net:
        """The graph as it is for one, two and three samples, or as many as it has, without nodes
        that no cut depends on."""
        shapes = [[d.dim_value for d in spec.type.tensor_type.shape.dim] for spec in self.inputs]
        first = {shape[0] if len(shape) > 1 else -1 for shape in shapes if shape}
        free = first == {0}
        if not all(shape and all(shape[free:]) for shape in shapes):
            raise Unreadable("export it with inputs of fixed shapes, or only the first axis free")
        counts = [1, 2, 3] if free else [max(1, *first) if len(first) == 1 else 1]
        skeletons, (cuts, *others) = zip(*map(self._read, counts), strict=True)
        if any(other != cuts for other in others):
            raise Unreadable("other units lead to its outputs for another number of samples")
        keep = np.arange(len(self.nodes)) < self.kept
        keep[cuts] = True
        for k in reversed(range(len(self.nodes))):
            keep[list(self.nodes[k].terms)] |= keep[k]
        number = np.cumsum(keep) - 1
        nodes = [replace(node, terms={int(number[s]): w for s, w in node.terms.items()})
                 for k, node in enumerate(self.nodes) if keep[k] and k >= self.kept]  # fmt: skip
        return Net(self.nodes[: self.kept] + nodes, number[cuts].tolist(), skeletons)

    def _read(self, count: int) -> tuple[tuple[Any, ...], list[int]]:
        """The skeleton for a number of samples, and the node of each cut."""
        self.count, self.cuts, start = count, list[int](), 0
        self.values: dict[str, Any] = {**self.constants, "": None}
        self.keys: dict[str, tuple[Any, ...]] = {"": ()}
        skeleton: tuple[Any, ...] = ()
        for spec in self.inputs:
            kind = spec.type.tensor_type
            shape = tuple(d.dim_value or count for d in kind.shape.dim)
            size = int(np.prod(shape)) // count
            whole = kind.elem_type not in FLOATS
            self.values[spec.name] = Units(np.arange(start, start + size), shape, whole)
            start, skeleton = start + size, (*skeleton, spec.name, kind.elem_type, shape)
        if self._append(Node("input", {}, np.zeros(start), False, 0.0, b"input")):
            raise Unreadable("its inputs have another size than the other model's")
        waiting = list(self.graph.node)
        while waiting:
            ready = (all(name in self.values for name in node.input) for node in waiting)
            self._operator(waiting.pop(list(ready).index(True)))  # or some tensor is not computed
        return (skeleton, *((o.name, self._key(o.name)) for o in self.graph.output)), self.cuts

    def _append(self, node: Node) -> int:
        """The number of a node, which is new unless there is one that is the same."""
        k = self.places.setdefault(node.key, len(self.nodes))
        if len(node.bias) > WIDE or k * WIDE >= SPAN or self.count * SPAN >= LAST:
            raise Unreadable(f'"{node.name}" is too large for the ids of its units')
        for part in (node.bias, *node.terms.values()):
            part.setflags(write=False)
            if not np.isfinite(part).all():
                raise Unreadable(f'"{node.name}" has a weight that is not finite')
        self.nodes += [node] if k == len(self.nodes) else []
        return k

    def _units(self, k: int, shape: tuple[int, ...] = ()) -> Units:
        return Units(k * WIDE + np.arange(len(self.nodes[k].bias)), shape)

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
                self.cuts.append(self._whole(tensor, value))
                whole = repr((len(self.cuts), value.shape, value.whole))
            elif isinstance(value, tuple):
                whole = repr((value[0], *map(self._key, value[1])))
            else:
                numbers = value.tolist() if value.dtype.kind == "O" else value.tobytes()
                whole = repr((value.dtype, value.shape, numbers))
            self.keys[tensor] = type(value).__name__, hashlib.sha256(whole.encode()).hexdigest()
        return self.keys[tensor]

    def _operator(self, node: onnx.NodeProto) -> None:
        kind = f"{node.domain}:{node.op_type}" if node.domain else node.op_type
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            raise Unreadable(f'{kind} "{node.name}" has a subgraph; export the model without it')
        values = [self.values[i] for i in node.input]
        more = any(node.output[1:])  # of a batch normalisation that is still in training
        result = None if more else self._affine(kind, node.output[0], attributes, values)
        if result is None and kind in FOLDS:
            result = self._moved(node, values)
        wire = tuple(sorted(a.SerializeToString(deterministic=True) for a in node.attribute))
        for at, name in enumerate(node.output):
            opaque = (kind, self.opsets.get(node.domain), wire, at), tuple(node.input)
            if self.values.get(name) is not None:
                raise Unreadable(f'"{name}" is computed twice')
            self.values[name] = (opaque if at or result is None else result) if name else None

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
        spans = SPAN * np.arange(self.count)[:, None]
        given = [(v.ids + spans).reshape(v.shape) if isinstance(v, Units) else v for v in values]
        ends: Any = [[helper.make_empty_tensor_value_info(n) for n in dict.fromkeys(names) if n]
                for names in (node.input, node.output)]  # fmt: skip
        graph, feeds = helper.make_graph([node], "", *ends), zip(node.input, given, strict=True)
        try:
            evaluator: Any = ReferenceEvaluator(graph, opsets=self.opsets)
            found = np.asarray(evaluator.run(None, {name: v for name, v in feeds if name})[0])
        except (ValueError, IndexError, TypeError, RuntimeError):
            return None
        if not moved and (kind != "Expand" or found.dtype.kind != "f"):
            return None if found.dtype.kind == "O" else found  # strings, and sparse tensors
        row = self._first(found, moved * SPAN)
        if row is not None and not moved:  # a row of constants, repeated for each sample
            row = self._units(self._append(Node(node.output[0], {}, row.astype(float), False))).ids
        return None if row is None else Units(row, found.shape, moved and values[0].whole)

    def _affine(self, kind: str, name: str, attributes: dict[str, Any], values: list[Any]) -> Any:
        """The first output of an affine operator or a ReLU; None for others."""
        get, (a, b, c) = attributes.get, (*values, None, None, None)[:3]
        x, y = (a, b) if isinstance(a, Units) else (b, a)
        if not isinstance(x, Units) or (x.whole and kind not in {"Cast", "ai.onnx.ml:Scaler"}):
            return None  # the sum of two integers, say, may wrap around
        match kind:
            case "Relu" | "LeakyRelu" if kind == "Relu" or get("alpha", 0.01) == 0.0:
                return self._each(name, x, relu=True)
            case "Max" if len(values) == 2 and isinstance(y, np.ndarray) and not y.any():
                return self._each(name, x, bias=y, relu=True)
            case "Clip":
                low, high = get("min", b), np.array(get("max", np.inf), "f") if c is None else c
                known = isinstance(low, (float, np.ndarray)) and isinstance(high, np.ndarray)
                if known and not np.any(low) and np.all(high >= np.finfo(high.dtype).max):
                    return self._each(name, x, relu=True)
            case "Cast" if attributes["to"] in FLOATS:
                return replace(x, whole=False)
            case "Add" | "Sub" if isinstance(y, Units) and x.shape == y.shape:
                eye = np.eye(x.ids.size)
                matrix = np.hstack([eye, eye if kind == "Add" else -eye])
                return self._units(self._product(name, np.append(x.ids, y.ids), matrix), x.shape)
            case "Add" | "Sub" if isinstance(y, np.ndarray):
                minus = kind == "Sub"
                factor = np.array(-1.0) if minus and x is b else None
                return self._each(name, x, factor, np.negative(y) if minus and x is a else y)
            case "Mul":
                return self._each(name, x, factor=y)
            case "Div" if x is a and isinstance(y, np.ndarray) and y.all():
                y = y.astype(np.float64)
                exact = np.all(np.abs(np.frexp(y)[0]) == 0.5)  # powers of two
                return self._each(name, x, factor=1.0 / y, given=b"" if exact else y.tobytes())
            case "MatMul" if x is a and isinstance(b, np.ndarray) and b.ndim == 2:
                if x.shape[-1] == x.ids.size == len(b):
                    k = self._product(name, x.ids, b.T.astype(np.float64))
                    return self._units(k, (*x.shape[:-1], b.shape[1]))
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
                if get("training_mode", 0) or len(x.shape) != 2 or np.any(variance + epsilon <= 0):
                    return None
                given = np.concatenate([scale, variance, [epsilon]]).tobytes()
                scale = scale / np.sqrt(variance + epsilon)
                centred = self._each(name, x, bias=-mean)
                return self._each(name, self._each(name, centred, scale, given=given), bias=shift)
            case "ai.onnx.ml:Scaler":
                centred = self._each(name, x, bias=-np.array(attributes["offset"]))
                return self._each(name, centred, factor=np.array(attributes["scale"]))
        return None

    def _product(self, name: str, ids: Array, matrix: Array, given: bytes = b"") -> int:
        """The node of a matrix, (rows, elements) or a diagonal, times the elements of a tensor."""
        if matrix.ndim == 1 and len(matrix) > LARGEST:
            raise Unreadable(f'"{name}" copies {len(matrix)} units')
        matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
        if np.count_nonzero(matrix, axis=1).max(initial=0) > 1 and len(np.unique(ids)) < ids.size:
            # each element its own unit, or sums would be rounded
            ids = self._units(self._product(name, ids, np.ones(ids.size))).ids
        (sources, units), terms = np.divmod(ids, WIDE), {}
        for s in np.unique(sources).tolist():
            terms[s] = np.zeros((len(matrix), len(self.nodes[s].bias)))
            np.add.at(terms[s].T, units[sources == s], matrix[:, sources == s].T)
        bias, slack = np.zeros(len(matrix)), ROUNDED * bool(given)
        return self._append(Node(name, terms, bias, False, slack, given))

    def _whole(self, name: str, x: Units) -> int:
        """The node without a ReLU whose units are the elements of a tensor."""
        k = int(x.ids.max(initial=0)) // WIDE
        same = not self.nodes[k].relu and np.array_equal(x.ids, self._units(k).ids)
        return k if same else self._product(name, x.ids, np.ones(x.ids.size))

    def _each(self, name: str, x: Any, factor: Any = None, bias: Any = None, relu: bool = False,
              given: bytes = b"") -> Any:  # fmt: skip
        """A node of factor * element + bias for each element of a tensor, in place of the last one
        where it only adds to that; None where a constant differs between samples, or is none."""
        parts = np.ones(()) if factor is None else factor, np.zeros(()) if bias is None else bias
        if x is None or not all(isinstance(part, (np.ndarray, np.generic)) for part in parts):
            return None
        if any(np.broadcast_shapes(part.shape, x.shape) != x.shape for part in parts):
            return None
        full = [self._first(np.broadcast_to(part.astype(float), x.shape)) for part in parts]
        if full[0] is None or full[1] is None:
            return None
        given = given and given + repr((parts[0].shape, x.shape[1:])).encode()
        k = self._whole(name, x) if factor is None else self._product(name, x.ids, full[0], given)
        if k == 0 or (full[1].any() and self.nodes[k].bias.any()):  # a sum would be rounded
            k = self._product(name, x.ids, full[0])
        node = replace(self.nodes[k], name=name, bias=self.nodes[k].bias + full[1], relu=relu)
        return self._units(self._append(node), x.shape)
