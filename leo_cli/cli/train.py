"""`leo train`: parse, train, write the model with its bounds and its report."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leo_cli.cli.console import remark
from leo_cli.cli.files import (
    STANDARD,
    binary_source,
    check_output,
    display_name,
    one_reader_of_stdin,
    one_writer_of_stdout,
    write_stdout,
)
from leo_cli.cli.options import Output, Percent, output_options
from leo_cli.cli.train_options import numbers, training_options

if TYPE_CHECKING:
    from leo_cli.train import Candidate, Epoch, Run

_EPILOG = """\b
Examples:
  leo train iris.csv --target species --hidden 16,16 -o iris.onnx
  leo train mnist/ --l1 2e-4 -o mnist.onnx          a folder of IDX files
  leo train data.npz --search --max-accuracy-loss 0.3% -o small.onnx
  leo compress iris.onnx small.onnx --bounds iris.bounds.json
"""


@click.command(epilog=_EPILOG, short_help="Train a ReLU network that compresses well.")
@click.argument("data", metavar="DATA")
@click.option(
    "-o", "--out", required=True, metavar="OUT.onnx", help="The model to write; '-' is stdout."
)
@click.option("--target", metavar="COLUMN", help="CSV: the column to predict.")
@click.option("--labels", type=click.Path(path_type=Path), help="IDX: the file of labels.")
@click.option(
    "--task",
    type=click.Choice(["auto", "classify", "regress"]),
    default="auto",
    show_default=True,
    help="auto: text and a few integers are classes, all else is a quantity.",
)
@training_options
@click.option(
    "--search", is_flag=True, help="Train with several strengths and keep the smallest good model."
)
@click.option(
    "--factors",
    callback=numbers(float),
    default="0.25,0.5,1,2,4,8",
    show_default=True,
    metavar="LIST",
    help="--search: what to multiply the strengths by.",
)
@click.option(
    "--max-accuracy-loss",
    type=Percent(),
    default="0.3%",
    show_default=True,
    metavar="P%",
    help="--search: allowed loss against training without penalties.",
)
@click.option(
    "--bounds", metavar="FILE", help="Where to write the bounds file.  [default: OUT.bounds.json]"
)
@click.option(
    "--margin",
    type=float,
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Widen the bounds by this share of each feature's range.",
)
@output_options
def command(
    output: Output,
    data: str,
    out: str,
    target: str | None,
    labels: Path | None,
    task: str,
    search: bool,
    factors: tuple[float, ...],
    max_accuracy_loss: float,
    bounds: str | None,
    margin: float,
    **options: Any,
) -> int:
    """Train a dense ReLU classifier or regressor on DATA that `leo compress` can make small.

    DATA: .npz with x and y, .csv with a header, IDX files (a folder, or one file and --labels);
    '-' is stdin. Writes OUT.onnx, OUT.bounds.json (the range of the data) and OUT.train.json (a
    report). Needs PyTorch: pip install 'leo-cli[train]'.
    """
    one_reader_of_stdin(DATA=data)
    check_output(out)
    bounds_path = _beside(bounds, out, ".bounds.json", "--bounds")
    report_path = _beside(output.report, out, ".train.json", "--report")
    one_writer_of_stdout(**{"OUT": out, "--json": STANDARD if output.json else None})

    from leo_cli.onnx_io import save
    from leo_cli.train import (
        TrainOptions,
        bounds_text,
        constant_score,
        model_bytes,
        read_data,
        report_json,
        run,
        score,
    )

    settings = TrainOptions(**options)
    training, test = read_data(
        binary_source(data), name=display_name(data), task=task, target=target, labels=labels
    )
    show = output.progress if output.progress is not None else sys.stderr.isatty()
    lines = _Lines(settings.epochs, "accuracy" if training.is_classification else "R2")
    finished = run(
        training,
        test,
        settings,
        margin=margin,
        search_factors=factors if search else None,
        max_loss=max_accuracy_loss,
        observer=lines.epoch if show and not output.quiet else None,
        on_candidate=None if output.quiet else lines.candidate,
    )
    content = model_bytes(finished.trained.model, training, finished.options)
    report = report_json(finished, out, content, None if bounds_path is None else str(bounds_path))
    report_text = json.dumps(report, indent=2) + "\n"
    if bounds_path is not None:
        save(bounds_text(training, finished.box, margin).encode(), bounds_path)
    if report_path is not None:
        save(report_text.encode(), report_path)
    if out == STANDARD:
        write_stdout(content)
    else:
        save(content, Path(out))
    if output.json:
        write_stdout(report_text.encode())
    remark(output, _summary(finished, out, bounds_path))
    if score(finished.trained.model, finished.training) <= constant_score(finished.training):
        remark(
            output,
            "warning: no better than a constant: lower --lr or the strengths, train longer, "
            "or --normalize the features",
        )
    return 0


class _Lines:
    """Lines on stderr while training."""

    def __init__(self, epochs: int, measure: str) -> None:
        self._epochs, self._measure, self._start = epochs, measure, time.monotonic()

    def epoch(self, epoch: Epoch) -> None:
        click.echo(
            f"epoch {epoch.epoch:{len(str(self._epochs))}}/{self._epochs}  loss {epoch.loss:.4f}  "
            f"{self._measure} {epoch.score:.4f}  stable {epoch.stable:4.0%}  "
            f"weights left {epoch.nonzero:4.0%}  {time.monotonic() - self._start:.0f} s",
            err=True,
        )

    def candidate(self, candidate: Candidate) -> None:
        size = candidate.size
        click.echo(
            f"factor {candidate.factor:<5g} {self._measure} {candidate.score:.4f}  about "
            f"{size.connections} connections, {size.inputs} inputs, units {list(size.units)}",
            err=True,
        )


def _beside(given: str | None, out: str, suffix: str, option: str) -> Path | None:
    """The path given, else OUT with another suffix; None where the model goes to stdout."""
    if given is None:
        return None if out == STANDARD else Path(out).with_suffix(suffix)
    if given == STANDARD:
        raise click.UsageError(f"{option} -: name a file; stdout carries the model or --json")
    check_output(given)
    return Path(given)


def _summary(finished: Run, out: str, bounds: Path | None) -> str:
    from leo_cli.train import score, size_estimate

    part = finished.test or finished.held_out or finished.training
    where = "test" if finished.test else "held-out" if finished.held_out else "training"
    model = finished.trained.model
    size = size_estimate(model, *finished.box)
    measure = "accuracy" if part.is_classification else "R2"
    chosen = f"factor {finished.found.chosen.factor:g}, " if finished.found is not None else ""
    after = f"; next: leo compress {out} SMALL.onnx --bounds {bounds}" if bounds else ""
    return (
        f"{display_name(out)}: {chosen}{where} {measure} {score(model, part):.4f}, "
        f"{model.nonzero} of {model.connections} weights are not zero, "
        f"about {size.connections} connections after compression{after}"
    )
