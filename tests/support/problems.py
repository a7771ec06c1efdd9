"""Bounding problems made from small networks."""

from leo_cli.arrays import Floats
from leo_cli.bounds.interval import propagate
from leo_cli.bounds.linear import Relaxed, relaxed
from leo_cli.domain import Domain
from leo_cli.network import Network


def problem_of(network: Network, domain: Domain) -> Relaxed:
    """Bounds on the last layer, from intervals."""
    lower: list[Floats] = []
    upper: list[Floats] = []
    for k, layer in enumerate(network.layers):
        low, high = propagate(layer, domain, lower, upper, network.layers[:k])
        lower.append(low)
        upper.append(high)
    return relaxed(network, domain, lower, upper, len(network.layers) - 1)
