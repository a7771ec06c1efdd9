"""Spend the allowance where it saves most.

Several rewrites could each use up the whole allowance alone, each saving more the more it gets. A plan gives each of them a
share: for every candidate (a rewrite or a group of alternatives, on one layer) its offers are found by trying it with
fractions of the allowance, and the best combination of offers with total share at most 1 is a knapsack with one choice
per candidate, solved by dynamic programming over shares in steps of 1/STEPS, rounded up. The offers are estimates, since a step
changes what later ones meet; every step is certified when it is taken, with its share as allowance, and
what was planned but not used is there for the next round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.rewrite.subject import Answer, LayerRewrite, Refusal, Rewrite, Subject

FRACTIONS = (1.0, 0.75, 0.5, 0.25, 1 / 16, 1 / 64)
STEPS = 64


@dataclass(frozen=True)
class Offer:
    """A candidate would use `share` of the allowance (in the component where it uses most) and save `saved`."""

    share: float
    saved: float


@dataclass(frozen=True)
class Spender:
    """Rewrites of which the cheapest result counts, on the layer of this name."""

    name: str
    rewrites: tuple[LayerRewrite, ...]
    layer: str


def best_of(subject: Subject, rewrites: Sequence[LayerRewrite], k: int) -> list[Answer]:
    """The cheapest acceptable rewrite, if any, first; then the refusals."""
    best: Rewrite | None = None
    refusals: list[Answer] = []
    for rewrite in rewrites:
        answer = checked(subject, rewrite(subject, k))
        if isinstance(answer, Refusal):
            refusals.append(answer)
        elif best is None or _order(subject, answer) < _order(subject, best):
            best = answer
    return [best, *refusals] if best is not None else refusals


def _order(subject: Subject, step: Rewrite) -> tuple[tuple[float, ...], float]:
    return subject.cost.of(step.network), share_of(subject, step.deviation)


def checked(subject: Subject, answer: Answer) -> Answer:
    """The answer, or a refusal where it is not cheaper or moves the outputs too much."""
    if isinstance(answer, Refusal):
        return answer
    if np.any(answer.deviation > subject.allowance):
        return Refusal(answer.rewrite, answer.layer, "it exceeds the allowed deviation")
    if not subject.cost.cheaper(answer.network, subject.network):
        return Refusal(answer.rewrite, answer.layer, "it would not make the network cheaper")
    return answer


def share_of(subject: Subject, deviation: Floats) -> float:
    """The largest part of the allowance that a deviation uses up in one component."""
    used = deviation > 0
    if not used.any():
        return 0.0
    with np.errstate(divide="ignore"):
        return float((deviation[used] / subject.allowance[used]).max())


def position(subject: Subject, name: str) -> int | None:
    """Where the layer of this name is now, if it still exists."""
    for k, layer in enumerate(subject.network.layers):
        if layer.name == name:
            return k
    return None


def part(subject: Subject, fraction: float) -> Subject:
    """The same subject with a fraction of the allowance."""
    return subject if fraction == 1.0 else replace(subject, allowance=subject.allowance * fraction)


def offers(subject: Subject, spender: Spender) -> tuple[list[Offer], list[Refusal]]:
    """What the spender could save for how much, and why it cannot."""
    k = position(subject, spender.layer)
    found: list[Offer] = []
    refusals: list[Refusal] = []
    if k is None:
        return found, refusals
    before = subject.cost.of(subject.network)
    for fraction in FRACTIONS:
        answers = best_of(part(subject, fraction), spender.rewrites, k)
        if fraction == 1.0:
            refusals = [a for a in answers if isinstance(a, Refusal)]
        first = answers[0]
        if isinstance(first, Refusal):
            break  # less will not do either
        after = subject.cost.of(first.network)
        # ties in the first measure are settled by the others, with little weight
        saved = sum((b - a) * 1e-4**i for i, (b, a) in enumerate(zip(before, after, strict=True)))
        found.append(Offer(share_of(subject, first.deviation), saved))
        if found[-1].share == 0.0:
            break
    return found, refusals


def plan(menus: Sequence[Sequence[Offer]]) -> list[float | None]:
    """The share of each candidate in the best combination; None where it gets nothing."""
    best = np.zeros(STEPS + 1)
    choices: list[list[int | None]] = []
    for menu in menus:
        value = best.copy()
        choice: list[int | None] = [None] * (STEPS + 1)
        for number, offer in enumerate(menu):
            steps = int(np.ceil(offer.share * STEPS))
            for total in range(steps, STEPS + 1):
                if best[total - steps] + offer.saved > value[total]:
                    value[total] = best[total - steps] + offer.saved
                    choice[total] = number
        choices.append(choice)
        best = value
    shares: list[float | None] = []
    left = int(np.argmax(best))
    for menu, choice in zip(reversed(menus), reversed(choices), strict=True):
        picked = choice[left]
        if picked is None:
            shares.append(None)
            continue
        steps = int(np.ceil(menu[picked].share * STEPS))
        shares.append(steps / STEPS)
        left -= steps
    return shares[::-1]
