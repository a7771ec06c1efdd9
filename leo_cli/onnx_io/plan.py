"""What of the original graph stays as it is, and which nodes of the new network are written anew.

A layer of the new network is the *same* as in the original if its coefficients are, every node it
reads kept all its units in their order (is *intact*), and so did every node whose tensor lies on
the way there in the graph. The original operators then go on computing it. Starting from the
graph's outputs, what is needed is followed back: tensors to their operators, until a tensor belongs
to a node that is not the same, which is then written.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.network import Dense, Layer, LinearMap, Network, Scaled
from leo_cli.onnx_io.model import Model
from leo_cli.onnx_io.placement import Placement


@dataclass(frozen=True)
class Plan:
    """kept: positions of operators that stay. written: nodes of the new network to write, in order.
    in_place: tensor of the original -> node whose value it must hold, with the original's axes.
    rows: node that is the same (or 0) -> tensor of the original that lists its units as (samples,
    features), where there is one. tensors: names of the original that stay in use."""

    kept: frozenset[int]
    written: tuple[int, ...]
    in_place: dict[str, int]
    rows: dict[int, str]
    tensors: frozenset[str]


def equal_maps(a: LinearMap, b: LinearMap) -> bool:
    """Are two stored maps the same, entry by entry?"""
    if a is b:
        return True
    if isinstance(a, Dense) and isinstance(b, Dense):
        return np.array_equal(a.matrix, b.matrix)
    if isinstance(a, Scaled) and isinstance(b, Scaled):
        return (
            a.in_features == b.in_features
            and np.array_equal(a.index, b.index)
            and np.array_equal(a.scale, b.scale)
        )
    return False


class Planner:
    def __init__(self, model: Model, network: Network) -> None:
        self.model = model
        self.network = network
        self.graph = model.proto.graph
        self.old = {layer.name: k for k, layer in enumerate(model.network.layers, start=1)}
        self.new = {layer.name: k for k, layer in enumerate(network.layers, start=1)}
        self.makers = {o: k for k, node in enumerate(self.graph.node) for o in node.output if o}
        self.owner = {p.tensor: name for name, p in model.places.items() if p.tensor}
        self._same: dict[int, bool] = {0: True}
        self.provider: dict[str, int] = {}
        for name, node in self.new.items():
            tensor = model.places[name].tensor if name in model.places else None
            if tensor and self.intact(node):
                self.provider[tensor] = node
        for before, after in zip(model.network.outputs, network.outputs, strict=True):
            tensor = self.place(model.network, before).tensor
            if tensor is not None:
                self.provider[tensor] = after

    def place(self, network: Network, node: int) -> Placement:
        return self.model.places[network.layers[node - 1].name]

    def intact(self, node: int) -> bool:
        """Does the node have all units of the original, in their order?"""
        if node == 0:
            return True
        layer = self.network.layers[node - 1]
        if layer.name not in self.old:
            return False
        width = self.model.network.width(self.old[layer.name])
        return layer.width == width and np.array_equal(layer.origin, np.arange(width))

    def same(self, node: int) -> bool:
        """Can the original operators compute the node?"""
        if node not in self._same:
            self._same[node] = self.intact(node) and self._same_values(node)
        return self._same[node]

    def _same_values(self, node: int) -> bool:
        layer = self.network.layers[node - 1]
        before = self.model.network.layers[self.old[layer.name] - 1]
        if (
            layer.relu != before.relu
            or layer.weight_error != before.weight_error
            or len(layer.terms) != len(before.terms)
            or not np.array_equal(layer.bias, before.bias)
        ):
            return False
        for term, was in zip(layer.terms, before.terms, strict=True):
            if self._name(self.network, term.source) != self._name(self.model.network, was.source):
                return False
            virtual = term.source and self.place(self.network, term.source).tensor is None
            if not (self.same(term.source) if virtual else self.intact(term.source)):
                return False
            if not equal_maps(term.map, was.map):
                return False
        return all(
            name in self.new and self.intact(self.new[name]) for name in self._on_the_way(layer)
        )

    def _name(self, network: Network, node: int) -> str:
        return network.layers[node - 1].name if node else ""

    def _on_the_way(self, layer: Layer) -> set[str]:
        """Layers whose tensors the original operators read to compute a layer's tensor."""
        tensor = self.model.places[layer.name].tensor
        if tensor is None:
            return set()
        found: set[str] = set()
        seen: set[str] = set()
        waiting = list(self._inputs(tensor))
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in self.owner:
                found.add(self.owner[name])
            else:
                waiting.extend(self._inputs(name))
        return found

    def _inputs(self, tensor: str) -> list[str]:
        maker = self.makers.get(tensor)
        return [] if maker is None else [i for i in self.graph.node[maker].input if i]

    def plan(self) -> Plan:
        kept: set[int] = set()
        written: set[int] = set()
        in_place: dict[str, int] = {}
        rows: dict[int, str] = {}
        tensors: set[str] = {i.name for i in self.graph.input}
        seen: set[str | int] = set()
        waiting: list[str | int] = [o.name for o in self.graph.output]
        while waiting:
            item = waiting.pop()
            if item in seen:
                continue
            seen.add(item)
            if isinstance(item, str):
                tensors.add(item)
                node = self.provider.get(item)
                if node is not None and not self._computes(node, item):
                    in_place[item] = node
                    waiting.append(node)
                elif item in self.makers:  # a narrowed node that is needed whole: computed twice
                    kept.add(self.makers[item])
                    waiting.extend(self._inputs(item))
            elif item == 0 or (self.same(item) and self.place(self.network, item).tensor):
                waiting.extend(self._as_rows(item, rows))
            else:
                written.add(item)
                terms = self.network.layers[item - 1].terms
                waiting.extend(t.source for t in terms if t.map.in_features)
        return Plan(frozenset(kept), tuple(sorted(written)), in_place, rows, frozenset(tensors))

    def _computes(self, node: int, tensor: str) -> bool:
        """Do the original operators of `tensor` compute the node?"""
        return node > 0 and self.same(node) and self.place(self.network, node).tensor == tensor

    def _as_rows(self, node: int, rows: dict[int, str]) -> list[str]:
        """The tensor to read a node's units from that the original operators compute."""
        name = self._name(self.network, node)
        views = self.model.views.get(self.old[name] if node else 0, ())
        if views:
            rows[node] = views[0]
            return [views[0]]
        tensor = self.place(self.network, node).tensor if node else None
        return [tensor] if tensor else []
