"""leo's classifier against LEO as published (two sign-stopped MILPs a unit), side by side in one
run.

    python benchmarks/against_milp.py [--cap 600]

The baseline is `--deciders milp --trust-solver`, with the same solver processes (-j) and big-M from
interval bounds. Where it does not end within --cap seconds, its time is extrapolated from the share
of units that it settled until then, and marked with ~.
"""

from __future__ import annotations

import argparse
import sys

from classify import MODELS
from leo_run import analyze, machine

INSTANCES = (("50x50_l1_0.001", 50), ("100x100_l1_0.0005", 200), ("100x100_l1_0.0001", 1000))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cap", type=int, default=600, help="seconds for one baseline run")
    options = parser.parse_args()
    print(machine())
    print("| instance | LEO's MILPs, s | leo, s | ratio | aim |")
    print("|---|---|---|---|---|")
    met = True
    for name, aim in INSTANCES:
        stem = MODELS / "mnist_l1" / f"mnist_{name}"
        model, bounds = (
            stem.with_name(stem.name + ".onnx"),
            stem.with_name(stem.name + ".bounds.json"),
        )
        ours = min((analyze(model, bounds) for _ in range(3)), key=lambda run: run.classify)
        published = ["--deciders", "milp", "--trust-solver", "--time-limit", f"{options.cap}s"]
        theirs = analyze(model, bounds, published)
        if ours.report is None or theirs.report is None:
            print(f"| {name} | {theirs.message} | {ours.message} | | |")
            return 1
        totals = theirs.report["totals"]
        done = totals["milps"] / (2 * totals["units"])
        partial = theirs.classify > 0.95 * options.cap
        seconds = theirs.classify / done if partial and done else theirs.classify
        ratio = seconds / ours.classify
        met &= ratio >= aim
        mark = f"~{seconds:.0f} ({done:.0%} of its MILPs in {theirs.classify:.0f})"
        print(
            f"| {name} | {mark if partial else f'{seconds:.1f}'} | {ours.classify:.2f} "
            f"| {ratio:.0f} | {aim} |",
            flush=True,
        )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
