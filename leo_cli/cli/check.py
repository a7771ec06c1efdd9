"""leo check: establish every claim of a proof again, independently of what made it."""

from __future__ import annotations

from pathlib import Path

import click

from leo_cli.cli.files import text_source
from leo_cli.cli.options import keep_blas_to_one_thread, usable_cores


@click.command()
@click.argument("model", metavar="IN.onnx", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT.onnx", type=click.Path(path_type=Path))
@click.argument("proof", metavar="PROOF", type=click.Path(path_type=Path))
@click.option(
    "--bounds",
    metavar="FILE",
    help="The domain that you mean: bounds.json, OMLT's list, or a .vnnlib property. Without it, "
    "the proof's own is taken and printed.",
)
@click.option(
    "--exact", is_flag=True, help="Rational arithmetic instead of rounded float64 (slow)."
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    default=usable_cores,
    show_default="the cores this process may use",
    metavar="N",
    help="Cores to use.",
)
def command(
    model: Path, target: Path, proof: Path, bounds: str | None, exact: bool, jobs: int
) -> int:
    """Check that OUT.onnx equals IN.onnx on the domain, up to the deviation that PROOF states.

    Exit code 0 if every claim holds, 1 if one does not, 2 if a file cannot be read.

    \b
    Example:
      leo check model.onnx small.onnx small.proof --bounds bounds.json
    """
    keep_blas_to_one_thread()

    from leo_cli.errors import AnswerNo, InputError
    from leo_cli.proof.checker import Fails
    from leo_cli.proof.graph import Unreadable
    from leo_cli.proof.standalone import check_files, read_box, summary

    box = None if bounds is None else read_box(model, text_source(bounds), bounds)
    try:
        checked = check_files(model, target, proof, box, exact, jobs)
    except Fails as failure:
        raise AnswerNo(f"{proof}: does not hold: {failure}") from None
    except Unreadable as error:
        raise InputError(str(error)) from None
    for line in summary(checked, bounds is not None):
        click.echo(line)
    return 0
