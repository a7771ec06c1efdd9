"""Ctrl-C, once and twice.

The first ends the search: what is decided so far is used, and the command goes on to its end. The
second raises KeyboardInterrupt, wherever that may be.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

EXIT_INTERRUPTED = 130
_NOTICE = b"\nleo: interrupted: going on with what is decided so far (Ctrl-C again stops at once)\n"


@contextmanager
def ending_search_on_interrupt(stop: Event) -> Iterator[None]:
    """Within the block SIGINT sets `stop`; once it is set, SIGINT raises KeyboardInterrupt."""

    def handle(signum: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        os.write(2, _NOTICE)  # a signal may arrive within a write to sys.stderr

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
