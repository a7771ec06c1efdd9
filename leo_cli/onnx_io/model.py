"""A model that has been read: the network, and where in the file each part of it lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from leo_cli.network import Network
from leo_cli.onnx_io.placement import Placement
from leo_cli.tensors import TensorSpec


@dataclass(frozen=True, eq=False)
class Model:
    """A model file and the dense ReLU part read from it.

    sha256, size: of the file's bytes; the size includes external data. inputs: the graph's inputs
    without initializers, in order; node 0 of the network is their concatenation, each flattened
    without its batch axis. outputs: the graph's outputs (features with -1 where the file does not
    say). network: no layers where the file has no dense ReLU layer. notes: what a user should know
    about the reading. source: the bytes of the file. directory: where it lies (None: from a pipe).
    The rest is for `onnx_io` and `verify`: proto: all weights inside, functions inlined; places: of
    each layer, by its name; views: node -> tensors that list its units in order with the axes
    (samples, features). in_order: whether the file lists its nodes in an order of evaluation; where
    it does not, a copy of it is no valid model.
    """

    name: str
    sha256: str
    size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    network: Network
    notes: tuple[str, ...]
    has_external_data: bool
    source: bytes = field(repr=False)
    directory: Path | None = field(repr=False)
    proto: onnx.ModelProto = field(repr=False)
    places: Mapping[str, Placement] = field(repr=False)
    views: Mapping[int, tuple[str, ...]] = field(repr=False)
    in_order: bool = True

    @property
    def batch_size(self) -> int | None:
        """The number of samples that the file fixes for one call; None where it leaves it open."""
        for spec in self.inputs:
            if len(spec.features) < len(spec.shape) and not isinstance(spec.shape[0], int):
                return None
        sizes = [s.shape[0] for s in self.inputs if len(s.features) < len(s.shape)]
        return next((n for n in sizes if isinstance(n, int)), 1)


def has_batch(spec: TensorSpec) -> bool:
    """Has the input an axis that counts samples (and is not fixed to one)?"""
    return len(spec.features) < len(spec.shape) and spec.shape[0] != 1
