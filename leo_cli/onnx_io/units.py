"""The units of nodes as tensors of the axes (samples, features), for operators that are written.

A node is read from the tensor that was written for it, from a tensor of the original that lists its
units, or, for node 0, from the graph's inputs, of which only those are joined that are needed.
"""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from leo_cli.arrays import Ints
from leo_cli.errors import InternalFault
from leo_cli.network import Network
from leo_cli.onnx_io.constants import ELEMENT_TYPES
from leo_cli.onnx_io.model import Model, has_batch
from leo_cli.onnx_io.naming import Sheet
from leo_cli.onnx_io.placement import Placement


class Units:
    """rows: node -> tensor of its units, for nodes that have one; grows as nodes are written."""

    def __init__(self, model: Model, network: Network, rows: dict[int, str], sheet: Sheet) -> None:
        self.model = model
        self.network = network
        self.sheet = sheet
        self.rows = dict(rows)
        self._cast: dict[tuple[str, str], str] = {}
        self._inputs: dict[int, str] = {}
        self._starts = np.array([0, *accumulate(s.size for s in model.inputs)])

    def place(self, node: int) -> Placement | None:
        """Where the node of the same name lives in the original."""
        return self.model.places.get(self.network.layers[node - 1].name)

    def type_of(self, node: int) -> str:
        place = None if node == 0 else self.place(node)
        if node == 0:
            return self.model.inputs[0].dtype
        return place.dtype if place else self.network.dtype

    def read(self, node: int, dtype: str) -> str:
        """All units of a node, in type `dtype`."""
        if node in self.rows:
            return self._as_type(self.rows[node], self.type_of(node), dtype)
        if node == 0:
            return self._join([self._input(k, dtype) for k in range(len(self.model.inputs))], "x")
        place = self.place(node)
        if place is None or place.tensor is None:
            raise InternalFault(f"node {node} of the rewritten network was not written")
        self.rows[node] = self._flat(place.tensor, place)
        return self._as_type(self.rows[node], place.dtype, dtype)

    def pick(self, source: Ints, column: Ints, dtype: str, out: str) -> str:
        """Units column[i] of nodes source[i], side by side; `out` names the result if it is new."""
        several = len(self.model.inputs) > 1 and 0 not in self.rows
        part = np.searchsorted(self._starts, column, side="right") - 1
        part = np.where((source == 0) & several, part, 0)
        tensors, widths = [], [0]
        position = np.zeros(len(column), dtype=np.int64)
        for node, k in sorted({(int(s), int(p)) for s, p in zip(source, part, strict=True)}):
            here = (source == node) & (part == k)
            one_input = node == 0 and several
            position[here] = column[here] - (self._starts[k] if one_input else 0) + sum(widths)
            tensors.append(self._input(k, dtype) if one_input else self.read(node, dtype))
            widths.append(self.model.inputs[k].size if one_input else self.network.width(node))
        if np.array_equal(position, np.arange(sum(widths))):
            return self._join(tensors, out, out)
        index = self.sheet.constant(f"{out}/index", position)
        return self.sheet.add("Gather", [self._join(tensors, out), index], out, axis=1)

    def restore(self, tensor: str, axes: Placement, node: int) -> None:
        """Write `tensor`, of the original's axes, from the node's units."""
        rows = self.read(node, axes.dtype)
        if rows == tensor:
            return
        if axes.is_rows:
            self.sheet.add("Identity", [rows], tensor)
        elif axes.batch is None:
            self._reshape(rows, list(axes.shape), tensor)
        elif axes.batch == 0:
            self._reshape(rows, [-1, *axes.shape], tensor)
        else:
            inner = self._reshape(
                rows, [-1, *axes.shape], self.sheet.tensors.fresh(f"{tensor}/rows")
            )
            order = list(range(1, len(axes.shape) + 1))
            order.insert(axes.batch, 0)
            self.sheet.add("Transpose", [inner], tensor, perm=order)

    def _as_type(self, tensor: str, now: str, dtype: str) -> str:
        if now == dtype:
            return tensor
        key = (tensor, dtype)
        if key not in self._cast:
            out = self.sheet.tensors.fresh(f"{tensor}/{dtype}")
            self._cast[key] = self.sheet.add("Cast", [tensor], out, to=ELEMENT_TYPES[dtype])
        return self._cast[key]

    def _input(self, position: int, dtype: str) -> str:
        """One input of the graph."""
        spec = self.model.inputs[position]
        if position not in self._inputs:
            batch = 0 if has_batch(spec) else None
            ones = () if batch == 0 else (1,) * (len(spec.shape) - len(spec.features))
            place = Placement(spec.name, (*ones, *spec.features), batch, spec.dtype)
            self._inputs[position] = self._flat(spec.name, place)
        return self._as_type(self._inputs[position], spec.dtype, dtype)

    def _flat(self, tensor: str, place: Placement) -> str:
        if place.is_rows:
            return tensor
        fresh = self.sheet.tensors.fresh
        if place.batch is None:
            return self._reshape(tensor, [1, -1], fresh(f"{tensor}/rows"))
        if place.batch > 0:
            rank = len(place.shape) + 1
            order = [place.batch, *(k for k in range(rank) if k != place.batch)]
            turned = fresh(f"{tensor}/turned")
            tensor = self.sheet.add("Transpose", [tensor], turned, perm=order)
            if rank == 2:
                return tensor
        return self.sheet.add("Flatten", [tensor], fresh(f"{tensor}/rows"), axis=1)

    def _reshape(self, tensor: str, shape: list[int], out: str) -> str:
        target = self.sheet.constant(f"{out}/shape", np.array(shape, dtype=np.int64))
        return self.sheet.add("Reshape", [tensor, target], out)

    def _join(self, parts: list[str], wanted: str, out: str | None = None) -> str:
        if len(parts) == 1:
            return parts[0]
        return self.sheet.add(
            "Concat", parts, out or self.sheet.tensors.fresh(f"{wanted}/joined"), axis=1
        )
