"""Float64 evaluation of networks at many points, in blocks."""

from __future__ import annotations

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.network import Network

BLOCK_ENTRIES = 2**23  # of the widest layer


def concatenated_outputs(network: Network, points: Floats) -> Floats:
    """(n, components) the network's outputs at points (n, inputs), concatenated; plain float64."""
    widest = max([network.inputs, *(layer.width for layer in network.layers), 1])
    step = max(1, BLOCK_ENTRIES // widest)
    parts = [
        np.concatenate([*network.evaluate(points[i : i + step])], axis=1)
        for i in range(0, len(points), step)
        if network.outputs
    ]
    components = sum(network.width(node) for node in network.outputs)
    return np.concatenate(parts) if parts else np.zeros((len(points), components))
