"""What a command says: the report on stdout or in a file, remarks on stderr."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from leo_cli.cli.files import STANDARD, one_writer_of_stdout, write_stdout
from leo_cli.cli.options import Output

if TYPE_CHECKING:
    from leo_cli.report.model import Report

_STYLES = {
    "title": {"bold": True},
    "good": {"fg": "green"},
    "warn": {"fg": "yellow"},
    "dim": {"dim": True},
}
_REPORT_SUFFIXES = (".json",)


def check_report_options(output: Output, model_out: str | None = None) -> None:
    """Raise UsageError where the report cannot go where it is asked to, before any work."""
    one_writer_of_stdout(
        **{"OUT": model_out, "--json": STANDARD if output.json else None, "--report": output.report}
    )
    if output.quiet and output.verbose:
        raise click.UsageError("--quiet and --verbose exclude each other")
    if output.report in (None, STANDARD):
        return
    path = Path(str(output.report))
    if path.suffix.lower() not in _REPORT_SUFFIXES:
        raise click.UsageError(f"--report {path}: give a file name that ends in .json")
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise click.UsageError(f"--report {path}: not a file in a directory that exists")


def publish(report: Report, output: Output, model_on_stdout: bool = False) -> None:
    """The report to every place that was asked for; the table where nothing else takes its place.

    With the model on stdout the table goes to stderr.
    """
    if output.report not in (None, STANDARD):
        from leo_cli.onnx_io import save

        save(report.to_json().encode(), Path(str(output.report)))
    if output.json or output.report == STANDARD:
        write_stdout(report.to_json().encode())
    elif not output.quiet:
        _print_table(report, sys.stderr if model_on_stdout else sys.stdout, output.verbose)


def remark(output: Output, text: str) -> None:
    """One line for people on stderr, unless --quiet."""
    if not output.quiet:
        click.echo(f"leo: {text}", err=True)


def _print_table(report: Report, stream: TextIO, verbose: bool) -> None:
    from leo_cli.report.table import plain, render_table, signs_for

    paint = _paint if in_colour(stream) else plain
    table = render_table(report, signs_for(stream.encoding), paint, verbose)
    click.echo(table, file=stream, color=True if paint is _paint else None)


def in_colour(stream: TextIO) -> bool:
    """Colour only on a terminal that has it, and never against NO_COLOR (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _paint(text: str, style: str) -> str:
    return click.style(text, **_STYLES[style])  # type: ignore[arg-type]
