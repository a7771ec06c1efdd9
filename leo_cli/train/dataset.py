"""Training data: samples, targets, and what is known about them; checked once, here.

Features are flattened to one axis. Targets are class indices or real numbers. Whatever the file,
a `Dataset` is finite, has at least two samples, and, for classes, at least two of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from leo_cli.errors import InputError

Floats32: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.int64]

MOST_CLASSES = 64  # integer targets with more distinct values are taken for quantities


@dataclass(frozen=True, eq=False)
class Dataset:
    """x: (n, features) float32. y: (n,) class indices, or (n, targets) float32 for a regression.

    classes: names of the classes, in the order of the indices; empty for a regression.
    features: names of the features. range: (lower, upper) where the format itself limits every
    feature (bytes of an image), else None. source: the file or folder. sha256: of its content.
    """

    x: Floats32
    y: Labels | Floats32
    classes: tuple[str, ...]
    features: tuple[str, ...]
    source: str
    sha256: str
    range: tuple[float, float] | None = None

    @property
    def samples(self) -> int:
        return len(self.x)

    @property
    def is_classification(self) -> bool:
        return bool(self.classes)

    @property
    def outputs(self) -> int:
        """Components of a model's output: one for each class or target."""
        return len(self.classes) if self.classes else int(self.y.shape[1])

    def take(self, index: Labels) -> Dataset:
        """The samples `index`: (m,)."""
        return Dataset(
            self.x[index],
            self.y[index],
            self.classes,
            self.features,
            self.source,
            self.sha256,
            self.range,
        )

    def bounds(self, margin: float = 0.0) -> tuple[Floats32, Floats32]:
        """(lower, upper), (features,) each: the range of the format; without one, the least and
        largest value seen, moved outward by `margin` times their distance.
        """
        if self.range is not None:
            low, high = self.range
            size = self.x.shape[1]
            return np.full(size, low, dtype=np.float32), np.full(size, high, dtype=np.float32)
        lower, upper = self.x.min(axis=0), self.x.max(axis=0)
        if margin == 0:
            return lower, upper
        with np.errstate(over="ignore", invalid="ignore"):
            pad = np.float32(margin) * (upper - lower)
            return lower - pad, upper + pad


def make_dataset(
    x: NDArray[np.generic],
    y: NDArray[np.generic],
    *,
    source: str,
    sha256: str,
    task: str = "auto",
    features: tuple[str, ...] = (),
    range: tuple[float, float] | None = None,  # noqa: A002 (the field's name)
) -> Dataset:
    """Check x: (n, ...) and y: (n,) or (n, targets), and decide the task.

    task "auto": text and integers of at most 64 distinct values are classes, the rest are
    quantities. Raises InputError naming `source` and the place.
    """
    if x.ndim < 2:
        raise InputError(f"{source}: x has {x.ndim} axes; expected (samples, features)")
    if len(x) != len(y):
        raise InputError(f"{source}: x has {len(x)} samples but y has {len(y)}")
    if len(x) < 2:
        raise InputError(f"{source}: {len(x)} samples are too few to train on")
    flat = _finite_floats(x.reshape(len(x), -1), f"{source}: x")
    if flat.shape[1] == 0:
        raise InputError(f"{source}: x has no features")
    names = features or tuple(f"x{i}" for i in np.arange(flat.shape[1]))
    kind = _task(y, task, source)
    if kind == "regress":
        columns = y.reshape(len(y), -1)
        targets: Labels | Floats32 = _finite_floats(columns, f"{source}: y")
        classes: tuple[str, ...] = ()
    else:
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1:
            raise InputError(f"{source}: y has shape {y.shape}; class labels have one axis")
        if np.issubdtype(y.dtype, np.floating):
            _finite_floats(y[:, None], f"{source}: y")
        values, index = np.unique(y, return_inverse=True)
        if len(values) < 2:
            raise InputError(
                f"{source}: all samples are of one class, {values[0]!s}; at least two are needed"
            )
        targets = index.astype(np.int64)
        classes = tuple(str(value) for value in values)
    return Dataset(flat, targets, classes, names, source, sha256, range)


def split(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset | None]:
    """(training, held out), at random; None where `share` is 0.

    Raises InputError if too few samples remain.
    """
    if share == 0:
        return dataset, None
    held_out = max(1, round(share * dataset.samples))
    if dataset.samples - held_out < 2:
        raise InputError(
            f"{dataset.source}: --val-split {share} of {dataset.samples} samples leaves too few "
            "to train on"
        )
    order = np.random.default_rng(seed).permutation(dataset.samples)
    return dataset.take(np.sort(order[held_out:])), dataset.take(np.sort(order[:held_out]))


def _task(y: NDArray[np.generic], task: str, source: str) -> str:
    kind = y.dtype.kind
    if kind not in "biufUS":
        raise InputError(f"{source}: y of type {y.dtype} is neither labels nor numbers")
    if task == "regress" and kind in "US":
        raise InputError(f"{source}: y is text; a regression needs numbers")
    if task != "auto":
        return task
    if kind in "USb":
        return "classify"
    few = kind in "iu" and y.reshape(len(y), -1).shape[1] == 1 and len(np.unique(y)) <= MOST_CLASSES
    return "classify" if few else "regress"


def _finite_floats(values: NDArray[np.generic], where: str) -> Floats32:
    """(n, m) as float32; raises InputError at the first value that is not a finite float32."""
    if values.dtype.kind not in "biuf":
        raise InputError(f"{where} is of type {values.dtype}; numbers are needed")
    with np.errstate(over="ignore"):
        floats = values.astype(np.float32)
    bad = ~np.isfinite(floats)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"{where}: sample {row}, feature {column} is {values[row, column]}, not a finite "
            "float32; drop or fill such samples first"
        )
    return floats
