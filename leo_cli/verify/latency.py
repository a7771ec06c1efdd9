"""How long onnxruntime takes for one call, before and after, as a deployed model runs.

Both models run in turn on the same points, first one then the other in alternating order, so that
whatever slows the machine down slows both. Each pair gives a ratio; medians are reported, since
single calls are disturbed by all that goes on. The sessions use one thread and full graph
optimisation, onnxruntime's default.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from leo_cli.domain import Domain
from leo_cli.onnx_io import Model, with_outputs
from leo_cli.verify.runtime import Session, open_session

BATCHES = (1, 256)
SECONDS = 0.5  # spent on each batch size
FEWEST_PAIRS = 20
WARM_UP = 5  # calls before the clock counts
SHORTEST = 2e-4  # seconds that one reading of the clock should span


@dataclass(frozen=True)
class Latency:
    """before, after: median seconds of a call with `batch` rows. ratio: median of the paired
    after / before."""

    batch: int
    before: float
    after: float
    ratio: float


def measure_latency(
    before: Model, after: Model, domain: Domain, seed: int = 0, seconds: float = SECONDS
) -> tuple[Latency, ...]:
    """One entry for each batch size; for a model that fixes its batch only that one.

    Raises ModelError where onnxruntime refuses a model.
    """
    first, second = _session(before), _session(after)
    batches = (first.batch,) if first.batch else BATCHES
    rng = np.random.default_rng(seed)
    return tuple(_measured(first, second, domain, batch, rng, seconds) for batch in batches)


def _session(model: Model) -> Session:
    names = [spec.name for spec in model.outputs]
    return open_session(with_outputs(model, ()), model.inputs, names, model.name, "all")


def _measured(
    first: Session,
    second: Session,
    domain: Domain,
    batch: int,
    rng: np.random.Generator,
    seconds: float,
) -> Latency:
    (block,) = first.blocks(domain.sample(batch, rng))
    old, new = (partial(session.fetch, block.feed) for session in (first, second))
    repeats = max(1, int(SHORTEST / max(_warmed_up(old), 1e-9)))
    _warmed_up(new)
    end = time.perf_counter() + seconds
    pairs: list[tuple[float, float]] = []
    while len(pairs) < FEWEST_PAIRS or time.perf_counter() < end:
        if len(pairs) % 2:
            after, before = _seconds(new, repeats), _seconds(old, repeats)
        else:
            before, after = _seconds(old, repeats), _seconds(new, repeats)
        pairs.append((before, after))
    times = np.array(pairs)
    ratio = np.median(times[:, 1] / times[:, 0])
    middle = np.median(times, axis=0)
    return Latency(batch, float(middle[0]), float(middle[1]), float(ratio))


def _warmed_up(call: Callable[[], object]) -> float:
    """Seconds of a call once the first ones are over."""
    _seconds(call, WARM_UP)
    return _seconds(call, WARM_UP)


def _seconds(call: Callable[[], object], repeats: int) -> float:
    """Seconds of one call, the average of `repeats`."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats
