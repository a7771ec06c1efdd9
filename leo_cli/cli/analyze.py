"""leo analyze: the classification of every unit, a report, nothing written."""

from __future__ import annotations

import click

from leo_cli.cli.console import check_report_options, publish
from leo_cli.cli.inputs import classify_options, read_problem, with_journal
from leo_cli.cli.interrupt import EXIT_INTERRUPTED, ending_search_on_interrupt
from leo_cli.cli.options import (
    Limits,
    Output,
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


@click.command(short_help="Classify the units of a model; write nothing.")
@click.argument("model", metavar="IN.onnx")
@bounds_option
@samples_option
@search_options
@limit_options
@output_options
def command(
    model: str,
    bounds: str,
    samples: str | None,
    search: Search,
    limits: Limits,
    output: Output,
) -> int:
    """Tell which units of IN.onnx are stable on the domain, and why. Nothing is written.

    \b
    Example:
      leo analyze model.onnx --bounds bounds.json --json
    """
    check_report_options(output)
    keep_blas_to_one_thread()
    keep_freed_memory()
    budget = limits.budget()
    with ending_search_on_interrupt(budget.stop):
        problem = read_problem(model, bounds, samples)

        from leo_cli.pipeline import analyze
        from leo_cli.report.assemble import report_of_analysis

        options = classify_options(search, limits.seed)
        with (
            with_journal(search, problem) as (problem, journal),
            progress_on_stderr(output) as observer,
        ):
            analysis = analyze(problem, options, budget, observer, journal)
        publish(report_of_analysis(analysis), output)
    return EXIT_INTERRUPTED if budget.stop.is_set() else 0
