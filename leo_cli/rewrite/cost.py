"""What a network costs, so that a rewrite is applied only where it makes the network cheaper.

`connections` (default): the papers' measure, the number of stored matrix entries. `units`: hidden
ReLU units. `parameters`: connections and biases. `latency`: an estimate for a single row, in units
of one connection.

A rewrite has to save in the measure that is minimized: one that does not is no gain, yet moves bits
of the outputs. Only where nothing but products with 0 goes (drop_inactive, drop_unread) and every
number that stays is what it was, is a tie settled by the other measures, as it is between results
that save the same.

Measured with onnxruntime 1.32 on one core at batch 1: 27 entries of a matrix product a nanosecond;
0.3 us for one more Relu, Mul or Add; 4 ns for each index of a Gather. So an operator costs about as
much as 8,000 connections and an index as 100.

Whatever is minimized, a rewrite has to save PRICE connections for each operator that it adds, and
may not add connections: a direct path that saves 45 connections is no gain to anybody.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.network import LinearMap, Network, Scaled

MEASURES = ("connections", "units", "parameters", "latency")
OPERATOR = 8_000  # connections that take as long as starting one more operator
INDEX = 100  # connections that take as long as gathering one number
PRICE = 2_000  # connections to be saved for one more operator


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
        rest = [by_name[name] for name in MEASURES]
        return (float(by_name[self.minimize]), *map(float, rest))

    def priced(self, network: Network, before: Network) -> tuple[float, ...]:
        """The same with the price of the operators that are added to those of `before`: what
        several results are compared by."""
        cost = self.of(network)
        more = max(operators(network) - operators(before), 0)
        if self.minimize in ("connections", "parameters"):
            return (cost[0] + PRICE * more, *cost)
        return cost

    def cheaper(self, candidate: Network, current: Network, neutral: bool = False) -> bool:
        """Whether the candidate costs less, without more connections, and pays for its operators.

        neutral: whether every number that stays is what it was, so that other measures settle ties.
        """
        if candidate.connections > current.connections:
            return False
        more = operators(candidate) - operators(current)
        if PRICE * more > current.connections - candidate.connections:
            return False
        after, before = self.of(candidate), self.of(current)
        return after < before if neutral else after[0] < before[0]


def operators(network: Network) -> int:
    """Number of operators: activations, maps and the sums of several of them."""
    count = 0
    for layer in network.layers:
        count += int(layer.relu) + max(len(layer.terms) - 1, 0)
        count += sum(_operators(term.map) for term in layer.terms)
    return count


def latency(network: Network) -> float:
    """Estimated time of one evaluation of a single row, in connections."""
    indices = sum(
        term.map.out_features
        for layer in network.layers
        for term in layer.terms
        if isinstance(term.map, Scaled)
    )
    return float(network.connections + OPERATOR * operators(network) + INDEX * indices)


def _operators(linear: LinearMap) -> int:
    """Operators of a map: a product (with its bias), a Gather, or a Gather and a Mul."""
    if isinstance(linear, Scaled) and np.any(linear.scale != 1):
        return 2
    return 1
