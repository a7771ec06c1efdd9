"""Training: stochastic gradient descent with heavy-ball momentum, written out, on one thread.

All samples stay in one tensor and batches are gathered from it; no data loader, no module
classes, so that a run is short and what it computes is on this page. The learning rate falls by a
half cosine to zero (or not at all). In the last `finetune` share of the epochs it starts anew at
half its height, no penalty acts, and weights that are zero stay zero: what shrinkage cost in
accuracy is regained with the sparsity pattern that it found.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from leo_cli.errors import InputError
from leo_cli.train.dataset import Dataset, Floats32, Labels
from leo_cli.train.options import TrainOptions
from leo_cli.train.penalties import (
    add_subgradient,
    apply_proximal,
    penalty_value,
    stability_penalty,
)
from leo_cli.train.perceptron import Perceptron, stable_share
from leo_cli.train.pytorch import import_torch, reproducible
from leo_cli.train.scores import normalization, score

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Epoch:
    """loss: mean over the epoch's batches, without penalties. held_out_loss: after it.

    score: accuracy, or R^2 for a regression, on the held-out samples (the training samples where
    none are held out). stable: share of units stable by interval bounds. nonzero: share
    of the weights.
    """

    epoch: int
    loss: float
    held_out_loss: float
    score: float
    stable: float
    nonzero: float


@dataclass(frozen=True, eq=False)
class Trained:
    """model: after training. history: one entry an epoch. stopped_early: by `patience`."""

    model: Perceptron
    history: tuple[Epoch, ...]
    stopped_early: bool


Observer = Callable[[Epoch], None]


def train(
    training: Dataset,
    held_out: Dataset | None,
    options: TrainOptions,
    box: tuple[Floats32, Floats32],
    observer: Observer | None = None,
) -> Trained:
    """Train a network of `options.hidden` ReLU units on `training`.

    held_out: measured after every epoch, never trained on. box: (lower, upper), (features,) each,
    the domain that stability is judged on. observer: called after every epoch. The same arguments
    give the same model. Raises InputError when PyTorch is missing or training diverges.
    """
    torch = import_torch()
    with reproducible(torch, options.threads):
        return _Run(torch, training, held_out, options, box).train(observer)


class _Run:
    """The state of one run: tensors of the samples, parameters, velocities, and masks."""

    def __init__(
        self,
        torch: Any,
        training: Dataset,
        held_out: Dataset | None,
        options: TrainOptions,
        box: tuple[Floats32, Floats32],
    ) -> None:
        self.torch = torch
        self.options = options
        self.box = box
        self.offset, self.scale = normalization(training.x, options.normalize)
        self.generator = torch.Generator().manual_seed(options.seed)
        self.classify = training.is_classification
        self.target_mean, self.target_std = _target_scale(training)
        self.x, self.y = self._tensors(training)
        measured = training if held_out is None else held_out
        self.measured = (self.x, self.y) if held_out is None else self._tensors(measured)
        self.measured_data = measured
        shift = Perceptron((), (), self.offset, self.scale)
        self.lower, self.upper = (torch.from_numpy(shift.normalized(end)) for end in box)
        widths = (training.x.shape[1], *options.hidden, training.outputs)
        self.weights, self.biases = self._initial(widths)
        self.velocities = [torch.zeros_like(p) for p in self.weights + self.biases]
        self.masks: list[torch.Tensor] | None = None

    def train(self, observer: Observer | None) -> Trained:
        options = self.options
        history: list[Epoch] = []
        stopped = False
        main = options.epochs - options.finetune_epochs
        for length, finetuning in ((main, False), (options.finetune_epochs, True)):
            if finetuning and length:
                self._fix_pattern()
            best, waited, kept = math.inf, 0, self._state()
            for past in range(length):
                loss = self._epoch(past, length)
                epoch, objective = self._measure(len(history) + 1, loss)
                history.append(epoch)
                if observer is not None:
                    observer(epoch)
                if options.patience is None:
                    continue
                waited += 1
                if objective < best:
                    best, waited, kept = objective, 0, self._state()
                if waited >= options.patience:
                    stopped = True
                    break
            if options.patience is not None and length:
                self._restore(kept)
        return Trained(self._export(), tuple(history), stopped)

    def _state(self) -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in self.weights + self.biases]

    def _restore(self, state: list[torch.Tensor]) -> None:
        with self.torch.no_grad():
            for parameter, values in zip(self.weights + self.biases, state, strict=True):
                parameter.copy_(values)

    def _tensors(self, data: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
        torch = self.torch
        shift = Perceptron((), (), self.offset, self.scale)
        x = torch.from_numpy(np.ascontiguousarray(shift.normalized(data.x)))
        if self.classify:
            return x, torch.from_numpy(data.y.copy())
        scaled = (data.y - self.target_mean) / self.target_std
        return x, torch.from_numpy(scaled.astype(np.float32))

    def _initial(self, widths: tuple[int, ...]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Weights by He et al. (2015), uniform; biases 0."""
        torch = self.torch
        weights, biases = [], []
        for fan_in, fan_out in pairwise(widths):
            bound = math.sqrt(6.0 / fan_in)
            uniform = torch.rand(fan_out, fan_in, generator=self.generator)
            weights.append(((2 * uniform - 1) * bound).requires_grad_())
            biases.append(torch.zeros(fan_out).requires_grad_())
        return weights, biases

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = self.torch.addmm(bias, x, weight.t()).relu_()
        outputs: torch.Tensor = self.torch.addmm(self.biases[-1], x, self.weights[-1].t())
        return outputs

    def _loss(self, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        functional = self.torch.nn.functional
        measure = functional.cross_entropy if self.classify else functional.mse_loss
        loss: torch.Tensor = measure(outputs, y)
        return loss

    def _epoch(self, past: int, length: int) -> float:
        """One pass over the samples; the mean loss of its batches, without penalties."""
        torch = self.torch
        options = self.options
        size = options.samples_a_step(len(self.x))
        order = torch.randperm(len(self.x), generator=self.generator)
        batches = max(1, len(self.x) // size)  # a last, smaller batch waits for the next shuffle
        total = 0.0
        for batch in range(batches):
            index = order[batch * size : (batch + 1) * size]
            loss = self._loss(self._forward(self.x[index]), self.y[index])
            objective = loss
            if options.stability and self.masks is None:
                penalty = stability_penalty(self.weights, self.biases, self.lower, self.upper)
                objective = loss + options.stability * penalty
            gradients = torch.autograd.grad(objective, self.weights + self.biases)
            with torch.no_grad():
                self._step(list(gradients), self._rate((past + batch / batches) / length))
            total += float(loss.detach())
        return total / batches

    def _step(self, gradients: list[torch.Tensor], rate: float) -> None:
        options = self.options
        layers = len(self.weights)
        proximal = options.regularizer == "proximal"
        if not proximal:
            add_subgradient(self.weights, gradients[:layers], options)
        for parameter, gradient, velocity in zip(
            self.weights + self.biases, gradients, self.velocities, strict=True
        ):
            velocity.mul_(options.momentum).add_(gradient)
            parameter.sub_(velocity, alpha=rate)
        if self.masks is not None:
            for weight, mask in zip(self.weights, self.masks, strict=True):
                weight.mul_(mask)
        elif proximal:
            apply_proximal(self.weights, rate / (1 - options.momentum), options)

    def _rate(self, progress: float) -> float:
        """The learning rate after the share `progress` of a phase."""
        options = self.options
        if options.schedule == "constant":
            return options.rate
        start = options.rate if self.masks is None else options.rate / 2
        return start * (1 + math.cos(math.pi * progress)) / 2

    def _fix_pattern(self) -> None:
        """From here on no penalty acts and zeros stay zero."""
        self.masks = [(weight.detach() != 0).to(weight.dtype) for weight in self.weights]
        for velocity in self.velocities:
            velocity.zero_()

    def _measure(self, number: int, loss: float) -> tuple[Epoch, float]:
        """What the epoch reached, and the objective that early stopping watches."""
        model = self._export()
        with self.torch.no_grad():
            held_out_loss = float(self._loss(self._forward(self.measured[0]), self.measured[1]))
        if not math.isfinite(loss + held_out_loss):
            raise InputError(
                f"training diverged in epoch {number}: lower --lr {self.options.rate}, "
                "or --normalize the features"
            )
        epoch = Epoch(
            epoch=number,
            loss=loss,
            held_out_loss=held_out_loss,
            score=score(model, self.measured_data),
            stable=stable_share(model, *self.box),
            nonzero=model.nonzero / model.connections,
        )
        penalty = 0.0 if self.masks is not None else penalty_value(self.weights, self.options)
        return epoch, held_out_loss + penalty

    def _export(self) -> Perceptron:
        """The network as arrays; a regression's last layer undoes the scaling of the targets."""
        weights = [weight.detach().numpy() + np.float32(0) for weight in self.weights]  # no -0.0
        biases = [bias.detach().numpy().copy() for bias in self.biases]
        if not self.classify:
            std, mean = self.target_std, self.target_mean
            weights[-1] = (weights[-1] * std[:, None]).astype(np.float32)
            biases[-1] = (biases[-1] * std + mean).astype(np.float32)
        return Perceptron(tuple(weights), tuple(biases), self.offset, self.scale)


def _target_scale(data: Dataset) -> tuple[Any, Any]:
    """Mean and standard deviation of a regression's targets, (targets,) float64 each."""
    if data.is_classification:
        return np.zeros(1), np.ones(1)
    y: Labels | Floats32 = data.y
    std = y.std(axis=0, dtype=np.float64)
    return y.mean(axis=0, dtype=np.float64), np.where(std > 0, std, 1.0)
