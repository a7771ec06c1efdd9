"""What is known while a graph is read: values of tensors, layers so far, and how layers are made.

A ReLU makes a layer; so does a form that cannot be composed further without rounding
(`materialise`), or a step inside one operator (`virtual`). The operators' readers work on this.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from leo_cli.arrays import Floats, sealed
from leo_cli.errors import ModelError
from leo_cli.network import Layer, Scaled
from leo_cli.onnx_io.affine import representable, shifted
from leo_cli.onnx_io.constants import to_array
from leo_cli.onnx_io.forms import Form, identity_of, is_selection, unit_selection
from leo_cli.onnx_io.placement import Placement
from leo_cli.onnx_io.screening import label
from leo_cli.onnx_io.step import Step
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


class Scope:
    """layers, places: the nodes 1, 2, ... found so far. views: node -> tensors that list its units.
    batch_size: the number of samples, where the file fixes one above 1.

    An input has a batch axis, its first, where its spec has fewer features' axes than axes and it
    does not hold a single sample.
    """

    def __init__(self, proto: onnx.ModelProto, name: str, specs: Sequence[TensorSpec]) -> None:
        self.name = name
        self.graph = proto.graph
        self.layers: list[Layer] = []
        self.places: list[Placement] = []
        self.views: dict[int, list[str]] = {}
        self.values: dict[str, Value] = {"": Opaque()}
        self._non_negative_nodes: set[int] = set()
        self.batch_size: int | None = None
        self.inputs = sum(s.size for s in specs)
        self.input_types = {s.dtype for s in specs}
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
        self.note_view(spec.name, value)

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
        with np.errstate(invalid="ignore"):  # a signalling NaN
            numbers = sealed(value.array.astype(np.float64))
        return self.finite(numbers, step, step.inputs[position])

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
        made = self.new_layer(tensor, value, value.form, relu=False)
        self.values[tensor] = made
        self.note_view(tensor, made)
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
        return self.new_layer(name, value, form, relu=False, tensor=None)

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
        return self.new_layer(step.outputs[0], value, value.form.through(step.position), relu=True)

    def note_view(self, tensor: str, value: Affine) -> None:
        node = identity_of(value.form)
        if node is not None and self.place(tensor, value).is_rows:
            types = {self.places[node - 1].dtype} if node else self.input_types
            if types == {value.dtype}:
                self.views.setdefault(node, []).append(tensor)

    def place(self, tensor: str | None, value: Affine, form: Form | None = None) -> Placement:
        made = form or value.form
        return Placement(
            tensor, value.shape, value.batch, value.dtype, made.realisation, made.nodes
        )

    def new_layer(
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
