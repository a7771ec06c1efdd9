"""Time to classify the networks of ../shared: the table of benchmarks/README.md.

    python benchmarks/classify.py [--repeat 3] [--only mnist_l1] [--hard]

Each row is the best of some runs of `leo analyze` (seconds.classify of its report), with what
stayed undecided, the peak memory, and whether the known exact counts came out. Exit code 1 if a
limit of the table or a known count is missed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from leo_run import SHARED, analyze, machine

MODELS = SHARED / "models"


@dataclass(frozen=True)
class Instance:
    """limit: seconds to classify. inactive, active: known exact counts by layer, where they are
    known.
    """

    group: str
    model: str
    tag: str
    limit: float
    inactive: tuple[int, ...] = ()
    active: tuple[int, ...] = ()

    @property
    def files(self) -> tuple[Path, Path]:
        stem = MODELS / self.model
        return stem.with_name(stem.name + ".onnx"), stem.with_name(
            stem.name + f".bounds{self.tag}.json"
        )


def _acasxu(net: str, tag: str, limit: float, **known: tuple[int, ...]) -> Instance:
    return Instance("acasxu", f"vnncomp/acasxu/ACASXU_run2a_{net}_batch_2000", tag, limit, **known)


def _mnist(name: str, limit: float) -> Instance:
    return Instance("mnist_l1", f"mnist_l1/mnist_{name}", "", limit)


INSTANCES = (
    _mnist("25x25_l1_0.001", 0.3),
    _mnist("50x50_l1_0.001", 0.3),
    _mnist("50x50_l1_0.0002", 0.3),
    _mnist("100x100_l1_0.0005", 0.6),
    _mnist("100x100_l1_0.0001", 0.6),
    _mnist("5x100_l1_0.0001", 2.0),
    _mnist("400x400_l1_0.0001", 2.0),
    _acasxu(
        "1_1",
        ".prop3",
        1.0,
        inactive=(20, 32, 27, 26, 33, 20),
        active=(21, 14, 17, 12, 7, 4),
    ),
    _acasxu(
        "1_1",
        ".prop5",
        1.0,
        inactive=(10, 21, 17, 23, 27, 25),
        active=(28, 13, 15, 11, 4, 5),
    ),
    _acasxu(
        "1_1",
        ".prop1",
        1.0,
        inactive=(22, 28, 11, 24, 32, 44),
        active=(10, 3, 4, 5, 4, 2),
    ),
    _acasxu("1_1", ".prop2", 1.0),
    *(_acasxu("1_9", f".prop{p}", 1.0) for p in (1, 2, 3, 5)),
    Instance("mnistfc", "vnncomp/mnistfc/mnist-net_256x2", ".prop", 0.5, (250, 159), (0, 16)),
    Instance(
        "mnistfc",
        "vnncomp/mnistfc/mnist-net_256x4",
        ".prop",
        1.5,
        (212, 209, 255, 243),
        (11, 13, 1, 12),
    ),
    *(
        Instance(name.split("/")[0], f"vnncomp/{name}", tag, 60.0)
        for name in (
            "rl/cartpole",
            "rl/dubinsrejoin",
            "reach_prob/robot",
            "reach_prob/gcas",
            "safenlp/medical_0",
            "dist_shift/mnist_concat",
            "tllverify/tllBench_M8_0_0",
            "cora/mnist-point",
        )
        for tag in ("", ".prop")
    ),
)
HARD = (_acasxu("1_1", "", 600.0),)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", help="a group, for example acasxu")
    parser.add_argument("--hard", action="store_true", help="the full ACAS Xu box as well: 10 min")
    options = parser.parse_args()
    chosen = [
        i for i in INSTANCES + (HARD if options.hard else ()) if options.only in (None, i.group)
    ]
    print(machine())
    print(
        "| instance | inactive | active | unstable | undecided | classify s | limit | peak MiB | |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    rows = [_row(instance, options.repeat) for instance in chosen]
    return 0 if all(rows) else 1


def _row(instance: Instance, repeat: int) -> bool:
    """Print one row; whether it is as it should be."""
    model, bounds = instance.files
    limit = ["--time-limit", f"{int(instance.limit)}s"] if instance.limit >= 60 else []
    runs = [analyze(model, bounds, limit) for _ in range(1 if limit else repeat)]
    best = min(runs, key=lambda run: run.classify)
    name = (
        f"{model.stem} {bounds.name.split('.bounds')[1].removesuffix('.json').strip('.')}".strip()
    )
    if best.report is None:
        print(f"| {name} | {best.message} |", flush=True)
        return False
    totals, layers = best.report["totals"], best.report["layers"]
    remarks = []
    for state in ("inactive", "active"):
        known = getattr(instance, state)
        if known and known != tuple(len(layer[state]) for layer in layers):
            remarks.append(f"{state} should be {known}")
    if best.classify > instance.limit:
        remarks.append("slow")
    if totals["undecided"] and instance.limit < 60:
        remarks.append("undecided")
    counts = " | ".join(str(totals[s]) for s in ("inactive", "active", "unstable", "undecided"))
    print(
        f"| {name} | {counts} | {best.classify:.2f} | {instance.limit:g} "
        f"| {best.peak_mib:.0f} | {'; '.join(remarks)} |",
        flush=True,
    )
    return not remarks


if __name__ == "__main__":
    sys.exit(main())
