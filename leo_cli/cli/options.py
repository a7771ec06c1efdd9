"""Options that several commands share, each bundle one frozen dataclass.

A bundle decorator adds its click options to a command and hands their values over as one argument.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from leo_cli.stability.budget import Budget

    FloatType = click.ParamType[float]
else:
    FloatType = click.ParamType  # not generic before click 8.4

_SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_KEPT = ((-3, 2**25), (-1, 2**27), (-2, 2**24))  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|s|m|h|)")


class Duration(FloatType):
    """A time such as 90s, 10m or 2h, as seconds; `none` is infinite."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        text = str(value).strip().lower()
        if text == "none":
            return float("inf")
        match = _DURATION.fullmatch(text)
        if match is None:
            self.fail(f"{value!r} is no time: write 90s, 10m, 2h or none", param, ctx)
        return float(match[1]) * _SECONDS[match[2]]


class Percent(FloatType):
    """A percentage such as 30% or 30, as a fraction."""

    name = "percent"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        try:
            number = float(str(value).strip().removesuffix("%"))
        except ValueError:
            number = -1.0
        if not 0 <= number <= 100:
            self.fail(f"{value!r} is no percentage from 0% to 100%", param, ctx)
        return number / 100


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Output:
    """Where the report goes, and how much is said. progress: None means on a terminal only."""

    quiet: bool
    verbose: bool
    json: bool
    report: str | None
    progress: bool | None


@dataclass(frozen=True)
class Limits:
    """time_limit, unit_time_limit: seconds, infinite for `none`."""

    seed: int
    jobs: int
    time_limit: float
    unit_time_limit: float

    def budget(self) -> Budget:
        """The budget of a search that starts now."""
        from leo_cli.stability.budget import Budget

        start = Budget(unit_seconds=self.unit_time_limit, jobs=self.jobs)
        return start.at_most(self.time_limit)


def keep_blas_to_one_thread() -> None:
    """Deciders use threads of their own (leo_cli/parallel.py), and results must not depend on how
    many there are. Works only before numpy is first imported."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")


def keep_freed_memory() -> None:
    """Let the C library keep some freed memory instead of giving it back at once: the arrays of a
    search come and go, and fresh pages cost more than what is computed in them. glibc's mallopt;
    elsewhere nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        for parameter, size in _KEPT:
            mallopt(parameter, size)


@dataclass(frozen=True)
class Search:
    """How the units are classified. deciders: None for the default ladder."""

    deciders: tuple[str, ...] | None
    solver: str
    formulation: str
    trust_solver: bool
    resume: Path | None


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    if not names:
        raise click.BadParameter("name at least one decider", ctx, param)
    return names


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _bundle(name: str, kind: type[Any], *options: Decorator) -> Decorator:
    """Add `options` to a command, which receives them as one argument `name` of type `kind`."""
    own = [field.name for field in fields(kind)]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_bundle(**values: Any) -> Any:
            bundle = kind(**{key: values.pop(key) for key in own})
            return function(**{name: bundle}, **values)

        wrapped: Callable[..., Any] = with_bundle
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorate


output_options = _bundle(
    "output",
    Output,
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    click.option("-v", "--verbose", is_flag=True, help="Tell every unit and rewrite."),
    click.option("--json", is_flag=True, help="Print the report as one JSON object."),
    click.option(
        "--report", metavar="FILE", help="Write the report to FILE (.json) as well; '-' is stdout."
    ),
    click.option(
        "--progress/--no-progress",
        default=None,
        help="Show progress on stderr (default: on a terminal).",
    ),
)

limit_options = _bundle(
    "limits",
    Limits,
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N"),
    click.option(
        "-j",
        "--jobs",
        type=click.IntRange(1),
        default=usable_cores,
        show_default="the cores this process may use",
        metavar="N",
        help="Cores to use.",
    ),
    click.option(
        "--time-limit",
        type=Duration(),
        default="10m",
        show_default=True,
        metavar="T",
        help="End the search after T (90s, 10m, 2h, none); what is open then is kept.",
    ),
    click.option(
        "--unit-time-limit",
        type=Duration(),
        default="30s",
        show_default=True,
        metavar="T",
        help="Give up on a single unit after T.",
    ),
)

search_options = _bundle(
    "search",
    Search,
    click.option(
        "--deciders",
        callback=_names,
        metavar="LIST",
        help="Which deciders to use, in order, separated by commas.",
    ),
    click.option(
        "--solver",
        default="cbc",
        show_default=True,
        metavar="NAME",
        help="MILP solver: cbc, highs, or another that PuLP offers.",
    ),
    click.option(
        "--formulation",
        type=click.Choice(["unit", "network"]),
        default="unit",
        show_default=True,
        help="One MILP for each unit, or one for all.",
    ),
    click.option(
        "--trust-solver",
        is_flag=True,
        help="Take a solver's word for a proof. Solvers err: the result may be wrong.",
    ),
    click.option(
        "--resume",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Keep a journal of verdicts in DIR, and go on from the one that is there.",
    ),
)

bounds_option = click.option(
    "--bounds",
    required=True,
    metavar="FILE",
    help="The domain: bounds.json, OMLT's list, or a .vnnlib property.",
)

samples_option = click.option(
    "--samples",
    metavar="FILE",
    help="Real inputs (.npy, .npz, .csv; one a row): witnesses and verification points.",
)
