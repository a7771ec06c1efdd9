"""What a network costs, so that a rewrite is applied only where it makes the network cheaper.

`connections` (default): the papers' measure, the number of stored matrix entries. `units`: hidden ReLU units.
`parameters`: connections and biases. `latency`: an estimate for a single row, in units of one
connection: a product with a matrix streams its entries from memory, and every operator costs a fixed
time before it does anything. Measured with onnxruntime on one core (batch 1): a small operator takes about as long as
2,000 entries of a matrix product. Ties are broken by the other measures, so that equal connections with
fewer units count as cheaper.
"""

from __future__ import annotations

from dataclasses import dataclass

from leo_cli.network import Dense, Network

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
        """Whether the candidate costs less, and is larger in no way that counts.

        No rewrite adds connections, whatever is minimized: a smaller file is the promise.
        """
        if candidate.connections > current.connections:
            return False
        return self.of(candidate) < self.of(current)


def latency(network: Network) -> float:
    """Estimated time of one evaluation of a single row, in connections."""
    total = 0.0
    for layer in network.layers:
        total += OPERATOR * layer.relu + layer.width
        for position, term in enumerate(layer.terms):
            operators = 1 if isinstance(term.map, Dense) else 2
            total += OPERATOR * (operators + (position > 0)) + term.map.connections
    return total
