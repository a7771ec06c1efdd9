"""From the arguments of a command to the problem that the pipeline works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leo_cli.cli.files import binary_source, display_name, one_reader_of_stdin, text_source

if TYPE_CHECKING:
    from leo_cli.cli.options import Search
    from leo_cli.pipeline import Problem
    from leo_cli.stability.ladder import ClassifyOptions


def read_problem(model: str, bounds: str, samples: str | None) -> Problem:
    """Read the files of a command; at most one of them is stdin."""
    one_reader_of_stdin(**{"IN": model, "--bounds": bounds, "--samples": samples})
    from leo_cli.pipeline import load

    return load(
        binary_source(model),
        text_source(bounds),
        None if samples is None else binary_source(samples),
        model_name=display_name(model),
        bounds_name=display_name(bounds),
    )


def classify_options(search: Search, seed: int) -> ClassifyOptions:
    from leo_cli.stability.ladder import ClassifyOptions

    return ClassifyOptions(
        search.deciders, search.solver, search.formulation, search.trust_solver, seed
    )
