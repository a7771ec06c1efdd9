"""Check files from a command line: `leo check`, and `python -m leo_cli.proof.checker`.

What is said here is not trusted with anything but the user's bounds: they are read by leo's reader
of bounds files, and become the checker's domain.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from leo_cli.domain import read_domain
from leo_cli.errors import LeoError
from leo_cli.onnx_io import read_model
from leo_cli.proof.bounding import Box
from leo_cli.proof.checker import Checker, Fails, check_records
from leo_cli.proof.graph import Unreadable, read_net
from leo_cli.proof.stream import read_records
from leo_cli.proof.translate import box_of_domain


def read_box(model: Path, bounds: Path | str, name: str) -> Box:
    """The user's domain, from a file or its text, for the checker. Raises ModelError,
    DomainError."""
    read = read_model(model)
    return box_of_domain(read_domain(bounds, read.inputs, read.sha256, name))


def check_files(
    model: Path, target: Path, proof: Path, box: Box | None, exact: bool, jobs: int
) -> Checker:
    """Establish every claim of a proof about two models. Raises Fails, Unreadable."""
    try:
        with proof.open("rb") as stream:
            old = read_net(model)
            new = read_net(target, old)
            return check_records(old, new, read_records(stream), box, exact, jobs)
    except OSError as error:
        raise Unreadable(f"{proof}: {error.strerror}") from None


def summary(checked: Checker, given: bool) -> list[str]:
    """What was established, in lines for people. given: whether the user gave the domain."""
    lines = []
    if not given:
        lines.append("the domain was taken from the proof, not from you:")
        ends = zip(checked.box.lower.tolist(), checked.box.upper.tolist(), strict=True)
        for i, (low, high) in enumerate(ends):
            whole = ", an integer" if checked.box.integer[i] else ""
            lines.append(f"  input {i} in [{low!r}, {high!r}]{whole}")
        for members, values in checked.box.groups:
            lines.append(f"  inputs {members.tolist()} are one of {values.tolist()}")
    counts = ", ".join(f"{count} {name}" for name, count in checked.counts.items())
    largest = 0.0 if checked.deviation is None else float(checked.deviation.max(initial=0.0))
    return [*lines, f"every claim holds: units {counts}; outputs differ by at most {largest!r}"]


def main(arguments: list[str] | None = None) -> int:
    """The checker alone. Exit code 0: every claim holds; 1: one does not; 2: unreadable."""
    parser = argparse.ArgumentParser(prog="python -m leo_cli.proof.checker")
    for name in ("IN.onnx", "OUT.onnx", "PROOF"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--bounds", type=Path, help="your domain; without it, the proof's own")
    parser.add_argument("--exact", action="store_true", help="rational arithmetic")
    parser.add_argument("-j", "--jobs", type=int, default=1)
    given = parser.parse_args(arguments)
    model, target, proof = (vars(given)[name] for name in ("IN.onnx", "OUT.onnx", "PROOF"))
    try:
        box = None if given.bounds is None else read_box(model, given.bounds, str(given.bounds))
        checked = check_files(model, target, proof, box, given.exact, given.jobs)
    except Fails as failure:
        sys.stderr.write(f"{proof}: does not hold: {failure}\n")
        return 1
    except (Unreadable, LeoError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("\n".join(summary(checked, box is not None)) + "\n")
    return 0
