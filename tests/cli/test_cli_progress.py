"""Progress: on a terminal one line that goes again, elsewhere only on request; never in the way."""

import io
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from leo_cli.cli.console import in_colour
from leo_cli.cli.options import Output
from leo_cli.cli.progress import ProgressLine, describe, progress_on_stderr
from leo_cli.stability.search import Progress

ROOT = Path(__file__).resolve().parents[2]
STATE = Progress("relu1", "branch", 7, 60, 100)
QUIET = Output(quiet=True, verbose=False, json=False, report=None, progress=None)
NORMAL = replace(QUIET, quiet=False)


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_line_says_where_the_search_is_and_how_long_it_may_take() -> None:
    text = describe(STATE, 30.0)
    assert text == "layer relu1: 7 open, branch; 40 of 100 units left; about 20 s"


def test_no_time_is_foretold_from_nothing() -> None:
    assert "about" not in describe(replace(STATE, settled=0), 30.0)
    assert "about" not in describe(replace(STATE, settled=100), 30.0)


@pytest.mark.parametrize(("terminal", "pause"), [(True, 0.1), (False, 2.0)])
def test_updates_are_thinned_out(terminal: bool, pause: float) -> None:
    stream, clock = io.StringIO(), _Clock()
    line = ProgressLine(stream, terminal, clock)
    for k in range(100):
        clock.now = k * pause / 10
        line.update(STATE)
    assert 9 <= stream.getvalue().count("relu1") <= 11


def test_a_long_name_does_not_wrap() -> None:
    stream = io.StringIO()
    ProgressLine(stream, True, _Clock()).update(replace(STATE, layer="x" * 300))
    assert len(stream.getvalue().removeprefix("\r\x1b[K")) < 80


def test_a_terminal_line_is_wiped_at_the_end() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream, True, _Clock())
    line.clear()
    assert stream.getvalue() == "", "nothing shown, nothing to wipe"
    line.update(STATE)
    line.clear()
    assert stream.getvalue().endswith("\r\x1b[K")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "output", "shown"),
    [
        (_Terminal(), NORMAL, True),
        (_Terminal(), QUIET, False),
        (_Terminal(), replace(NORMAL, progress=False), False),
        (io.StringIO(), NORMAL, False),
        (io.StringIO(), replace(NORMAL, progress=True), True),
    ],
)
def test_progress_is_for_terminals_unless_asked_for(monkeypatch, stream, output, shown) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_on_stderr(output) as observer:
        assert (observer is not None) == shown


def test_colour_is_for_terminals_that_want_it(monkeypatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert in_colour(_Terminal()) and not in_colour(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not in_colour(_Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not in_colour(_Terminal())


@pytest.mark.parametrize("no_color", [None, "1"])
def test_the_table_on_a_terminal(no_color) -> None:
    """Through a real pseudo-terminal: coloured, unless NO_COLOR says otherwise."""
    sample = ROOT / "sample_models" / "thermostat"
    env = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    env |= {"TERM": "xterm", "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    if no_color:
        env["NO_COLOR"] = no_color
    call = [sys.executable, "-m", "leo_cli.cli.main", "analyze", f"{sample}.onnx"]
    reader, writer = pty.openpty()
    with subprocess.Popen(
        [*call, "--bounds", f"{sample}.bounds.json"], stdout=writer, stderr=writer, env=env
    ) as child:
        os.close(writer)
        shown = b""
        try:
            while chunk := os.read(reader, 4096):
                shown += chunk
        except OSError:  # how Linux tells that the other side is closed
            pass
    os.close(reader)
    assert child.returncode == 0 and b"thermostat" in shown
    assert (b"\x1b[1m" in shown) == (no_color is None)
