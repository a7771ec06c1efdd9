"""One node of the graph as the operators' readers see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx

from leo_cli.onnx_io.constants import attributes


@dataclass(frozen=True)
class Step:
    """position: of the node in the graph. inputs: names, "" where an optional one is left out.
    opset: version of the operator set that the node belongs to."""

    position: int
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    opset: int

    def integer(self, name: str, default: int) -> int:
        return int(self.attributes.get(name, default))

    def number(self, name: str, default: float) -> float:
        return float(self.attributes.get(name, default))

    def integers(self, name: str) -> tuple[int, ...] | None:
        found = self.attributes.get(name)
        return None if found is None else tuple(int(n) for n in found)


def step_of(node: onnx.NodeProto, position: int, versions: dict[str, int]) -> Step:
    domain = "" if node.domain == "ai.onnx" else node.domain
    return Step(
        position,
        node.op_type,
        domain,
        tuple(node.input),
        tuple(node.output),
        attributes(node),
        versions.get(domain, 1),
    )
