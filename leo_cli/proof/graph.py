"""The checker's own small reader of ONNX files: affine nodes with or without a ReLU, and the rest.

Semantics: real arithmetic on the stored numbers. Node 0 is the input vector (all graph inputs,
flattened, side by side); node k >= 1 is z = sum over sources s of W_s h_s + b, h = max(z, 0) if
relu else z. A tensor is followed as an array of ids, one for each element of one sample. Operators
that only move values are run on these ids by onnx's own reference implementation, for several
numbers of samples: what comes out must be the same elements of each sample, and no operator may
choose among samples. Affine operators and ReLUs become nodes. All others are opaque: `skeleton`
tells the inputs and, for every output, which operators lead from known tensors, the `cuts`, to it.
Two files with equal skeletons compute the same outputs wherever their cuts have the same values.
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
MOVES = "Concat Dropout Expand Flatten Gather Identity Reshape Squeeze Transpose"
FOLDS = "Cast Constant ConstantOfShape Shape Slice Unsqueeze " + MOVES
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
    """A tensor of units of nodes: ids, node * WIDE + unit, without the axis of samples."""

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
        net = _Reader(proto, after.nodes if after else []).read()
        return replace(net, sha256=hashlib.sha256(content).hexdigest())
    except Exception as error:  # whatever a malformed file does to the parser
        kind = "" if isinstance(error, Unreadable) else f"{type(error).__name__}: "
        name = source if isinstance(source, Path) else "model"
        raise Unreadable(f"{name}: {kind}{error}") from error


class _Reader:
    """values: of each tensor Units, a constant, a list of what it is for each of `samples` (numbers
    of samples that are tried; none without an axis of samples), or, where it is opaque, a tuple of
    the operator and its inputs."""

    def __init__(self, proto: onnx.ModelProto, known: list[Node]) -> None:
        self.graph, self.opsets = proto.graph, {o.domain: o.version for o in proto.opset_import}
        constants = {t.name: numpy_helper.to_array(t) for t in self.graph.initializer}
        self.values: dict[str, Any] = {**constants, "": None}
        self.nodes, self.kept = list(known), len(known)
        self.places = {node.key: k for k, node in enumerate(known)}
        self.samples: tuple[int, ...] = (1, 2, 3)
        self.keys: dict[str, tuple[Any, ...]] = {"": ()}
        self.cuts: list[Array] = []

    def read(self) -> Net:
        inputs, waiting = self._inputs(), list(self.graph.node)
        while waiting:
            ready = [node for node in waiting if all(i in self.values for i in node.input)]
            if not ready:
                raise Unreadable(f'"{waiting[0].name}" reads a tensor that nothing computes')
            waiting.remove(ready[0])
            self._operator(ready[0])
        skeleton = (inputs, tuple((o.name, self._key(o.name)) for o in self.graph.output))
        keep = np.arange(len(self.nodes)) < max(self.kept, 1)
        for cut in self.cuts:
            keep[cut[:, 0]] = True
        for k in reversed(range(len(self.nodes))):
            keep[list(self.nodes[k].terms)] |= keep[k]
        number = np.cumsum(keep) - 1
        nodes = [replace(node, terms={int(number[s]): w for s, w in node.terms.items()})
                 for k, node in enumerate(self.nodes) if keep[k] and k >= self.kept]  # fmt: skip
        cuts = [np.stack([number[cut[:, 0]], cut[:, 1]], axis=1) for cut in self.cuts]
        return Net(self.nodes[: self.kept] + nodes, cuts, skeleton)

    def _inputs(self) -> tuple[Any, ...]:
        found, start = [], 0
        for spec in (s for s in self.graph.input if s.name not in self.values):
            kind = spec.type.tensor_type
            shape = tuple(d.dim_value for d in kind.shape.dim)
            if not kind.HasField("shape") or any(n <= 0 for n in shape[1:] or shape):
                raise Unreadable(f'input "{spec.name}": export the model with a fixed shape, of '
                                 "which at most the axis of samples is free")  # fmt: skip
            found.append((spec.name, kind.elem_type, shape))
        fixed = tuple(shape[0] for *_, shape in found if shape and shape[0])
        alone = any(len(shape) < 2 for *_, shape in found)
        self.samples = () if alone else fixed[:1] or self.samples
        for name, _, shape in found:
            ids = np.arange(start, start + int(np.prod(shape[not alone :])))
            self.values[name] = Units(ids.reshape(shape[not alone :]))
            start += ids.size
        if self._append(Node("input", {}, np.zeros(start), False)).ids.min(initial=0):
            raise Unreadable("its inputs have another size than the other model's")
        return tuple(found)

    def _append(self, node: Node) -> Units:
        """The units of a node, which is new unless there is one that is the same."""
        k = self.places.setdefault(node.key, len(self.nodes))
        for part in (node.bias, *node.terms.values()):
            part.setflags(write=False)
            if not np.isfinite(part).all():
                raise Unreadable(f'"{node.name}" has a weight that is not finite')
        self.nodes += [node] if k == len(self.nodes) else []
        return Units(k * WIDE + np.arange(len(node.bias)))

    def _key(self, tensor: str) -> tuple[Any, ...]:
        """What a tensor is, apart from the values of cuts."""
        if tensor not in self.keys:
            value = self.values[tensor]
            runs = value if isinstance(value, list) else [value]
            if isinstance(value, Units):
                self.cuts.append(np.stack(np.divmod(value.ids.ravel(), WIDE), axis=1))
                whole = repr((len(self.cuts), value.ids.shape))
            elif isinstance(value, tuple):
                whole = repr((value[0], *map(self._key, value[1])))
            else:
                whole = repr([(run.dtype.str, run.shape, run.tobytes()) for run in runs])
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
        if result is None and kind in FOLDS.split():
            result = self._moved(node, attributes.get("axis", 0), values)
        wire = tuple(sorted(a.SerializeToString(deterministic=True) for a in node.attribute))
        version = self.opsets.get(node.domain, self.opsets.get(domain))
        for at, name in enumerate(node.output):
            opaque = (kind, version, wire, at), tuple(node.input)
            self.values[name] = opaque if at or result is None else result

    def _moved(self, node: onnx.NodeProto, axis: int, values: list[Any]) -> Any:
        """What an operator that only moves values gives; None if it does more, or chooses."""
        kind, data = node.op_type, len(values) if node.op_type == "Concat" else 1
        units = {isinstance(v, Units) and kind != "Shape" for v in values[:data]}
        sized = (tuple, Units) if kind in ("Reshape", "Expand") else (tuple, Units, list)
        moved = units == {True}
        if moved and kind in ("Concat", "Gather") and self.samples:
            units.add(axis % (values[0].ids.ndim + 1) != 0)
        bad = any(isinstance(v, tuple if i < data else sized) for i, v in enumerate(values))
        if bad or len(units) > 1 or (moved and kind not in MOVES.split()):
            return None
        runs = []
        for at, count in enumerate(self.samples or (1,)):
            given = [self._spread(v.ids, count) if isinstance(v, Units)
                     else v[at] if isinstance(v, list) else v for v in values]  # fmt: skip
            try:
                runs.append(self._evaluate(node, given))
            except (ValueError, IndexError, TypeError, RuntimeError):
                return None
        if not moved and (kind != "Expand" or runs[0].dtype.kind != "f"):
            return runs[0] if all(np.array_equal(run, runs[0]) for run in runs) else runs
        one = runs[0][0] if self.samples else runs[0]
        for run, count in zip(runs, self.samples or (1,), strict=True):
            if not np.array_equal(run, self._spread(one, count, moved * SPAN)):
                return None
        if moved:
            return Units(one)
        # a row of constants, repeated for each sample
        made = self._append(Node(node.output[0], {}, one.ravel().astype(np.float64), False))
        return Units(made.ids.reshape(one.shape))

    def _spread(self, one: Array, count: int, span: int = SPAN) -> Array:
        """A tensor's content for a number of samples, from that of the first."""
        return np.stack([one + span * i for i in range(count)]) if self.samples else one

    def _evaluate(self, node: onnx.NodeProto, values: list[Any]) -> Array:
        """The first output of a node for these inputs, by onnx's reference implementation."""
        ends: Any = [[helper.make_empty_tensor_value_info(n) for n in dict.fromkeys(names) if n]
                for names in (node.input, node.output)]  # fmt: skip
        run: Any = ReferenceEvaluator(helper.make_graph([node], "", *ends), opsets=self.opsets).run
        feeds = {i: v for i, v in zip(node.input, values, strict=True) if i}
        return np.asarray(run(None, feeds)[0])

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
                both, eye = np.concatenate([x.ids.ravel(), y.ids.ravel()]), np.eye(x.ids.size)
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
                shape = (*x.ids.shape[:-1], b.shape[1])
                if x.ids.size == len(b) == x.ids.shape[-1]:
                    return self._product(name, x.ids, b.T.astype(np.float64), shape)
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
                if get("training_mode", 0) or x.ids.ndim != 1 or np.any(variance + epsilon <= 0):
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
            ids = self._product(name, ids, np.eye(ids.size), ids.shape).ids  # sums would be rounded
        (sources, units), terms = np.divmod(ids.ravel(), WIDE), {}
        for s in np.unique(sources).tolist():
            terms[s] = np.zeros((len(matrix), len(self.nodes[s].bias)))
            np.add.at(terms[s].T, units[sources == s], matrix[:, sources == s].T)
        made = Node(name, terms, np.zeros(len(matrix)), False, ROUNDED * bool(given), given)
        return Units(self._append(made).ids.reshape(shape))

    def _each(self, name: str, x: Any, factor: Any = None, bias: Any = None, relu: bool = False,
              given: bytes = b"") -> Any:  # fmt: skip
        """A node of factor * element + bias for each element of a tensor, in place of the last one
        where it only adds to that; None where a constant differs between samples, or is none."""
        if x is None:
            return None
        shape, constants = (1, *x.ids.shape) if self.samples else x.ids.shape, []
        one, zero = np.ones(()), np.zeros(())
        for part in (one if factor is None else factor, zero if bias is None else bias):
            if not isinstance(part, np.ndarray) or np.broadcast_shapes(part.shape, shape) != shape:
                return None
            constants.append(np.broadcast_to(part.astype(np.float64), shape).ravel())
        k = int(x.ids.max(initial=0)) // WIDE
        node, whole = self.nodes[k], k * WIDE + np.arange(len(self.nodes[k].bias))
        same = factor is None and k and not node.relu and np.array_equal(x.ids.ravel(), whole)
        if not same or (constants[1].any() and node.bias.any()):  # or else a sum would be rounded
            if x.ids.size > LARGEST:
                raise Unreadable(f'"{name}" copies {x.ids.size} units')
            made = self._product(name, x.ids, np.diag(constants[0]), x.ids.shape, given)
            node = self.nodes[int(made.ids.max(initial=0)) // WIDE]
        made = self._append(replace(node, name=name, bias=node.bias + constants[1], relu=relu))
        return Units(made.ids.reshape(x.ids.shape))
