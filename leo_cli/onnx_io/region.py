"""Walk the graph once, in order, and read the dense ReLU network out of it.

Each tensor becomes a constant, an affine form over the nodes found so far, or opaque. A matrix
product that several operators read becomes a layer, so that it is computed once. The first operator
that cannot be read ends the network on its path: what it reads stays observable. Nothing of the
graph is changed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx

from leo_cli.errors import ModelError
from leo_cli.network import Dense
from leo_cli.onnx_io import operators
from leo_cli.onnx_io.folding import FOLD
from leo_cli.onnx_io.forms import constant, identity_of
from leo_cli.onnx_io.placement import Blocker, pinned_outputs
from leo_cli.onnx_io.scope import Scope
from leo_cli.onnx_io.screening import label, opsets
from leo_cli.onnx_io.step import Step, step_of
from leo_cli.onnx_io.values import FLOATING, Affine, Constant, Opaque, Unsupported, Value
from leo_cli.tensors import TensorSpec


class Region(Scope):
    """One walk.

    blockers: where the network ended, and why. observed: tensors that are read outside of it.
    pinned: tensors at which the network of a rewritten file ends.
    """

    def __init__(self, proto: onnx.ModelProto, name: str, specs: Sequence[TensorSpec]) -> None:
        super().__init__(proto, name, specs)
        self.versions = opsets(proto)
        self.blockers: list[Blocker] = []
        self.observed: list[str] = []
        self.pinned = pinned_outputs(proto)
        self._readers = Counter(i for node in self.graph.node for i in node.input)
        self._readers.update(o.name for o in self.graph.output)

    def walk(self) -> None:
        """Read all nodes, in the graph's order (which the checker has found topological)."""
        for position, node in enumerate(self.graph.node):
            step = step_of(node, position, self.versions)
            for tensor, value in zip(step.outputs, self._outputs(step, node), strict=True):
                if tensor:
                    self.values[tensor] = value
                    if tensor in self.pinned:
                        self._pin(tensor)
                    else:
                        self._shared(tensor)
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
        except (ValueError, IndexError, OverflowError) as error:  # numpy, of what it cannot do
            raise ModelError(
                f"{self.name}: {label(node)}: cannot be evaluated ({error}); export the model again"
            ) from None
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
            self.note_view(tensor, value)

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
            value = self.new_layer(tensor, value, value.form, relu=False)
        elif self.places[node - 1].dtype == value.dtype:  # the same node in other axes
            self.layers[node - 1] = replace(self.layers[node - 1], name=tensor)
            self.places[node - 1] = replace(
                self.places[node - 1], tensor=tensor, shape=value.shape, batch=value.batch
            )
        self.values[tensor] = value
        self.note_view(tensor, value)
        self.observed.append(tensor)
