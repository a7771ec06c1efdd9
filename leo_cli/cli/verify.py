"""leo verify: do two models agree on the domain?"""

from __future__ import annotations

import click

from leo_cli.cli.console import check_report_options, publish
from leo_cli.cli.files import binary_source, display_name, one_reader_of_stdin
from leo_cli.cli.inputs import read_problem
from leo_cli.cli.options import (
    Limits,
    Output,
    bounds_option,
    keep_blas_to_one_thread,
    limit_options,
    output_options,
    samples_option,
)


@click.command(short_help="Compare two models on a domain.")
@click.argument("first", metavar="A.onnx")
@click.argument("second", metavar="B.onnx")
@bounds_option
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    metavar="X",
    help="Largest difference to accept (default: the rounding bounds of both models).",
)
@click.option(
    "--check-n",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Points at which to compare.",
)
@samples_option
@limit_options
@output_options
def command(
    first: str,
    second: str,
    bounds: str,
    tolerance: float | None,
    check_n: int,
    samples: str | None,
    limits: Limits,
    output: Output,
) -> int:
    """Compare A.onnx and B.onnx on the domain: samples, corners, and a search for a difference.

    Exit code 0 if they agree, 1 if they differ.

    \b
    Example:
      leo verify model.onnx small.onnx --bounds bounds.json
    """
    check_report_options(output)
    one_reader_of_stdin(A=first, B=second, **{"--bounds": bounds, "--samples": samples})
    keep_blas_to_one_thread()
    problem = read_problem(first, bounds, samples)

    from leo_cli.errors import AnswerNo
    from leo_cli.onnx_io import read_model
    from leo_cli.pipeline import verify
    from leo_cli.report.assemble import report_of_comparison
    from leo_cli.verify import VerifyOptions

    other = read_model(binary_source(second), display_name(second))
    options = VerifyOptions(samples=check_n, seed=limits.seed, tolerance=tolerance)
    comparison = verify(problem, other, options)
    publish(report_of_comparison(comparison), output)
    if not comparison.verification.passed:
        names = f"{display_name(first)} and {display_name(second)}"
        raise AnswerNo(f"{names} differ: {comparison.verification.failure}")
    return 0
