"""What a network costs, so that a rewrite is applied only where it makes the network cheaper.

`connections` (default): the papers' measure, the number of stored matrix entries. `units`: hidden
ReLU units. `parameters`: connections and biases. `latency`: an estimate for a single row, in units
of one connection: a product with a matrix streams its entries from memory, and every operator costs
a fixed time before it does anything. Measured with onnxruntime on one core (batch 1): a small
operator takes about as long as 2,000 entries of a matrix product. Ties are broken by the other
measures, so that equal connections with fewer units count as cheaper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.network import LinearMap, Network, Scaled

MEASURES = ("connections", "units", "parameters", "latency")
OPERATOR = 2_000  # connections that take as long as starting one more operator


@dataclass(frozen=True)
class Cost:
    """minimize: one of MEASURES."""

    minimize: str = "connections"

    def of(self, network: Network) -> tuple[float, ...]:
        """Compared lexicographically; smaller is cheaper."""
        by_name = {
            "connections": network.connections,
            "units": network.units,
            "parameters": network.parameters,
            "latency": latency(network),
        }
        rest = [by_name[name] for name in ("connections", "units", "parameters", "latency")]
        return (float(by_name[self.minimize]), *map(float, rest))

    def cheaper(self, candidate: Network, current: Network) -> bool:
        """Whether the candidate costs less, without more connections and without a larger latency
        estimate.

        So no rewrite makes the file larger, and none buys a few connections with another operator.
        """
        if candidate.connections > current.connections or latency(candidate) > latency(current):
            return False
        return self.of(candidate) < self.of(current)


def latency(network: Network) -> float:
    """Estimated time of one evaluation of a single row, in connections."""
    total = 0.0
    for layer in network.layers:
        operators = int(layer.relu) + max(len(layer.terms) - 1, 0)  # activations and sums
        for term in layer.terms:
            operators += _operators(term.map)
            total += term.map.connections
        total += OPERATOR * operators + layer.width
    return total


def _operators(linear: LinearMap) -> int:
    """Operators of a map: a product (with its bias), a Gather, a Gather and a Mul."""
    if isinstance(linear, Scaled) and np.any(linear.scale != 1):
        return 2
    return 1
