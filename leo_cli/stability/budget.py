"""How long a search may take, and whether somebody wants it to end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Event


@dataclass(frozen=True)
class Budget:
    """deadline: a `time.monotonic()` value. unit_seconds: the most that one unit may take.
    jobs: processes or threads that a decider may use. stop: set when the user interrupts."""

    deadline: float = float("inf")
    unit_seconds: float = float("inf")
    jobs: int = 1
    stop: Event = field(default_factory=Event)
    clock: Callable[[], float] = time.monotonic

    def remaining(self) -> float:
        """Seconds left (0 when interrupted)."""
        return 0.0 if self.stop.is_set() else max(0.0, self.deadline - self.clock())

    def expired(self) -> bool:
        return self.remaining() <= 0.0

    def at_most(self, seconds: float) -> Budget:
        """The same budget, ending `seconds` from now at the latest."""
        return replace(self, deadline=min(self.deadline, self.clock() + seconds))
