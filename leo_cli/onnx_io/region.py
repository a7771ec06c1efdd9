"""Walk the graph once, in order, and read the dense ReLU network out of it.

Each tensor becomes a constant, an affine form over the nodes found so far, or opaque. A ReLU makes
a node; so does a form that cannot be composed further without rounding, and one that several others
read (so that it is computed once). The first operator that cannot be read ends the network on its
path: what it reads stays observable. Nothing of the graph is changed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from leo_cli.arrays import Floats
from leo_cli.errors import ModelError
from leo_cli.network import Dense, Layer, Scaled
from leo_cli.onnx_io import operators
from leo_cli.onnx_io.affine import (
    Form,
    Realisation,
    constant,
    identity_of,
    is_selection,
    representable,
    shifted,
    unit_selection,
)
from leo_cli.onnx_io.constants import to_array
from leo_cli.onnx_io.folding import FOLD
from leo_cli.onnx_io.screening import label, opsets
from leo_cli.onnx_io.step import Step, step_of
from leo_cli.onnx_io.values import (
    FLOATING,
    Affine,
    Constant,
    Opaque,
    Unsupported,
    Value,
    broadcast_dims,
    expanded,
    single,
)
from leo_cli.tensors import TensorSpec


@dataclass(frozen=True)
class Placement:
    """Where a node of the network lives in the file.

    tensor: its name, None for a node between the steps of one operator. shape, batch: its axes
    (values `Affine.shape` and `Affine.batch`). nodes: positions of the graph's nodes that compute
    it from the nodes of the network that it reads.
    """

    tensor: str | None
    shape: tuple[int, ...]
    batch: int | None
    dtype: str
    realisation: Realisation | None = None
    nodes: tuple[int, ...] = ()

    @property
    def is_rows(self) -> bool:
        """Does the tensor have the axes (samples, features)?"""
        rank = len(self.shape) + (self.batch is not None)
        return rank == 2 and (self.batch == 0 or (self.batch is None and self.shape[0] == 1))


@dataclass(frozen=True)
class Blocker:
    """Where the network ended on a path, and why."""

    node: str
    op_type: str
    reason: str
    kind: str


OUTPUTS_KEY = "leo.outputs"  # metadata of a rewritten file: the tensors at which its network ends


def pinned_outputs(proto: onnx.ModelProto) -> tuple[str, ...]:
    """The tensors that a rewritten file says its network ends at; none for other files.

    Without this, a network that lost its last ReLU or became constant would seem to end elsewhere.
    """
    text = next((p.value for p in proto.metadata_props if p.key == OUTPUTS_KEY), "")
    return tuple(dict.fromkeys(text.split("\n"))) if text else ()


class Region:
    """The state of one walk. An input has a batch axis, its first, where its spec has fewer
    features' axes than axes and it does not hold a single sample."""

    def __init__(self, proto: onnx.ModelProto, name: str, specs: Sequence[TensorSpec]) -> None:
        self.name = name
        self.graph = proto.graph
        self.versions = opsets(proto)
        self.layers: list[Layer] = []
        self.places: list[Placement] = []
        self.views: dict[int, list[str]] = {}
        self.blockers: list[Blocker] = []
        self.values: dict[str, Value] = {"": Opaque()}
        self.observed: list[str] = []
        self._non_negative_nodes: set[int] = set()
        self.pinned = pinned_outputs(proto)
        self.batch_size: int | None = None
        self.inputs = sum(s.size for s in specs)
        self.input_types = {s.dtype for s in specs}
        self._readers = Counter(i for node in self.graph.node for i in node.input)
        self._readers.update(o.name for o in self.graph.output)
        for tensor in self.graph.initializer:
            array = to_array(tensor)
            self.values[tensor.name] = (
                Opaque(constant=True) if array is None else Constant(array, tensor.name)
            )
        for sparse in self.graph.sparse_initializer:
            self.values[sparse.values.name] = Opaque(constant=True)
        offset = 0
        for spec in specs:
            self._enter(spec, offset)
            offset += spec.size

    def _enter(self, spec: TensorSpec, offset: int) -> None:
        form = unit_selection(0, np.arange(offset, offset + spec.size), self.inputs)
        if len(spec.features) < len(spec.shape) and spec.shape[0] != 1:
            value = Affine(spec.features, 0, spec.dtype, form)
            if isinstance(spec.shape[0], int):
                self.batch_size = spec.shape[0]
        else:
            shape = (1,) * (len(spec.shape) - len(spec.features)) + spec.features
            value = Affine(shape, None, spec.dtype, form)
        self.values[spec.name] = value
        self._note_view(spec.name, value)

    # what the operators' readers use

    def value(self, step: Step, position: int) -> Value | None:
        """The value of an input; None where an optional input is left out."""
        if position >= len(step.inputs) or not step.inputs[position]:
            return None
        return self.values[step.inputs[position]]

    def affine(self, step: Step, position: int) -> Affine:
        """The value of an input that has to be a form over numbers."""
        value = self.value(step, position)
        if not isinstance(value, Affine):
            raise Unsupported("computes on something that is not known")
        if value.dtype not in FLOATING:
            raise Unsupported(f"computes in {value.dtype}")
        return value

    def numbers(self, step: Step, position: int, dtype: str) -> Floats:
        """A constant input as float64. Raises Unsupported where it is none, ModelError where it
        holds a number that is not finite."""
        value = self.value(step, position)
        if not isinstance(value, Constant):
            raise Unsupported("reads a tensor that is not a known constant")
        if value.array.dtype != np.dtype(dtype):
            raise ModelError(
                f'{self.name}: tensor "{step.inputs[position]}" is {value.array.dtype}, and '
                f"{self._label(step)} computes in {dtype}; export the model again"
            )
        return self.finite(value.array.astype(np.float64), step, step.inputs[position])

    def finite(self, array: Floats, step: Step, what: str) -> Floats:
        if not np.all(np.isfinite(array)):
            kind = "NaN" if np.any(np.isnan(array)) else "an infinite number"
            raise ModelError(
                f'{self.name}: weight "{what}" of {self._label(step)} contains {kind}; '
                "nothing can be proved about it, train or export the model again"
            )
        return array

    def plain(self, step: Step, position: int) -> Affine:
        """An input made a node of its own, unless it is a selection of nodes already."""
        value = self.affine(step, position)
        return value if is_selection(value.form) else self.materialise(step.inputs[position])

    def materialise(self, tensor: str) -> Affine:
        """Make the tensor's form a layer without a ReLU, and return the tensor as that layer."""
        value = self.values[tensor]
        if not isinstance(value, Affine):
            raise Unsupported("computes on something that is not known")
        node = identity_of(value.form)
        if node is not None:
            return value
        made = self._layer(tensor, value, value.form, relu=False)
        self.values[tensor] = made
        self._note_view(tensor, made)
        return made

    def finite_number(self, step: Step, attribute: str, default: float, dtype: str) -> float:
        """An attribute that is a number of the type the operator computes in."""
        number = step.number(attribute, default)
        if not representable(np.array([number]), dtype):
            raise Unsupported(f"has {attribute} = {number:g}, which is no {dtype}")
        return number

    def virtual(self, value: Affine, form: Form, near: str) -> Affine:
        """A layer for a step inside one operator: no tensor of the graph holds it."""
        name = f"{near}/linear"
        while name in self.values or any(layer.name == name for layer in self.layers):
            name += "_"
        return self._layer(name, value, form, relu=False, tensor=None)

    def settle(self, value: Affine, tensor: str | None, step: Step) -> Affine:
        """The value as a layer, of its tensor where it has one."""
        if tensor is None:
            return self.virtual(value, value.form, step.outputs[0])
        return self.materialise(tensor)

    def plus(self, step: Step, value: Affine, bias: Floats, tensor: str | None = None) -> Affine:
        """value + bias with numpy broadcasting; tensor: the name of the value, if it has one."""
        dims = broadcast_dims(value.dims, bias.shape)
        vector = np.broadcast_to(bias, single(dims)).reshape(-1)
        wide = expanded(value, dims)
        form = shifted(wide.form, vector)
        if form is None:
            wide = expanded(self.settle(value, tensor, step), dims)
            form = shifted(wide.form, vector)
        if form is None:
            raise Unsupported("shifts a tensor that is not read exactly")
        return wide.with_form(form.through(step.position))

    def relu(self, step: Step, value: Affine) -> Affine:
        """max(value, 0); the value itself where that is no change."""
        if self._non_negative(value.form):
            return value
        return self._layer(step.outputs[0], value, value.form.through(step.position), relu=True)

    # the walk

    def walk(self) -> None:
        """Read all nodes, in the graph's order (which the checker has found topological)."""
        for position, node in enumerate(self.graph.node):
            step = step_of(node, position, self.versions)
            for tensor, value in zip(step.outputs, self._outputs(step, node), strict=True):
                if tensor:
                    self.values[tensor] = value
                    self._pin(tensor) if tensor in self.pinned else self._shared(tensor)
        for output in self.graph.output:
            self.observed.append(output.name)

    def _outputs(self, step: Step, node: onnx.NodeProto) -> Sequence[Value]:
        known = [self.values.get(i, Opaque()) for i in step.inputs]
        nothing: Sequence[Value] = [Opaque()] * len(step.outputs)
        try:
            if all(
                isinstance(v, Constant) or not i for v, i in zip(known, step.inputs, strict=True)
            ):
                return self._fold(step, known)
            reader = operators.READERS.get((step.domain, step.op_type))
            hidden = [
                v for v, i in zip(known, step.inputs, strict=True) if i and isinstance(v, Opaque)
            ]
            if any(not v.constant for v in hidden):
                self._observe(step)
                return nothing
            if hidden:
                raise Unsupported("reads a constant that cannot be evaluated exactly")
            if reader is None:
                raise Unsupported(operators.reason_of(step), operators.kind_of(step))
            results = list(reader(step, self))
        except Unsupported as refusal:
            if any(isinstance(v, Affine) for v in known):
                self.blockers.append(
                    Blocker(label(node), step.op_type, refusal.reason, refusal.kind)
                )
            self._observe(step)
            return nothing
        results += [Opaque()] * (len(step.outputs) - len(results))
        for result in results:
            if isinstance(result, Affine) and result.form.size == 0:
                raise ModelError(
                    f"{self.name}: {label(node)}: makes a tensor without features; "
                    "remove the empty layer"
                )
        return results

    def _fold(self, step: Step, known: Sequence[Value]) -> Sequence[Value]:
        function = FOLD.get(step.op_type) if step.domain == "" else None
        unknown: list[Value] = [Opaque(constant=True)] * len(step.outputs)
        if function is None:
            return unknown
        arrays = [v.array if isinstance(v, Constant) else None for v in known]
        try:
            folded = function(step, arrays)
        except Unsupported:
            return unknown
        values: list[Value] = [
            Constant(np.asarray(a), o) for a, o in zip(folded, step.outputs, strict=False)
        ]
        return values + unknown[len(values) :]

    def _observe(self, step: Step) -> None:
        self.observed.extend(i for i in step.inputs if isinstance(self.values.get(i), Affine))

    def _shared(self, tensor: str) -> None:
        """A matrix product that several nodes read is computed once: it becomes a layer."""
        value = self.values[tensor]
        if not isinstance(value, Affine):
            return
        if self._readers[tensor] > 1 and any(isinstance(t.map, Dense) for t in value.form.terms):
            self.materialise(tensor)
        else:
            self._note_view(tensor, value)

    def _pin(self, tensor: str) -> None:
        """Make the tensor a layer of its own name: the original network ended there."""
        value = self.values[tensor]
        if isinstance(value, Constant) and value.array.dtype.name in FLOATING:
            numbers = constant(value.array.astype(np.float64).reshape(-1))
            value = Affine(value.array.shape, None, value.array.dtype.name, numbers)
        if not isinstance(value, Affine) or value.dtype not in FLOATING:
            return
        node = identity_of(value.form)
        known_as = self.layers[node - 1].name if node else ""
        if known_as == tensor:
            pass
        elif not node or known_as in self.pinned:
            value = self._layer(tensor, value, value.form, relu=False)
        elif self.places[node - 1].dtype == value.dtype:  # the same node in other axes
            self.layers[node - 1] = replace(self.layers[node - 1], name=tensor)
            self.places[node - 1] = replace(
                self.places[node - 1], tensor=tensor, shape=value.shape, batch=value.batch
            )
        self.values[tensor] = value
        self._note_view(tensor, value)
        self.observed.append(tensor)

    def _note_view(self, tensor: str, value: Affine) -> None:
        node = identity_of(value.form)
        if node is not None and self.place(tensor, value).is_rows:
            types = {self.places[node - 1].dtype} if node else self.input_types
            if types == {value.dtype}:
                self.views.setdefault(node, []).append(tensor)

    # nodes

    def place(self, tensor: str | None, value: Affine, form: Form | None = None) -> Placement:
        made = form or value.form
        return Placement(
            tensor, value.shape, value.batch, value.dtype, made.realisation, made.nodes
        )

    def _layer(
        self, name: str, value: Affine, form: Form, relu: bool, tensor: str | None = ""
    ) -> Affine:
        self.layers.append(
            Layer(
                name,
                form.terms,
                form.bias,
                relu,
                weight_error=form.weight_error,
                bias_error=form.bias_error,
            )
        )
        if relu or self._non_negative(form):
            self._non_negative_nodes.add(len(self.layers))
        self.places.append(self.place(name if tensor == "" else tensor, value, form))
        node = len(self.layers)
        return value.with_form(unit_selection(node, np.arange(form.size), form.size))

    def _non_negative(self, form: Form) -> bool:
        """Is the form shown to be >= 0 by the signs of what it selects?"""
        if form.sealed or form.realisation is not None or np.any(form.bias < 0):
            return False
        return all(
            isinstance(t.map, Scaled)
            and bool(np.all(t.map.scale >= 0))
            and t.source in self._non_negative_nodes
            for t in form.terms
        )

    def _label(self, step: Step) -> str:
        return label(self.graph.node[step.position])
