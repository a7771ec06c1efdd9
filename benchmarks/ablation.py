"""What each rewrite is worth: share of the connections that go, in three tables.

    python benchmarks/ablation.py [--tolerances 0 half-ulp 1e-5r 1e-4r] [--each half-ulp 1e-4r]

1. LEO's rules alone (drop_inactive, fold_stable, merge_dependent) and all rewrites, by tolerance.
2. Dead units deleted (drop_inactive, drop_unread), and one more rewrite: what it brings alone.
3. All rewrites but one: what is lost without it (0: others do its work).
Every unit is classified before (undecided ones are named), so that the tables differ by the
rewrites only.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from compressible import Case, case, options

from leo_cli.rewrite import REWRITES
from leo_cli.rewrite.passes import DROPS, LEO
from leo_cli.stability.verdict import State

MODELS = (
    ("mnist_l1/mnist_25x25_l1_0.001", ""),
    ("mnist_l1/mnist_50x50_l1_0.001", ""),
    ("mnist_l1/mnist_100x100_l1_0.0005", ""),
    ("vnncomp/acasxu/ACASXU_run2a_1_1_batch_2000", "prop3"),
    ("vnncomp/mnistfc/mnist-net_256x2", "prop"),
    ("vnncomp/mnistfc/mnist-net_256x4", "prop"),
)
OTHERS = (
    ("mnist_l1/mnist_50x50_l1_0.0002", ""),
    ("mnist_l1/mnist_100x100_l1_0.0001", ""),
    ("mnist_l1/mnist_400x400_l1_0.0001", ""),
    ("mnist_l1/mnist_5x100_l1_0.0001", ""),
)
TOLERANCES = ("0", "half-ulp", "1e-5r", "1e-4r")


def share(case: Case, tolerance: str, rewrites: tuple[str, ...] | None = None) -> float:
    return case.removed(case.rewritten(options(tolerance, rewrites)))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print("\n| " + " | ".join(head) + " |")
    print("|---" * len(head) + "|")
    for cells in rows:
        print("| " + " | ".join(cells) + " |", flush=True)


def short(case: Case) -> str:
    path, _, tag = case.name.partition(" ")
    name = path.split("/")[-1].removesuffix("_batch_2000")
    return f"{name} {tag}".strip()


def undecided(case: Case) -> int:
    layers = case.analysis.stability.layers
    return sum(len(layer.units(State.UNDECIDED)) for layer in layers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tolerances", nargs="+", default=TOLERANCES, help="of table 1")
    parser.add_argument("--each", nargs="*", default=TOLERANCES[1::2], help="of tables 2 and 3")
    arguments = parser.parse_args()
    tolerances = tuple(arguments.tolerances)
    main_cases = [case(*model) for model in MODELS]
    everything = [*main_cases, *(case(*model) for model in OTHERS)]
    for known in everything:
        if undecided(known):
            print(f"{short(known)}: {undecided(known)} units undecided")

    head = ("model", *(f"LEO's, {t}" for t in tolerances), *(f"all, {t}" for t in tolerances))
    table(
        head,
        (
            (
                short(known),
                *(f"{share(known, t, LEO):.1%}" for t in tolerances),
                *(f"{share(known, t):.1%}" for t in tolerances),
            )
            for known in everything
        ),
    )
    for tolerance in arguments.each:
        names = [name for name in REWRITES if name not in DROPS]
        base = [share(known, tolerance, DROPS) for known in main_cases]
        whole = [share(known, tolerance) for known in main_cases]
        print(f"\nOne rewrite alone, on top of deleting dead units, {tolerance}:")
        alone = [("dead units", *(f"{value:.1%}" for value in base))]
        for name in names:
            found = [share(known, tolerance, (*DROPS, name)) for known in main_cases]
            alone.append((name, *(_change(a, b) for a, b in zip(found, base, strict=True))))
        table(("", *map(short, main_cases)), alone)
        print(f"\nAll but one, {tolerance}:")
        without = [("all", *(f"{value:.1%}" for value in whole))]
        for name in names:
            rest = tuple(other for other in REWRITES if other != name)
            found = [share(known, tolerance, rest) for known in main_cases]
            without.append((name, *(_change(a, b) for a, b in zip(found, whole, strict=True))))
        table(("without", *map(short, main_cases)), without)


def _change(value: float, base: float) -> str:
    """Percentage points."""
    points = 100 * (value - base)
    return "0" if abs(points) < 0.005 else f"{points:+.2f}"


if __name__ == "__main__":
    main()
