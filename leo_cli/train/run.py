"""A whole training run: split, train or search, and what there is to report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from leo_cli.errors import InputError
from leo_cli.train.dataset import Dataset, Floats32, split
from leo_cli.train.loop import Observer, Trained, train
from leo_cli.train.options import TrainOptions
from leo_cli.train.pytorch import import_torch
from leo_cli.train.search import Candidate, Found, search


@dataclass(frozen=True, eq=False)
class Run:
    """data: all samples; training, held_out: its parts; test: only measured.

    box: (lower, upper), (features,) each, the domain. options: of the model that was kept. found:
    of a search, else None. seconds: of the wall clock.
    """

    data: Dataset
    training: Dataset
    held_out: Dataset | None
    test: Dataset | None
    box: tuple[Floats32, Floats32]
    options: TrainOptions
    trained: Trained
    found: Found | None
    seconds: float


def run(
    data: Dataset,
    test: Dataset | None,
    options: TrainOptions,
    *,
    margin: float = 0.0,
    search_factors: tuple[float, ...] | None = None,
    max_loss: float = 0.003,
    observer: Observer | None = None,
    on_candidate: Callable[[Candidate], None] | None = None,
) -> Run:
    """Train on `data` without what is held out; with `search_factors`, the smallest good model.

    Raises InputError: PyTorch is missing, too few samples, it diverges, or nothing to search.
    """
    start = time.monotonic()
    import_torch()
    if not 0 <= margin < float("inf"):
        raise InputError(f"--margin {margin}: must be a finite number, 0 or more")
    training, held_out = split(data, options.val_split, options.seed)
    box = data.bounds(margin)
    if not np.isfinite(box).all():
        raise InputError(f"--margin {margin}: the widened bounds are no longer finite float32")
    found = None
    if search_factors is None:
        trained = train(training, held_out, options, box, observer)
    else:
        found = search(
            training, held_out, options, box, max_loss, search_factors, observer, on_candidate
        )
        options, trained = found.chosen.options, found.chosen.trained
    return Run(
        data, training, held_out, test, box, options, trained, found, time.monotonic() - start
    )
