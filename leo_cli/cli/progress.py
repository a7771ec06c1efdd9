"""Progress of the classification on stderr: the layer at work, units left, time they may take.

On a terminal one line that rewrites itself and is gone at the end; elsewhere, when asked for, a
plain line every few seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from leo_cli.cli.options import Output
    from leo_cli.stability.search import Observer, Progress

_TERMINAL_PAUSE = 0.1  # seconds between two updates
_PLAIN_PAUSE = 2.0
_WIDTH = 79


@contextmanager
def progress_on_stderr(output: Output) -> Iterator[Observer | None]:
    """The observer to hand to the search, None where nothing is to be shown.

    Shown on a terminal unless --quiet or --no-progress says otherwise; elsewhere with --progress.
    """
    stream = sys.stderr
    terminal = stream.isatty()
    wanted = output.progress if output.progress is not None else terminal and not output.quiet
    if not wanted:
        yield None
        return
    line = ProgressLine(stream, terminal)
    try:
        yield line.update
    finally:
        line.clear()


class ProgressLine:
    """Writes what it is told of at most every so often. clock: as `time.monotonic`."""

    def __init__(
        self, stream: TextIO, terminal: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream, self._terminal, self._clock = stream, terminal, clock
        self._start = clock()
        self._shown_at = float("-inf")

    def update(self, progress: Progress) -> None:
        now = self._clock()
        if now - self._shown_at < (_TERMINAL_PAUSE if self._terminal else _PLAIN_PAUSE):
            return
        self._shown_at = now
        text = describe(progress, now - self._start)[:_WIDTH]
        self._stream.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        self._stream.flush()

    def clear(self) -> None:
        if self._terminal and self._shown_at > float("-inf"):
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def describe(progress: Progress, elapsed: float) -> str:
    """One line: layer, decider, open units, and the time left if units settle at this rate."""
    left = progress.units - progress.settled
    text = (
        f"layer {progress.layer}: {progress.open_in_layer} open, {progress.decider}; "
        f"{left} of {progress.units} units left"
    )
    if progress.settled and left:
        text += f"; about {elapsed * left / progress.settled:.0f} s"
    return text
