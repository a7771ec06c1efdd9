"""What a training run is told, checked before anything is read or trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

from leo_cli.errors import InputError

REGULARIZERS = ("proximal", "subgradient")
NORMALIZATIONS = ("none", "standard", "minmax")
SCHEDULES = ("cosine", "constant")
TASKS = ("auto", "classify", "regress")


@dataclass(frozen=True)
class TrainOptions:
    """hidden: widths of the ReLU layers, first to last.

    l1, group_units, group_inputs, stability: strengths of the penalties that are added to the
    mean loss of a batch (leo_cli.train.penalties). regularizer: how the first three are applied.
    epochs: passes over the training samples. finetune: share of the epochs, at the end, in which
    no penalty acts and weights that are zero stay zero. rate: learning rate; momentum: heavy
    ball; schedule: how the rate falls. batch_size: samples a step, None for
    a hundredth of them, but 16 to 128. seed: of everything random.
    val_split: share of the samples held out. normalize: scaling of the features, part of the
    model. patience: epochs without a lower loss plus penalty on the held-out samples before a phase
    ends, with the best weights it had. threads: of PyTorch; another number may round sums
    differently, and so give another model.
    """

    hidden: tuple[int, ...] = (100, 100)
    l1: float = 2e-4
    group_units: float = 0.0
    group_inputs: float = 0.0
    stability: float = 0.0
    regularizer: str = "proximal"
    epochs: int = 40
    finetune: float = 0.25
    rate: float = 0.05
    momentum: float = 0.9
    schedule: str = "cosine"
    batch_size: int | None = None
    seed: int = 0
    val_split: float = 0.1
    normalize: str = "none"
    patience: int | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        if any(width < 1 for width in self.hidden):
            raise InputError(f"--hidden {self.hidden}: every width is at least 1")
        for name in ("l1", "group_units", "group_inputs", "stability"):
            _require(name, getattr(self, name), 0.0, math.inf, "a finite number, 0 or more")
        _require("lr", self.rate, 0.0, math.inf, "a finite number above 0", open_low=True)
        _require("momentum", self.momentum, 0.0, 1.0, "at least 0 and below 1")
        _require("finetune", self.finetune, 0.0, 1.0, "at least 0 and below 1")
        _require("val_split", self.val_split, 0.0, 1.0, "at least 0 and below 1")
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0), ("threads", 1)):
            given = getattr(self, name)
            if given is not None and given < least:
                raise InputError(
                    f"--{_option(name)} {getattr(self, name)}: at least {least} is needed"
                )
        for name, known in (
            ("regularizer", REGULARIZERS),
            ("normalize", NORMALIZATIONS),
            ("schedule", SCHEDULES),
        ):
            if getattr(self, name) not in known:
                raise InputError(
                    f"--{name} {getattr(self, name)}: unknown, choose from {', '.join(known)}"
                )
        if self.patience is not None and self.patience < 1:
            raise InputError(f"--patience {self.patience}: at least 1 is needed")
        if self.patience is not None and self.val_split == 0:
            raise InputError("--patience needs held-out samples: give --val-split above 0")

    def samples_a_step(self, samples: int) -> int:
        """The batch size for that many training samples.

        Few samples need small batches: zeros are found in steps, not in epochs.
        """
        size = self.batch_size or min(128, max(16, samples // 100))
        return min(size, samples)

    @property
    def finetune_epochs(self) -> int:
        """Epochs of the final phase; 0 where nothing makes exact zeros that it could keep."""
        if self.regularizer != "proximal" or not (self.l1 or self.group_units or self.group_inputs):
            return 0
        return min(round(self.finetune * self.epochs), self.epochs - 1)


def _option(name: str) -> str:
    return name.replace("_", "-")


def _require(
    name: str, value: float, low: float, high: float, text: str, open_low: bool = False
) -> None:
    inside = (value > low if open_low else value >= low) and value < high
    if not inside:
        raise InputError(f"--{_option(name)} {value}: must be {text}")
