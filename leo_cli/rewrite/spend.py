"""Spend the allowance where it saves most.

Several rewrites could each use up the whole allowance alone, each saving more the more it gets.
Every candidate (a rewrite or a group of alternatives, on one layer) makes offers: what it saves,
and the deviation that this causes, when it may use a given fraction of the allowance. A plan takes
at most one offer of each candidate, so that the deviations sum to no more than the allowance in any
component and most is saved: a small knapsack, by branch and bound. Offers are estimates, since a
step changes what later ones meet. Every step is certified when it is taken, with what the plan gave
it and what nobody was promised as its allowance; what is left over is there for the next round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.rewrite.subject import Answer, LayerRewrite, Refusal, Rewrite, Subject

FRACTIONS = (1.0, 0.95, 0.75, 0.5, 0.25, 1 / 16, 1 / 64)
NODES = 20_000


@dataclass(frozen=True)
class Offer:
    """A candidate would move the output components by `deviation`, and save `saved` of the cost."""

    deviation: Floats
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
    return subject.cost.priced(step.network, subject.network), share_of(subject, step.deviation)


def checked(subject: Subject, answer: Answer) -> Answer:
    """The answer, or a refusal where it is not cheaper or moves the outputs too much."""
    if isinstance(answer, Refusal):
        return answer
    if not subject.allows(answer.deviation):
        return Refusal(answer.rewrite, answer.layer, "it exceeds the allowed deviation")
    if not subject.cost.cheaper(answer.network, subject.network, answer.neutral):
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
    before = subject.cost.priced(subject.network, subject.network)
    for fraction in FRACTIONS:
        answers = best_of(part(subject, fraction), spender.rewrites, k)
        if fraction == 1.0:
            refusals = [a for a in answers if isinstance(a, Refusal)]
        first = answers[0]
        if isinstance(first, Refusal):
            break  # less will not do either
        after = subject.cost.priced(first.network, subject.network)
        # ties in the first measure are settled by the others, with little weight
        saved = sum((b - a) * 1e-4**i for i, (b, a) in enumerate(zip(before, after, strict=True)))
        found.append(Offer(first.deviation, saved))
        if not first.deviation.any():
            break
    return found, refusals


def plan(menus: Sequence[Sequence[Offer]], allowed: Floats) -> list[Floats | None]:
    """The deviation that each candidate may cause in the best combination; None where it gets
    nothing.

    Depth first, the largest savings first, a branch being cut where even the best of all that
    remains cannot beat what is known. After NODES nodes the best so far is taken.
    """
    order = sorted(range(len(menus)), key=lambda i: -max(offer.saved for offer in menus[i]))
    sorted_menus = [sorted(menus[i], key=lambda offer: -offer.saved) for i in order]
    hope = [0.0]
    for menu in reversed(sorted_menus):
        hope.append(hope[-1] + menu[0].saved)
    hope.reverse()
    best_saved = 0.0
    best_choice: list[Offer | None] = [None] * len(menus)
    nodes = 0

    def search(level: int, saved: float, left: Floats, choice: list[Offer | None]) -> None:
        nonlocal best_saved, best_choice, nodes
        nodes += 1
        if saved > best_saved:
            best_saved = saved
            best_choice = [*choice, *([None] * (len(menus) - level))]
        if level == len(menus) or nodes > NODES or saved + hope[level] <= best_saved:
            return
        for offer in sorted_menus[level]:
            if np.all(offer.deviation <= left):
                search(level + 1, saved + offer.saved, left - offer.deviation, [*choice, offer])
        search(level + 1, saved, left, [*choice, None])

    search(0, 0.0, allowed, [])
    shares: list[Floats | None] = [None] * len(menus)
    for i, offer in zip(order, best_choice, strict=True):
        shares[i] = None if offer is None else offer.deviation
    return shares
