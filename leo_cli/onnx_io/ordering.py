"""Orders of evaluation of operators."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import onnx


def evaluation_order(nodes: Sequence[onnx.NodeProto], places: Sequence[int]) -> list[int]:
    """Positions in `nodes` such that each operator comes after those it reads, among these the one
    with the smallest place first. Shorter than `nodes` where they form a cycle."""
    makers = {o: k for k, node in enumerate(nodes) for o in node.output if o}
    waiting = [{makers[i] for i in node.input if i in makers} for node in nodes]
    readers: dict[int, list[int]] = {}
    for k, needs in enumerate(waiting):
        for maker in needs:
            readers.setdefault(maker, []).append(k)
    ready = [(places[k], k) for k, needs in enumerate(waiting) if not needs]
    heapq.heapify(ready)
    order = []
    while ready:
        _, first = heapq.heappop(ready)
        order.append(first)
        for reader in readers.get(first, ()):
            waiting[reader].discard(first)
            if not waiting[reader]:
                heapq.heappush(ready, (places[reader], reader))
    return order
