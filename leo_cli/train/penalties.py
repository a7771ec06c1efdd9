"""Penalties that make networks compressible, and how they act on the weights.

With the mean loss f and weights W_1 .. W_n (biases are free), training minimises

    f(W) + l1 * sum_k |W_k|                                zeros; small, so stable, pre-activations
         + group_units * sum_k<n sum_j ||W_k[j, :]||_2     whole units vanish
         + group_inputs * sum_i ||W_1[:, i]||_2            whole inputs vanish
         + stability * mean_j -tanh(1 + l_j u_j / r_j^2)   bounds l < z < u pushed off zero

*subgradient*: the first three enter the gradient, as in LEO (Serra, Kumar, Ramalingam, arXiv
2001.00218); weights hover around zero. *proximal*: after every step of length t, their proximal
map moves each weight by t * l1 towards zero and stops there, then shortens rows and columns by t
times their strength (sparse group lasso: Simon, Friedman, Hastie, Tibshirani 2013, where soft
threshold and group shrinkage compose exactly; rows and columns overlap, so their composition is
the usual approximation). With momentum m a constant gradient g moves a weight by t g / (1 - m) a
step, so the threshold is divided by 1 - m too: a weight stays zero exactly if its averaged
gradient is below l1, and the same strengths mean the same in both.

The last term is the loss of Xiao, Tjeng, Shafiullah, Madry (arXiv 1809.03008), there -tanh(1 + l u)
on small balls. Over a whole domain |l u| is large and its tanh flat, so l u is measured in units of
the half width r = (u - l) / 2, taken as a constant: l u / r^2 is -1 at worst and 0 once the unit is
stable. Bounds are intervals, propagated through the layers and differentiated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from leo_cli.train.options import TrainOptions


def penalty_value(weights: list[torch.Tensor], options: TrainOptions) -> float:
    """The value of the first three penalties."""
    total = 0.0
    for k, weight in enumerate(weights):
        fixed = weight.detach()
        total += options.l1 * float(fixed.abs().sum())
        if k < len(weights) - 1:
            total += options.group_units * float(fixed.norm(dim=1).sum())
        if k == 0:
            total += options.group_inputs * float(fixed.norm(dim=0).sum())
    return total


def add_subgradient(
    weights: list[torch.Tensor], gradients: list[torch.Tensor], options: TrainOptions
) -> None:
    """Add the subgradient of the first three penalties to the weights' gradients, in place."""
    for k, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
        if options.l1:
            gradient.add_(weight.sign(), alpha=options.l1)
        if options.group_units and k < len(weights) - 1:
            norms = weight.norm(dim=1, keepdim=True).clamp_min(1e-12)
            gradient.add_(weight / norms, alpha=options.group_units)
        if options.group_inputs and k == 0:
            norms = weight.norm(dim=0, keepdim=True).clamp_min(1e-12)
            gradient.add_(weight / norms, alpha=options.group_inputs)


def apply_proximal(weights: list[torch.Tensor], step: float, options: TrainOptions) -> None:
    """The proximal map of `step` times the first three penalties, in place; zeros become exact."""
    for k, weight in enumerate(weights):
        if options.l1:
            threshold = step * options.l1
            weight.sub_(weight.clamp(-threshold, threshold))
        if options.group_units and k < len(weights) - 1:
            _shrink_groups(weight, 1, step * options.group_units)
        if options.group_inputs and k == 0:
            _shrink_groups(weight, 0, step * options.group_inputs)


def _shrink_groups(weight: torch.Tensor, dim: int, threshold: float) -> None:
    norms = weight.norm(dim=dim, keepdim=True).clamp_min(1e-30)
    weight.mul_((1 - threshold / norms).clamp_min(0))


def stability_penalty(
    weights: list[torch.Tensor],
    biases: list[torch.Tensor],
    lower: torch.Tensor,
    upper: torch.Tensor,
) -> torch.Tensor:
    """Mean over the hidden units of -tanh(1 + l u / r^2); lower, upper: (features,), normalised."""
    low, high = lower, upper
    total = lower.new_zeros(())
    units = 0
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        centre = weight @ ((low + high) / 2) + bias
        radius = weight.abs() @ ((high - low) / 2)
        z_low, z_high = centre - radius, centre + radius
        squared = radius.detach().square().clamp_min(1e-12)
        total = total - (1 + z_low * z_high / squared).tanh().sum()
        units += len(bias)
        low, high = z_low.relu(), z_high.relu()
    return total / max(units, 1)
