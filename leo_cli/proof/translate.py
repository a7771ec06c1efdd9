"""What leo calls a domain and a layer, in the checker's terms."""

from __future__ import annotations

import numpy as np

from leo_cli.domain import Domain
from leo_cli.network import Network
from leo_cli.proof.bounding import Box
from leo_cli.proof.graph import Net


def box_of_domain(domain: Domain) -> Box:
    """The domain as the checker sees it: without its linear constraints, so perhaps larger."""
    groups = []
    for group in domain.one_hot:
        order = np.argsort(group.members)
        choices = np.where(np.eye(len(order), dtype=bool), group.hot[order], group.cold[order])
        groups.append((group.members[order], choices))
    return Box(domain.lower, domain.upper, domain.integer, tuple(groups))


def relu_nodes(net: Net, network: Network) -> dict[int, int]:
    """The checker's node of each ReLU layer of the network: by name, else by order; {} if they do
    not correspond."""
    nodes = [k for k, node in enumerate(net.nodes) if node.relu]
    layers = network.relu_layers
    named = {net.nodes[k].name: k for k in nodes}
    found = {i: named[network.layers[i].name] for i in layers if network.layers[i].name in named}
    if len(found) < len(layers) and len(nodes) == len(layers):
        found = dict(zip(layers, nodes, strict=True))
    widths = {i: len(net.nodes[k].bias) for i, k in found.items()}
    return {i: k for i, k in found.items() if widths[i] == network.layers[i].width}
