"""How the time to classify grows with the network: widths 25 to 1600 at depth 2, depths 1 to 8 at
width 100.

    python benchmarks/growth.py --out growth.csv [--plot growth.png]

The family: random dense networks of 100 inputs, He-initialised, on a box of half-width 0.002 around
(0.5, ..., 0.5): at every size about half of the units are inactive, half active, and some 2%
unstable. Best of --repeat runs. The exponent is the slope of log time against log units (least
squares). --plot needs matplotlib.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
from leo_run import machine

from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.stability import Budget, State, classify

INPUTS, OUTPUTS, HALF_WIDTH = 100, 10, 0.002
WIDTHS, DEPTHS = (25, 50, 100, 200, 400, 800, 1600), (1, 2, 3, 4, 5, 6, 8)
LIMIT = 600.0  # seconds for one network


def network(width: int, depth: int, seed: int = 0) -> Network:
    """depth hidden layers of `width` units."""
    rng = np.random.default_rng(seed)
    layers, before = [], INPUTS
    for k in range(depth + 1):
        after = width if k < depth else OUTPUTS
        matrix = rng.normal(size=(after, before)) * np.sqrt(2.0 / before)
        bias = 0.1 * rng.normal(size=after)
        dense = Dense(matrix.astype(np.float32).astype(np.float64))
        layers.append(Layer(f"layer{k}", (Term(k, dense),), bias.astype(np.float32), k < depth))
        before = after
    return Network(INPUTS, tuple(layers), (depth + 1,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--largest", type=int, default=WIDTHS[-1], help="widest network to try")
    options = parser.parse_args()
    sizes = [(w, 2) for w in WIDTHS if w <= options.largest] + [(100, d) for d in DEPTHS]
    rows = []
    print(machine())
    for width, depth in sizes:
        made, best = network(width, depth), LIMIT
        domain = Domain(np.full(INPUTS, 0.5 - HALF_WIDTH), np.full(INPUTS, 0.5 + HALF_WIDTH))
        for _ in range(options.repeat):
            start = time.perf_counter()
            budget = Budget(time.monotonic() + LIMIT, jobs=options.jobs)
            found = classify(made, domain, budget=budget)
            best = min(best, time.perf_counter() - start)
        states = [v.state for layer in found.layers for v in layer.verdicts]
        counts = [states.count(state) for state in (State.UNSTABLE, State.UNDECIDED)]
        rows.append((width, depth, width * depth, best, *counts))
        print("width {}, depth {}: {} units, {:.3f} s, {} unstable, {} undecided".format(*rows[-1]))
    with options.out.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("width", "depth", "units", "seconds", "unstable", "undecided"), *rows]
        )
    wide = np.array([(r[2], r[3]) for r in rows if r[1] == 2])
    deep = np.array([(r[2], r[3]) for r in rows if r[0] == 100])
    exponents = [float(np.polyfit(np.log(a[:, 0]), np.log(a[:, 1]), 1)[0]) for a in (wide, deep)]
    print(f"exponent of time in units: {exponents[0]:.2f} by width, {exponents[1]:.2f} by depth")
    if options.plot:
        _plot(options.plot, wide, deep, exponents)


def _plot(path: Path, wide: np.ndarray, deep: np.ndarray, exponents: list[float]) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    for points, exponent, name in ((wide, exponents[0], "width"), (deep, exponents[1], "depth")):
        axes.loglog(*points.T, "o-", label=f"growing {name}: units^{exponent:.2f}")
    axes.set_xlabel("hidden units")
    axes.set_ylabel("seconds to classify")
    axes.legend()
    axes.grid(True, which="both", alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
