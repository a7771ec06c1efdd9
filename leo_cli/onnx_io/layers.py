"""Write layers of a network as operators on tensors of the axes (samples, features).

Coefficients that are stored numbers are written by `products`. Rows whose coefficients no stored
number can hold (a division, a normalisation) are computed by the operator they came from, with its
constants cut to these rows, so that no coefficient changes; rows of both kinds in one layer are
computed apart and joined. A layer that reads nothing is its bias, repeated for each sample.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.errors import InternalFault
from leo_cli.network import Layer, Network
from leo_cli.onnx_io.forms import Form, Normalisation, Realisation, select, single_units
from leo_cli.onnx_io.model import Model, has_batch
from leo_cli.onnx_io.naming import Sheet
from leo_cli.onnx_io.placement import Placement
from leo_cli.onnx_io.plan import Plan
from leo_cli.onnx_io.products import Predecessors, Products
from leo_cli.onnx_io.units import Units

EXPAND = 8  # the operator set that has Expand
ACTIVATIONS = ("Relu", "Max", "Clip", "LeakyRelu", "PRelu", "ThresholdedRelu", "FusedGemm")


class Layers:
    """Writes the nodes of `plan.written` onto a sheet, in order."""

    def __init__(self, model: Model, network: Network, plan: Plan, sheet: Sheet) -> None:
        self.model = model
        self.network = network
        self.plan = plan
        self.sheet = sheet
        self.units = Units(model, network, plan.rows, sheet)
        self.products = Products(self.units, sheet)
        self.constants = frozenset(t.name for t in model.proto.graph.initializer)
        self.before = {layer.name: layer for layer in model.network.layers}
        kinds = {n.op_type for p in model.places.values() for n in self._nodes(p)}
        self.style = "MatMul" if "MatMul" in kinds and "Gemm" not in kinds else "Gemm"

    def write(self) -> None:
        """Write all nodes, then the tensors of the original that must hold their values."""
        axes = {p.tensor: p for p in self.model.places.values() if p.tensor}
        wanted = {node: tensor for tensor, node in self.plan.in_place.items()}
        for node in self.plan.written:
            place = self.units.place(node)
            self.sheet.at = max((self.sheet.at, *(place.nodes if place else ())))
            own = wanted.get(node)
            if own is not None and not (
                axes[own].is_rows and axes[own].dtype == self.units.type_of(node)
            ):
                own = None
            self.units.rows[node] = self._layer(self.network.layers[node - 1], place, own)
        for tensor, node in self.plan.in_place.items():
            self.units.restore(tensor, axes[tensor], node)

    def _nodes(self, place: Placement | None) -> tuple:  # type: ignore[type-arg]
        nodes = self.model.proto.graph.node
        return () if place is None else tuple(nodes[k] for k in place.nodes)

    def _predecessors(self, place: Placement | None) -> Predecessors:
        nodes = self._nodes(place)
        kinds = [n.op_type for n in nodes if n.op_type in ("Gemm", "FusedGemm", "MatMul")]
        style = self.style if not kinds else "MatMul" if kinds[0] == "MatMul" else "Gemm"
        return Predecessors(nodes, self.constants, style)

    def _layer(self, layer: Layer, place: Placement | None, own: str | None) -> str:
        """Write a layer; returns its tensor, which is `own` where that is given."""
        old = self._predecessors(place)
        dtype = place.dtype if place else self.network.dtype
        out = own or self.sheet.tensors.fresh((place.tensor if place else None) or layer.name)
        form = Form(tuple(t for t in layer.terms if t.map.in_features), layer.bias)
        groups = self._groups(layer, place, form)
        if layer.relu and set(groups) == {"constant"}:
            return self._constant(out, np.maximum(layer.bias, 0.0), dtype)
        target = out if not layer.relu else self._inner(out, old)
        made = self._rows(target, layer, place, form, groups, old, dtype)
        if layer.relu:
            return self.sheet.add("Relu", [made], out, old.of(*ACTIVATIONS))
        return made if own is None or made == own else self.sheet.add("Identity", [made], own)

    def _rows(
        self,
        out: str,
        layer: Layer,
        place: Placement | None,
        form: Form,
        groups: dict[str, Ints],
        old: Predecessors,
        dtype: str,
    ) -> str:
        """All rows before the ReLU: each group by itself, then joined in their order."""
        fresh = self.sheet.tensors.fresh
        made = []
        for kind, rows in groups.items():
            alone = len(groups) == 1
            name = out if alone else fresh(f"{out}/{kind}")
            part = form if alone else select(form, rows)
            if kind == "constant":
                made.append(self._constant(name, part.bias, dtype))
            elif kind == "stored":
                by = old if alone else replace(old, nodes=())
                made.append(self.products.write(name, part, dtype, by))
            else:
                made.append(self._operator(name, part, layer.origin[rows], place, old))
        if len(made) == 1:
            return made[0]
        joined = self.sheet.add("Concat", made, fresh(f"{out}/joined"), axis=1)
        order = np.argsort(np.concatenate(list(groups.values()))).astype(np.int64)
        if np.array_equal(order, np.arange(len(order))):
            return joined
        index = self.sheet.constant(f"{out}/order", order)
        return self.sheet.add("Gather", [joined, index], out, axis=1)

    def _inner(self, out: str, old: Predecessors) -> str:
        """A name for a pre-activation: that of the original where it is free."""
        names = [n.output[0] for n in old.nodes]
        wanted = names[-2] if len(names) > 1 and names[-1] != names[-2] else f"{out}/before"
        return self.sheet.tensors.fresh(wanted)

    def _constant(self, out: str, bias: Floats, dtype: str) -> str:
        row = self.sheet.stored(f"{out}/value", bias[None, :], dtype)
        return self._repeated(out, row, len(bias), dtype)

    def _repeated(self, out: str, row: str, width: int, dtype: str) -> str:
        """The tensor `row` of shape (1, width) for each sample; plus 0 * x where samples cannot be
        counted, so that the result still depends on the input in the graph."""
        add, fresh, constant = self.sheet.add, self.sheet.tensors.fresh, self.sheet.constant
        batched = next((s for s in self.model.inputs if has_batch(s)), None)
        if batched is None or self.sheet.opset < EXPAND:
            first = np.zeros(width, dtype=np.int64)
            picked_up = self.units.pick(first, first, dtype, fresh(f"{out}/picked"))
            zeros = self.sheet.stored(f"{out}/zeros", np.zeros(width), dtype)
            nothing = add("Mul", [picked_up, zeros], fresh(f"{out}/nothing"))
            return add("Add", [nothing, row], out)
        shape = add("Shape", [batched.name], fresh(f"{out}/input_shape"))
        axis = constant("leo/batch_axis", np.array([0], dtype=np.int64))
        samples = add("Gather", [shape, axis], fresh(f"{out}/samples"), axis=0)
        features = constant(f"{out}/width", np.array([width], dtype=np.int64))
        target = add("Concat", [samples, features], fresh(f"{out}/shape"), axis=0)
        return add("Expand", [row, target], out)

    def _groups(self, layer: Layer, place: Placement | None, form: Form) -> dict[str, Ints]:
        """The rows by how they are computed.

        "kept": by the operator of the original, with the very coefficients they had (at 0, where
        the unit that they read is gone). "stored": as stored numbers. "constant": the bias alone.
        """
        live = np.zeros(layer.width, dtype=bool)
        for term in form.terms:
            live |= term.map.magnitude().apply(np.ones(term.map.in_features)) > 0
        by_operator = np.zeros(layer.width, dtype=bool)
        if place is not None and place.realisation is not None:
            before = self.before[layer.name]
            was, now = single_units(Form(before.terms, before.bias)), single_units(form)
            if len(was.scale):
                origin = np.maximum(layer.origin, 0)
                same = now.is_single & (now.scale == was.scale[origin])
                by_operator = (layer.origin >= 0) & (~live | same)
                if isinstance(place.realisation, Normalisation):
                    by_operator = by_operator & (layer.bias == before.bias[origin])
        others = "stored" if np.any(live & ~by_operator) else "constant"
        kinds = {"kept": by_operator, others: ~by_operator}
        groups = {kind: np.flatnonzero(rows) for kind, rows in kinds.items() if np.any(rows)}
        return groups or {"constant": np.arange(layer.width)}

    def _operator(
        self,
        out: str,
        form: Form,
        origin: Ints,
        place: Placement | None,
        old: Predecessors,
    ) -> str:
        """The rows of the units `origin` through the operator that has their coefficients."""
        units = single_units(form)
        if place is None or place.realisation is None:
            raise InternalFault(f'"{out}" has no operator to be computed by')
        fresh = self.sheet.tensors.fresh
        made = place.realisation.take(origin)
        live = units.scale != 0
        first = int(np.argmax(live))  # what stands in for units that are gone, times 0
        source = np.where(live, units.source, units.source[first])
        column = np.where(live, units.column, units.column[first])
        picks = self.units.pick(source, column, place.dtype, fresh(f"{out}/picked"))
        if not np.all(live):
            mask = self.sheet.stored(f"{out}/mask", live.astype(np.float64), place.dtype)
            picks = self.sheet.add("Mul", [picks, mask], fresh(f"{out}/masked"))
        if isinstance(made, Normalisation) or not np.any(form.bias):
            return self._applied(out, picks, made, place, old)
        divided = self._applied(fresh(f"{out}/divided"), picks, made, place, old)
        return self.products.plus(out, divided, form.bias, place.dtype, old)

    def _applied(
        self, out: str, data: str, made: Realisation, place: Placement, old: Predecessors
    ) -> str:
        """The operator itself."""
        if isinstance(made, Normalisation):
            like = old.of("BatchNormalization")
            parts = (made.scale, made.shift, made.mean, made.variance)
            stored = [
                self.sheet.stored(like.input[k] if like else f"{out}/{k}", part, place.dtype)
                for k, part in enumerate(parts, start=1)
            ]
            inputs = [data, *stored]
            return self.sheet.add("BatchNormalization", inputs, out, like, epsilon=made.epsilon)
        like = old.of("Div")
        name = old.constant(like, slice(1, 2), f"{out}/divisor")
        divisor = self.sheet.stored(name, made.divisor, place.dtype)
        return self.sheet.add("Div", [data, divisor], out, like)
