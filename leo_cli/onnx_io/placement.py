"""Where nodes of the network live in a file, and where a network ends there."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from leo_cli.onnx_io.forms import Realisation

OUTPUTS_KEY = "leo.outputs"  # metadata of a rewritten file: the tensors at which its network ends


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


def pinned_outputs(proto: onnx.ModelProto) -> tuple[str, ...]:
    """The tensors that a rewritten file says its network ends at; none for other files.

    Without this, a network that lost its last ReLU or became constant would seem to end elsewhere.
    """
    text = next((p.value for p in proto.metadata_props if p.key == OUTPUTS_KEY), "")
    return tuple(dict.fromkeys(text.split("\n"))) if text else ()
