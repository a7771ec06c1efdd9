"""leo compress: the main job, from an ONNX file and its bounds to a smaller, checked ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from leo_cli.cli.console import check_report_options, publish
from leo_cli.cli.files import STANDARD, check_output, write_stdout
from leo_cli.cli.inputs import classify_options, read_problem, with_journal
from leo_cli.cli.interrupt import EXIT_INTERRUPTED, ending_search_on_interrupt
from leo_cli.cli.options import (
    Limits,
    Output,
    Percent,
    Search,
    bounds_option,
    keep_blas_to_one_thread,
    keep_freed_memory,
    limit_options,
    output_options,
    samples_option,
    search_options,
)
from leo_cli.cli.progress import progress_on_stderr
from leo_cli.errors import AnswerNo

if TYPE_CHECKING:
    from leo_cli.onnx_io import Model
    from leo_cli.pipeline import Compressed, Guard
    from leo_cli.problem import Problem


@click.command(short_help="Make a model smaller without changing it on its domain.")
@click.argument("model", metavar="IN.onnx")
@click.argument("target", metavar="OUT.onnx")
@bounds_option
@click.option(
    "--tolerance",
    default="half-ulp",
    show_default=True,
    metavar="X",
    help="Deviation allowed for each output: absolute, relative to the largest magnitude that it "
    "attains (1e-5r), half-ulp of that, or 0.",
)
@click.option(
    "--minimize",
    type=click.Choice(["connections", "units", "parameters", "latency"]),
    default="connections",
    show_default=True,
    help="What a rewrite must make smaller.",
)
@click.option("--bit-exact", is_flag=True, help="Keep every output bit at all verification points.")
@click.option(
    "--fail-under",
    type=Percent(),
    default="0%",
    metavar="P%",
    help="Exit 1, and write nothing, if fewer connections go.",
)
@click.option(
    "--check-n",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Points at which the result is compared with the original.",
)
@click.option(
    "--guard",
    type=click.Choice(["none", "clip", "flag"]),
    default="none",
    show_default=True,
    help="Outside the domain: nothing; clip inputs to the box; or flag rows by a boolean output.",
)
@click.option(
    "--proof",
    metavar="FILE",
    help="Write a proof that leo check can check; what it cannot show is left as it is.",
)
@click.option("--latency", is_flag=True, help="Measure onnxruntime's latency before and after.")
@samples_option
@search_options
@limit_options
@output_options
def command(
    model: str,
    target: str,
    bounds: str,
    tolerance: str,
    minimize: str,
    bit_exact: bool,
    fail_under: float,
    check_n: int,
    guard: Guard,
    proof: str | None,
    latency: bool,
    samples: str | None,
    search: Search,
    limits: Limits,
    output: Output,
) -> int:
    """Make IN.onnx smaller without changing what it computes on the domain.

    OUT.onnx has the same inputs and outputs. It is written only after it was compared with IN.onnx.

    \b
    Example:
      leo compress model.onnx small.onnx --bounds bounds.json
    """
    check_output(target)
    _check_proof(proof, target, guard, search)
    check_report_options(output, target)
    keep_blas_to_one_thread()
    keep_freed_memory()

    from leo_cli.pipeline import CompressOptions, compress
    from leo_cli.report.assemble import report_of_compression, report_of_proof
    from leo_cli.rewrite import RewriteOptions, parse_tolerance
    from leo_cli.verify import VerifyOptions

    options = CompressOptions(
        classify_options(search, limits.seed),
        RewriteOptions(parse_tolerance(tolerance), minimize, seed=limits.seed),
        VerifyOptions(samples=check_n, seed=limits.seed),
        bit_exact,
        guard,
        latency,
        proof is not None,
    )
    budget = limits.budget()
    with ending_search_on_interrupt(budget.stop):
        problem = read_problem(model, bounds, samples)
        _check_external_data(problem, target)
        with (
            with_journal(search, problem) as (problem, journal),
            progress_on_stderr(output) as observer,
        ):
            compressed = compress(problem, options, budget, observer, journal)
        on_stdout = target == STANDARD
        try:
            written = _write(compressed, target, fail_under)
        except AnswerNo:
            publish(report_of_compression(compressed, target, None), output, on_stdout)
            raise
        shown = None
        if proof is not None and compressed.proof is not None:
            from leo_cli.proof.prove import save

            with problem.watch.stage("prove"):
                save(compressed.proof, Path(proof), written.sha256)
            seconds = problem.watch.seconds()["prove"]
            shown = report_of_proof(compressed.proof, Path(proof), seconds)
        publish(report_of_compression(compressed, target, written, shown), output, on_stdout)
    return EXIT_INTERRUPTED if budget.stop.is_set() else 0


def _check_proof(proof: str | None, target: str, guard: Guard, search: Search) -> None:
    if proof is None:
        return
    if proof == STANDARD or Path(proof).resolve() == Path(target).resolve():
        raise click.UsageError("--proof: name a file of its own")
    if guard != "none":
        raise click.UsageError("--proof: a guard is not covered by proofs: leave --guard out")
    if search.trust_solver:
        raise click.UsageError("--proof: a solver's word is no proof: leave --trust-solver out")
    check_output(proof)


def _check_external_data(problem: Problem, target: str) -> None:
    if target == STANDARD and problem.model.has_external_data:
        raise click.UsageError(
            f"{problem.model.name}: keeps its weights in a file of their own, which a pipe cannot "
            "carry: name an output file"
        )


def _write(compressed: Compressed, target: str, fail_under: float) -> Model:
    from leo_cli.pipeline import content_to_write, save_compressed

    if target != STANDARD:
        return save_compressed(compressed, Path(target), fail_under)
    write_stdout(content_to_write(compressed, fail_under))
    return compressed.output.model
