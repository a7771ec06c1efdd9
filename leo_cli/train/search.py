"""A sweep over strengths of the penalties: the front of score against size, and the smallest
model that loses little.

Every strength given is multiplied by each factor in turn; factor 0 is the reference without
penalties. All models are compared on the same held-out samples. Size is the number of connections
that remain once what interval bounds show to be superfluous is gone (`size_estimate`), an upper
estimate of what `leo compress` leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from leo_cli.errors import InputError
from leo_cli.train.dataset import Dataset, Floats32
from leo_cli.train.loop import Observer, Trained, train
from leo_cli.train.options import TrainOptions
from leo_cli.train.perceptron import Size, size_estimate
from leo_cli.train.scores import score

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, eq=False)
class Candidate:
    """factor: of the strengths. score: on the held-out samples. size: once compressed."""

    factor: float
    options: TrainOptions
    trained: Trained
    score: float
    size: Size


@dataclass(frozen=True, eq=False)
class Found:
    """candidates: the reference first, then by factor. front: those that no other beats in both
    score and size. chosen: the smallest that scores as the reference does, less the loss allowed.
    """

    candidates: tuple[Candidate, ...]
    front: tuple[Candidate, ...]
    chosen: Candidate


def search(
    training: Dataset,
    held_out: Dataset | None,
    options: TrainOptions,
    box: tuple[Floats32, Floats32],
    max_loss: float,
    factors: tuple[float, ...] = FACTORS,
    observer: Observer | None = None,
    on_candidate: Callable[[Candidate], None] | None = None,
) -> Found:
    """Train once without penalties and once for each factor, and choose.

    max_loss: allowed loss of accuracy (or of R^2), as a fraction. Raises InputError when nothing
    is held out to compare on, no strength is above 0, or a factor is not.
    """
    if held_out is None:
        raise InputError("--search compares models on held-out samples: give --val-split above 0")
    if not (options.l1 or options.group_units or options.group_inputs or options.stability):
        raise InputError(
            "--search multiplies the strengths given, and all are 0: give --l1 above 0"
        )
    if not factors or min(factors) <= 0:
        raise InputError("--factors must be above 0 (the reference, 0, is always trained)")
    if max_loss < 0:
        raise InputError(f"--max-accuracy-loss {max_loss}: must not be negative")
    candidates: list[Candidate] = []
    for factor in (0.0, *sorted(set(factors))):
        scaled = scale_penalties(options, factor)
        trained = train(training, held_out, scaled, box, observer)
        candidate = Candidate(
            factor,
            scaled,
            trained,
            score(trained.model, held_out),
            size_estimate(trained.model, *box),
        )
        candidates.append(candidate)
        if on_candidate is not None:
            on_candidate(candidate)
    return Found(tuple(candidates), front(candidates), choose(candidates, max_loss))


def scale_penalties(options: TrainOptions, factor: float) -> TrainOptions:
    """`options` with every strength multiplied by `factor`."""
    return replace(
        options,
        l1=options.l1 * factor,
        group_units=options.group_units * factor,
        group_inputs=options.group_inputs * factor,
        stability=options.stability * factor,
    )


def front(candidates: list[Candidate]) -> tuple[Candidate, ...]:
    """Candidates for which no other is at least as good in score and size and better in one."""

    def beats(a: Candidate, b: Candidate) -> bool:
        no_worse = a.score >= b.score and a.size.connections <= b.size.connections
        return no_worse and (a.score > b.score or a.size.connections < b.size.connections)

    kept = [c for c in candidates if not any(beats(other, c) for other in candidates)]
    return tuple(sorted(kept, key=lambda c: c.size.connections))


def choose(candidates: list[Candidate], max_loss: float) -> Candidate:
    """The smallest candidate whose score is at least that of the first minus `max_loss`."""
    wanted = candidates[0].score - max_loss
    good = [c for c in candidates if c.score >= wanted]
    return min(good, key=lambda c: (c.size.connections, -c.score))
