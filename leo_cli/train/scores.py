"""How good a network is, and how its features are scaled."""

from __future__ import annotations

import numpy as np

from leo_cli.train.dataset import Dataset, Floats32
from leo_cli.train.perceptron import Perceptron

SMALLEST_SPREAD = 1e-30  # of a feature that is scaled: its reciprocal must be a float32


def score(model: Perceptron, data: Dataset) -> float:
    """Accuracy on `data`, or R^2 (the mean over the targets) for a regression."""
    outputs = model.evaluate(data.x)
    if data.is_classification:
        return float(np.mean(outputs.argmax(axis=1) == data.y))
    y = data.y.astype(np.float64)
    rest = np.sum((y - outputs) ** 2, axis=0)
    total = np.sum((y - y.mean(axis=0)) ** 2, axis=0)
    return float(np.mean(1 - rest / np.where(total > 0, total, 1.0)))


def constant_score(data: Dataset) -> float:
    """The score on `data` of the best constant output: what a network must beat to have learnt."""
    return float(np.bincount(data.y).max() / data.samples) if data.is_classification else 0.0


def normalization(x: Floats32, kind: str) -> tuple[Floats32 | None, Floats32 | None]:
    """(offset, scale), (features,) each: (x - offset) * scale is standardised, or in [0, 1].

    A constant feature is only shifted, to 0.
    """
    if kind == "none":
        return None, None
    if kind == "standard":
        offset, spread = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    else:
        offset, spread = x.min(axis=0).astype(np.float64), np.ptp(x, axis=0).astype(np.float64)
    constant = np.ptp(x, axis=0) == 0
    scale = 1.0 / np.where(constant | (spread < SMALLEST_SPREAD), 1.0, spread)
    offset = np.where(constant, x[0].astype(np.float64), offset)
    return offset.astype(np.float32), scale.astype(np.float32)
