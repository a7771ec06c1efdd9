"""A network with a planted number of stable units: what LEO's rules leave of it, and what leo does.

    python benchmarks/planted.py [--scale 1] [--seed 0]

The network is 3072-400-400-10 over the box [0, 1]^3072, of the size that ExactCompression (arXiv
2102.07804) compresses: 85 active and 284 inactive units in layer 1, 137 active and 131 inactive in
layer 2. Weights are Gaussian, so that nothing else is redundant. Biases are chosen by the range of
each row: a stable unit has a margin of at least MARGIN of it, an unstable one is positive at half
of the sampled points and negative at the others.

Deleting the inactive units leaves 116 and 269 units. The 137 active rows of layer 2 read 116 units,
so 21 of them depend on the others: LEO's rules end with 116 and 248. The 10 outputs tell no more
than 10 linear units apart: 132 + 10 = 142 are enough.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np

from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.rewrite import RewriteOptions, parse_tolerance, shrink
from leo_cli.rewrite.passes import LEO
from leo_cli.stability import Budget, ClassifyOptions, StabilityMap, classify

Array = np.ndarray
MARGIN = 0.02


@dataclass(frozen=True)
class Plan:
    """inputs, outputs; of each hidden layer its width, and how many units are active and
    inactive."""

    inputs: int = 3072
    outputs: int = 10
    widths: tuple[int, ...] = (400, 400)
    active: tuple[int, ...] = (85, 137)
    inactive: tuple[int, ...] = (284, 131)

    def scaled(self, scale: float) -> Plan:
        def less(numbers: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(max(1, round(n * scale)) for n in numbers)

        active, inactive = less(self.active), less(self.inactive)
        unstable = less(self.unstable)
        widths = tuple(sum(parts) for parts in zip(active, inactive, unstable, strict=True))
        return Plan(less((self.inputs,))[0], less((self.outputs,))[0], widths, active, inactive)

    @property
    def unstable(self) -> tuple[int, ...]:
        parts = zip(self.widths, self.active, self.inactive, strict=True)
        return tuple(width - active - inactive for width, active, inactive in parts)

    @property
    def without_inactive(self) -> tuple[int, ...]:
        parts = zip(self.widths, self.inactive, strict=True)
        return tuple(width - inactive for width, inactive in parts)

    @property
    def by_leo(self) -> tuple[int, ...]:
        """Units that LEO's rules leave: independent active rows, and the unstable units."""
        reads = (self.inputs, *self.without_inactive)
        parts = zip(self.unstable, self.active, reads, strict=False)
        return tuple(unstable + min(active, inputs) for unstable, active, inputs in parts)

    @property
    def enough(self) -> tuple[int, ...]:
        """Units that are enough: no more linear ones than the next layer has rows."""
        readers = (*self.without_inactive[1:], self.outputs)
        parts = zip(self.unstable, self.active, self.by_leo, readers, strict=True)
        return tuple(
            min(leo, unstable + min(active, rows)) for unstable, active, leo, rows in parts
        )


def planted(plan: Plan, seed: int = 0) -> Network:
    """The network of a plan, in float32."""
    rng = np.random.default_rng(seed)
    low, high = np.zeros(plan.inputs), np.ones(plan.inputs)
    points = np.float32(rng.random((512, plan.inputs))).astype(np.float64)
    points[::2] = points[::2] > 0.5
    layers = []
    for k, width in enumerate(plan.widths):
        matrix = _float32(rng.normal(scale=np.sqrt(2 / len(low)), size=(width, len(low))))
        least = np.minimum(matrix, 0) @ high + np.maximum(matrix, 0) @ low
        most = np.maximum(matrix, 0) @ high + np.minimum(matrix, 0) @ low
        values = points @ matrix.T
        margin = MARGIN * (most - least)
        kinds = np.repeat([0, 1, 2], [plan.active[k], plan.inactive[k], plan.unstable[k]])
        kinds = rng.permutation(kinds)
        bias = np.choose(kinds, [margin - least, -most - margin, -np.median(values, axis=0)])
        bias = _float32(bias)
        layers.append(Layer(f"layer{k + 1}", (Term(k, Dense(matrix)),), bias, relu=True))
        low, high = np.maximum(least + bias, 0), np.maximum(most + bias, 0)
        points = np.maximum(values + bias, 0)
    matrix = _float32(rng.normal(scale=np.sqrt(1 / len(low)), size=(plan.outputs, len(low))))
    bias = _float32(rng.normal(size=plan.outputs))
    last = Layer("logits", (Term(len(layers), Dense(matrix)),), bias, relu=False)
    return Network(plan.inputs, (*layers, last), (len(layers) + 1,))


def _float32(values: Array) -> Array:
    return np.float32(values).astype(np.float64)


def widths(network: Network) -> tuple[int, ...]:
    """Units of the hidden layers."""
    return tuple(layer.width for layer in network.layers[:-1])


def counts(stability: StabilityMap) -> list[tuple[int, int, int]]:
    """(active, inactive, neither) of each hidden layer."""
    found = []
    for layer in stability.layers[:-1]:
        active, inactive = len(layer.active), len(layer.inactive)
        found.append((active, inactive, len(layer.verdicts) - active - inactive))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="of all widths (default 1)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    plan = Plan().scaled(arguments.scale)
    network = planted(plan, arguments.seed)
    domain = Domain(np.zeros(plan.inputs), np.ones(plan.inputs))
    start = time.perf_counter()
    stability = classify(network, domain, ClassifyOptions(), Budget())
    print(f"classified in {time.perf_counter() - start:.1f} s: {counts(stability)}")
    print(f"by construction: LEO's rules leave {plan.by_leo}, {plan.enough} are enough\n")
    print("| rewrites | tolerance | units | connections removed | s |")
    print("|---|---|---|---|---|")
    for name, rewrites in (("LEO's rules", LEO), ("all", None)):
        for text in ("0", "half-ulp", "1e-5r"):
            options = RewriteOptions(tolerance=parse_tolerance(text), rewrites=rewrites)
            start = time.perf_counter()
            result = shrink(network, stability, domain, options).network
            took = time.perf_counter() - start
            removed = 1 - result.connections / network.connections
            print(f"| {name} | {text} | {widths(result)} | {removed:.1%} | {took:.1f} |")


if __name__ == "__main__":
    main()
