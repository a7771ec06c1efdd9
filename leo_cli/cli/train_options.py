"""The options of `leo train` that describe the training, named as the fields of TrainOptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def numbers(
    kind: type[int] | type[float],
) -> Callable[[click.Context, click.Parameter, str], tuple[float, ...]]:
    """A callback for options whose value is a list of numbers separated by commas."""

    def convert(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
        try:
            return tuple(kind(part) for part in value.split(",") if part.strip())
        except ValueError:
            text = f"{value!r} is no list of numbers separated by commas"
            raise click.BadParameter(text, ctx, param) from None

    return convert


_OPTIONS = (
    click.option(
        "--hidden",
        callback=numbers(int),
        default="100,100",
        show_default=True,
        metavar="LIST",
        help="Widths of the ReLU layers.",
    ),
    click.option(
        "--l1",
        type=float,
        default=2e-4,
        show_default=True,
        metavar="X",
        help="Strength of the L1 penalty on the weights.",
    ),
    click.option(
        "--regularizer",
        type=click.Choice(["proximal", "subgradient"]),
        default="proximal",
        show_default=True,
        help="proximal: soft threshold after each step, exact zeros. subgradient: as in LEO.",
    ),
    click.option(
        "--group-units",
        type=float,
        default=0.0,
        show_default=True,
        metavar="X",
        help="Strength of the group penalty that removes whole units.",
    ),
    click.option(
        "--group-inputs",
        type=float,
        default=0.0,
        show_default=True,
        metavar="X",
        help="Strength of the group penalty that removes whole inputs.",
    ),
    click.option(
        "--stability",
        type=float,
        default=0.0,
        show_default=True,
        metavar="X",
        help="Strength of the penalty that pushes bounds of pre-activations off zero.",
    ),
    click.option("--epochs", type=int, default=40, show_default=True, metavar="N"),
    click.option(
        "--finetune",
        type=float,
        default=0.25,
        show_default=True,
        metavar="SHARE",
        help="Share of the epochs, at the end, without penalties; zeros stay zero.",
    ),
    click.option(
        "--lr",
        "rate",
        type=float,
        default=0.05,
        show_default=True,
        metavar="X",
        help="Learning rate.",
    ),
    click.option("--momentum", type=float, default=0.9, show_default=True, metavar="X"),
    click.option(
        "--schedule",
        type=click.Choice(["cosine", "constant"]),
        default="cosine",
        show_default=True,
        help="How the learning rate falls.",
    ),
    click.option(
        "--batch-size",
        type=int,
        show_default="a hundredth of the samples, but 16 to 128",
        metavar="N",
        help="Samples a step.",
    ),
    click.option(
        "--val-split",
        type=float,
        default=0.1,
        show_default=True,
        metavar="SHARE",
        help="Share of the samples to hold out.",
    ),
    click.option(
        "--patience",
        type=int,
        metavar="N",
        help="Stop after N epochs that did no better on the held-out samples.",
    ),
    click.option(
        "--normalize",
        type=click.Choice(["none", "standard", "minmax"]),
        default="none",
        show_default=True,
        help="Scale the features; the scaling is part of the model.",
    ),
    click.option(
        "--seed",
        type=int,
        default=0,
        show_default=True,
        metavar="N",
        help="The same seed gives the same model.",
    ),
    click.option(
        "--threads",
        type=int,
        default=1,
        show_default=True,
        metavar="N",
        help="Threads of PyTorch; another number may give another model.",
    ),
)


def training_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add them to a command, which receives each under its field's name."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
