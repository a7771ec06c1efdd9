"""Option values: times, percentages, lists of names, and the bundles that commands receive."""

import math
import os

import click
import pytest

from leo_cli.cli import options
from leo_cli.cli.options import (
    Duration,
    Limits,
    Percent,
    limit_options,
    search_options,
    usable_cores,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("2h", 7200),
        ("250ms", 0.25),
        ("1.5m", 90),
        ("7", 7),
        (".5s", 0.5),
    ],
)
def test_times_are_read_as_seconds(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == pytest.approx(seconds, rel=1e-12)


def test_none_is_no_limit() -> None:
    assert Duration().convert("none", None, None) == math.inf


@pytest.mark.parametrize("text", ["", "ten", "-5s", "1d", "5 5s", "nan", "inf", "1e3s"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no time"):
        Duration().convert(text, None, None)


@pytest.mark.parametrize(("text", "share"), [("30%", 0.3), ("30", 0.3), ("0", 0.0), ("100%", 1.0)])
def test_percentages_are_read_as_fractions(text: str, share: float) -> None:
    assert Percent().convert(text, None, None) == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize("text", ["101%", "-1", "half", "nan", ""])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no percentage"):
        Percent().convert(text, None, None)


def _parsed(decorator, name, arguments):
    received = {}

    @click.command()
    @decorator
    def command(**values):
        received.update(values)

    command.main(arguments, standalone_mode=False)
    assert set(received) == {name}
    return received[name]


def test_limits_become_a_budget() -> None:
    limits = _parsed(
        limit_options, "limits", ["--time-limit", "none", "--unit-time-limit", "2s", "-j", "3"]
    )
    assert limits == Limits(seed=0, jobs=3, time_limit=math.inf, unit_time_limit=2.0)
    budget = limits.budget()
    assert (budget.jobs, budget.unit_seconds, budget.deadline) == (3, 2.0, math.inf)
    assert not budget.expired()


def test_a_time_limit_ends_the_budget() -> None:
    limits = _parsed(limit_options, "limits", ["--time-limit", "0"])
    assert limits.budget().expired()


def test_jobs_default_to_the_usable_cores() -> None:
    assert _parsed(limit_options, "limits", []).jobs == usable_cores() >= 1


def test_deciders_are_a_list_in_the_given_order() -> None:
    assert _parsed(search_options, "search", ["--deciders", "milp, linear"]).deciders == (
        "milp",
        "linear",
    )
    assert _parsed(search_options, "search", []).deciders is None


@pytest.mark.parametrize(
    "arguments", [["-j", "0"], ["--seed", "-1"], ["--unit-time-limit", "soon"], ["--seed", "x"]]
)
def test_wrong_limits_are_usage_errors(arguments) -> None:
    with pytest.raises(click.UsageError):
        _parsed(limit_options, "limits", arguments)


def test_memory_is_kept_where_the_c_library_can(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    class Glibc:
        def __init__(self, name: object) -> None: ...

        def mallopt(self, parameter: int, size: int) -> None:
            asked.append((parameter, size))

    monkeypatch.setattr(options.ctypes, "CDLL", Glibc)
    options.keep_freed_memory()
    assert len(asked) == (3 if os.name == "posix" else 0)
    monkeypatch.setattr(options.ctypes, "CDLL", lambda name: object())  # another C library
    options.keep_freed_memory()
