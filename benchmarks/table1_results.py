"""Results of table1.py: a CSV line for each network, the table and the plot made of them."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import numpy as np

RELATIVE = "1e-4r"
METHODS = ("subgradient", "proximal", "proximal + inputs", "ISA's nets")


@dataclass(frozen=True)
class PaperRow:
    """A row of Table 1: mean accuracy and compression (fraction of the connections) in per cent."""

    width: int
    l1: float
    accuracy: float
    compression: float


PAPER = (
    PaperRow(25, 1e-3, 95.76, 22.0),
    PaperRow(25, 2e-4, 97.24, 8.3),
    PaperRow(25, 0.0, 96.68, 0.0),
    PaperRow(50, 1e-3, 96.05, 29.4),
    PaperRow(50, 2e-4, 97.81, 15.1),
    PaperRow(50, 0.0, 97.62, 0.0),
    PaperRow(100, 5e-4, 97.14, 30.8),
    PaperRow(100, 1e-4, 98.14, 14.9),
    PaperRow(100, 0.0, 98.00, 0.0),
)


@dataclass(frozen=True)
class Result:
    """A line of the CSV. Fractions of the connections are removed ones; units: a layer, "
    "-joined.
    """

    method: str
    hidden: str
    l1: float
    group_inputs: float
    seed: int
    accuracy: float
    train_seconds: float
    inactive: str
    active: str
    unstable: str
    undecided: str
    classify_seconds: float
    leo_rules: float
    units_left: str
    inputs_left: int
    removed: float
    removed_relative: float
    bit_identical: float
    max_abs_diff: float

    @property
    def key(self) -> tuple[str, str, float, float]:
        return self.method, self.hidden, self.l1, self.group_inputs


def read_results(path: Path) -> list[Result]:
    """The lines of an earlier, perhaps unfinished run."""
    if not path.exists():
        return []
    kinds = {field.name: field.type for field in fields(Result)}
    convert = {"str": str, "float": float, "int": int}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [Result(**{k: convert[str(kinds[k])](v) for k, v in row.items()}) for row in rows]


def append_result(path: Path, result: Result) -> None:
    values = asdict(result)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(values))
        if new:
            writer.writeheader()
        writer.writerow(values)


def grouped(results: list[Result]) -> list[list[Result]]:
    """The seeds of each kind of network together, by method, width and strengths."""
    ordered = sorted(results, key=lambda r: (METHODS.index(r.method), len(r.hidden), r.key))
    return [list(group) for _, group in groupby(ordered, key=lambda r: r.key)]


def spread(values: list[float]) -> str:
    """Mean and standard deviation, in per cent."""
    return f"{100 * mean(values):.2f} ± {100 * pstdev(values):.2f}"


def layer_means(texts: list[str]) -> str:
    """Means of numbers that stand for one layer each."""
    return " ".join(
        f"{value:.0f}" for value in np.mean([[int(n) for n in t.split()] for t in texts], axis=0)
    )


def paper_row(first: Result) -> PaperRow | None:
    for row in PAPER:
        if first.method == "subgradient" and (first.hidden, first.l1) == (
            f"{row.width}x{row.width}",
            row.l1,
        ):
            return row
    return None


def render_markdown(results: list[Result]) -> str:
    """The table: ours beside the paper's."""
    head = (
        "training", "hidden", "L1", "inputs", "seeds", "accuracy %", "paper", "inactive", "active",
        "units left", "inputs left", "LEO's rules %", "paper", "all rewrites %", f"at {RELATIVE} %",
        "classify s", "train s",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for group in grouped(results):
        first = group[0]
        paper = paper_row(first)
        cells: tuple[Any, ...] = (
            first.method,
            first.hidden,
            f"{first.l1:g}",
            f"{first.group_inputs:g}",
            len(group),
            spread([r.accuracy for r in group]),
            f"{paper.accuracy:.2f}" if paper else "",
            layer_means([r.inactive for r in group]),
            layer_means([r.active for r in group]),
            layer_means([r.units_left for r in group])
            if len({len(r.units_left.split()) for r in group}) == 1
            else " / ".join(r.units_left for r in group),
            f"{mean(r.inputs_left for r in group):.0f}",
            spread([r.leo_rules for r in group]),
            f"{paper.compression:.1f}" if paper else "",
            spread([r.removed for r in group]),
            spread([r.removed_relative for r in group]),
            f"{mean(r.classify_seconds for r in group):.2f}",
            f"{mean(r.train_seconds for r in group):.0f}",
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def draw(results: list[Result], path: Path) -> None:
    """Accuracy against remaining connections, a panel a width, every method a curve."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    widths = sorted({row.width for row in PAPER})
    figure, panels = pyplot.subplots(1, len(widths), figsize=(5 * len(widths), 4.2), sharey=True)
    for panel, width in zip(panels, widths, strict=True):
        mine = [g for g in grouped(results) if g[0].hidden == f"{width}x{width}"]
        total = 784 * width + width * width + width * 10
        curves = [
            ("subgradient", "leo_rules", "L1 as in the paper, LEO's rules", "o--"),
            ("subgradient", "removed", "L1 as in the paper, all rewrites", "o-"),
            ("subgradient", "removed_relative", f"L1 as in the paper, {RELATIVE}", "o:"),
            ("proximal", "removed", "proximal L1, all rewrites", "s-"),
            ("proximal + inputs", "removed", "proximal L1 + inputs, all rewrites", "^-"),
        ]
        for method, measured, label, style in curves:
            groups = [g for g in mine if g[0].method == method]
            points = sorted(
                (
                    total * (1 - mean(getattr(r, measured) for r in g)),
                    100 * mean(r.accuracy for r in g),
                )
                for g in groups
            )
            if points:
                panel.plot(*zip(*points, strict=True), style, label=label)
        rows = [row for row in PAPER if row.width == width]
        panel.plot(
            [total * (1 - row.compression / 100) for row in rows],
            [row.accuracy for row in rows],
            "kx",
            label="the paper",
        )
        panel.set(title=f"784-{width}-{width}-10", xlabel="remaining connections")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("test accuracy, %")
    panels[-1].legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
