"""onnxruntime's time before and after compression, on every shared model of which anything can go.

    python benchmarks/latency.py [--only acasxu] [--tolerance half-ulp] [--search 5] [--seconds 1]

The median of paired ratios after/before (leo_cli/verify/latency.py: both models in turn on the same
points, one thread, full graph optimisation), at batch 1 and 256. A ratio above LIMIT is measured
again, twice as long, and the smaller of the two counts: other work on the machine only ever adds.
The aim: no ratio above LIMIT.
"""

from __future__ import annotations

import argparse

from compressible import Case, cases, options
from leo_run import machine

from leo_cli.candidate import Candidate
from leo_cli.verify import Latency, measure_latency

LIMIT = 1.05


def measured(case: Case, candidate: Candidate, seconds: float) -> dict[int, Latency]:
    """By batch size."""
    problem = case.analysis.problem
    best: dict[int, Latency] = {}
    for attempt in range(3):
        taken = measure_latency(
            problem.model, candidate.model, problem.domain, attempt, seconds * (attempt + 1)
        )
        for latency in taken:
            known = best.get(latency.batch)
            if known is None or latency.ratio < known.ratio:
                best[latency.batch] = latency
        if all(latency.ratio <= LIMIT for latency in best.values()):
            break
    return best


def row(name: str, removed: float, found: dict[int, Latency]) -> str:
    cells = [name, f"{removed:.1%}"]
    for batch in (1, 256):
        latency = found.get(batch)
        if latency is None:
            cells += ["", ""]
        else:
            cells += [
                f"{latency.before * 1e6:.1f} -> {latency.after * 1e6:.1f}",
                f"{latency.ratio:.2f}",
            ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="part of the model's path")
    parser.add_argument("--tolerance", default="half-ulp")
    parser.add_argument("--search", type=float, default=5.0, help="seconds to classify")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each batch size")
    arguments = parser.parse_args()
    print(machine())
    print("\n| model | connections removed | batch 1, us | ratio | batch 256, us | ratio |")
    print("|---|---|---|---|---|---|")
    worst: list[tuple[float, str]] = []
    for case in cases(arguments.search, arguments.only):
        candidate = case.rewritten(options(arguments.tolerance))
        if candidate.model is case.analysis.problem.model:
            continue
        found = measured(case, candidate, arguments.seconds)
        print(row(case.name, case.removed(candidate), found), flush=True)
        worst += [(latency.ratio, f"{case.name}, batch {b}") for b, latency in found.items()]
    worst.sort(reverse=True)
    above = [f"{ratio:.2f} {name}" for ratio, name in worst if ratio > LIMIT]
    print(f"\nabove {LIMIT}: {'; '.join(above) if above else 'none'}")


if __name__ == "__main__":
    main()
