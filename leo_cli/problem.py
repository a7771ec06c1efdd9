"""What a run is about: a model on its domain, its classification, and the time that it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.onnx_io import Model
from leo_cli.stability.verdict import StabilityMap


class Stopwatch:
    """Seconds by stage, and `total` since it was started."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._stages[name] = self._stages.get(name, 0.0) + time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        return {"total": time.perf_counter() - self._start, **self._stages}


@dataclass(frozen=True)
class Problem:
    """A model, its domain and, where given, real inputs of that domain: (m, inputs)."""

    model: Model
    domain: Domain
    samples: Floats | None = None
    notes: tuple[str, ...] = ()
    watch: Stopwatch = field(default_factory=Stopwatch)


@dataclass(frozen=True)
class Analysis:
    """A classified problem."""

    problem: Problem
    stability: StabilityMap
