"""The largest resident set of `leo analyze` on wide networks: random, 4,096 units a layer.

    python benchmarks/memory.py [--time-limit 60s]

He-initialised float32 weights, biases shifted down; box [0, 1]. The first file has 477 MB.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from leo_run import analyze, machine

from leo_cli.onnx_io.build import build_mlp_bytes

WIDTHS = ((25_000, 4096, 4096, 10), (784, 4096, 4096, 4096, 10))
LIMIT_GIB = 4.0


def model(widths: tuple[int, ...]) -> bytes:
    rng = np.random.default_rng(0)
    weights = [
        (rng.standard_normal((after, before), dtype=np.float32) * np.float32(np.sqrt(2 / before)))
        for before, after in pairwise(widths)
    ]
    biases = [-rng.random(after, dtype=np.float32) for after in widths[1:]]
    return build_mlp_bytes(weights, biases, input_name="x", output_name="y", metadata={})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--time-limit", default="60s")
    options = parser.parse_args()
    print(machine())
    print("| widths | file MB | undecided | classify s | peak GiB | limit |")
    print("|---|---|---|---|---|---|")
    for widths in WIDTHS:
        with TemporaryDirectory() as folder:
            path, bounds = Path(folder) / "model.onnx", Path(folder) / "bounds.json"
            path.write_bytes(model(widths))
            bounds.write_text('{"lower": 0, "upper": 1}')
            megabytes = path.stat().st_size / 1e6
            run = analyze(path, bounds, ["--time-limit", options.time_limit])
        undecided = run.report["totals"]["undecided"] if run.report else run.message
        print(
            f"| {'-'.join(map(str, widths))} | {megabytes:.0f} | {undecided} | {run.classify:.0f} "
            f"| {run.peak_mib / 1024:.1f} | {LIMIT_GIB} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
