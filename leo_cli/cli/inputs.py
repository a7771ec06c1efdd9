"""From the arguments of a command to the problem that the pipeline works on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from leo_cli.cli.files import binary_source, display_name, one_reader_of_stdin, text_source

if TYPE_CHECKING:
    from leo_cli.cli.options import Search
    from leo_cli.problem import Problem
    from leo_cli.stability.options import ClassifyOptions
    from leo_cli.stability.search import Journal


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
    from leo_cli.stability.options import ClassifyOptions

    return ClassifyOptions(
        search.deciders, search.solver, search.formulation, search.trust_solver, seed
    )


@contextmanager
def with_journal(search: Search, problem: Problem) -> Iterator[tuple[Problem, Journal | None]]:
    """The journal of --resume, and the problem with a note of what was wrong with it."""
    if search.resume is None:
        yield problem, None
        return
    from leo_cli.stability.journal import open_journal

    opened = open_journal(search.resume, problem.model.sha256, problem.domain.sha256)
    with opened as journal:
        yield replace(problem, notes=(*problem.notes, *journal.notes)), journal
