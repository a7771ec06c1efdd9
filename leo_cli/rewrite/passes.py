"""The order of the rewrites, repeated until nothing changes, and the run's account of deviation.

One round:
 1. drop_inactive, drop_unread: exact, by verdict or without; everything later has less to do.
 2. constant_units, same_direction, opposite_rows: units that a bias, another unit, or another unit
    and a linear path can stand for; exact, or by rounding only.
 3. fold_stable, merge_dependent, product_rank, bypass, fold_linear: what to do with units that pass
    z on. Of these five the cheapest result counts, layer by layer.
 4. negligible_units, substitute_units, unused_inputs: what is below the allowance.
Each goes from the last layer to the first: what a layer has to pass on shrinks with its readers.
When a round changes nothing, bounds are computed once more for the merged network; where that
settles a unit, rounds go on. 1 and 2 may use up a small part of the allowance each time, and
FIRST_POOL of it in all; 3 and 4 share the rest by a plan (rewrite/spend.py). When time is up, the
steps taken so far are the result; what is exact and needs no search (drop_inactive, drop_unread) is
done in any case.

Invariants: after each step `Subject.lower/upper` hold for the rewritten network
(rewrite/subject.py), so a verdict is never used for a network that it was not proved for; the
deviations of the steps sum to no more than the allowance, component by component; each step makes
the network cheaper by rewrite/cost.py, so the rounds end and the result is never larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.errors import InputError
from leo_cli.network import Network
from leo_cli.rewrite.bounds_after import refreshed
from leo_cli.rewrite.constant_units import constant_units
from leo_cli.rewrite.cost import MEASURES, Cost
from leo_cli.rewrite.drop_inactive import drop_inactive
from leo_cli.rewrite.drop_unread import drop_unread
from leo_cli.rewrite.fold import bypass, fold_linear, fold_stable
from leo_cli.rewrite.merge_dependent import merge_dependent
from leo_cli.rewrite.negligible_units import negligible_units
from leo_cli.rewrite.opposite_rows import opposite_rows
from leo_cli.rewrite.product_rank import product_rank
from leo_cli.rewrite.same_direction import same_direction
from leo_cli.rewrite.spend import Offer, Spender, best_of, offers, plan, position
from leo_cli.rewrite.subject import (
    LayerRewrite,
    OutOfTime,
    Refusal,
    Rewrite,
    Subject,
    subject_of,
)
from leo_cli.rewrite.substitute_units import substitute_units
from leo_cli.rewrite.tolerance import Tolerance, allowance
from leo_cli.rewrite.unused_inputs import unused_inputs
from leo_cli.stability.budget import Budget
from leo_cli.stability.verdict import StabilityMap

FIRST: dict[str, LayerRewrite] = {
    "drop_inactive": drop_inactive,
    "drop_unread": drop_unread,
    "constant_units": constant_units,
    "same_direction": same_direction,
    "opposite_rows": opposite_rows,
}
# of a group, the cheapest result counts
GROUPS: tuple[dict[str, LayerRewrite], ...] = (
    {
        "fold_stable": fold_stable,
        "merge_dependent": merge_dependent,
        "product_rank": product_rank,
        "bypass": bypass,
        "fold_linear": fold_linear,
    },
    {"negligible_units": negligible_units},
    {"substitute_units": substitute_units},
    {"unused_inputs": unused_inputs},
)
REWRITES = (*FIRST, *(name for group in GROUPS for name in group))
FIRST_SHARE = 1 / 64  # of what is left of the allowance, for each step of FIRST
FIRST_POOL = 1 / 8  # of the whole allowance, for all steps of FIRST
DROPS = ("drop_inactive", "drop_unread")  # after which bounds are what they were
LEO = ("drop_inactive", "fold_stable", "merge_dependent")  # the published algorithm


@dataclass(frozen=True)
class RewriteOptions:
    """tolerance: what a run may move the outputs. minimize: see rewrite/cost.py. rewrites: the
    names of those that may be applied (None: all). skip_layers: names of layers that stay as they
    are; bit-exact mode backs off with it and with `rewrites`. seed: of the search for large outputs
    that a relative tolerance needs."""

    tolerance: Tolerance = field(default_factory=Tolerance)
    minimize: str = "connections"
    rewrites: tuple[str, ...] | None = None
    skip_layers: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Shrunk:
    """The smaller network, the steps that led to it, and for each component of the concatenated
    outputs the proved deviation of the whole run and what was allowed. refusals: of the last
    round."""

    network: Network
    steps: tuple[Rewrite, ...]
    deviation: Floats
    allowance: Floats
    refusals: tuple[Refusal, ...] = ()


def shrink(
    network: Network,
    stability: StabilityMap,
    domain: Domain,
    options: RewriteOptions,
    budget: Budget | None = None,
) -> Shrunk:
    """Apply the rewrites that `options` allow, until nothing changes or the budget is used up.

    Raises InputError for unknown names.
    """
    first, groups = _chosen(options)
    steps: list[Rewrite] = []
    refusals: list[Refusal] = []
    # numbers beyond the range make a certificate infinite or NaN: it is refused, not warned of
    with np.errstate(over="ignore", invalid="ignore"):
        allowed = allowance(options.tolerance, network, domain, stability.witnesses, options.seed)
        subject = subject_of(network, stability, domain, allowed, Cost(options.minimize))
        subject = replace(subject, budget=budget or Budget())
        with suppress(OutOfTime):
            _run(subject, first, groups, options.skip_layers, steps, refusals)
    smaller = steps[-1].network if steps else network
    return Shrunk(smaller, tuple(steps), _total(steps, allowed), allowed, tuple(refusals))


def _run(
    subject: Subject,
    first: Sequence[tuple[str, LayerRewrite]],
    groups: Sequence[tuple[str, tuple[LayerRewrite, ...]]],
    skip: Sequence[str],
    steps: list[Rewrite],
    refusals: list[Refusal],
) -> None:
    """Rounds until one changes nothing. `steps` grows by what is taken, `refusals` are those of the
    last round. Raises OutOfTime, `steps` being valid then."""
    allowed, merged = subject.allowance, False
    while True:
        refusals.clear()
        before = len(steps)
        subject = _round(subject, first, groups, skip, allowed, steps, refusals)
        merged = merged or any(step.rewrite not in DROPS for step in steps[before:])
        if len(steps) > before:
            continue
        if subject.budget.expired():
            raise OutOfTime
        better = refreshed(subject) if merged else subject
        if better is subject:
            break
        subject, merged = better, False


def _chosen(
    options: RewriteOptions,
) -> tuple[list[tuple[str, LayerRewrite]], list[tuple[str, tuple[LayerRewrite, ...]]]]:
    """The rewrites of steps 1 and 2, and the groups of 3 and 4, that the options allow."""
    if options.minimize not in MEASURES:
        raise InputError(f'cannot minimize "{options.minimize}"; known are {", ".join(MEASURES)}')
    names = REWRITES if options.rewrites is None else options.rewrites
    for name in names:
        if name not in REWRITES:
            raise InputError(f'unknown rewrite "{name}"; known are {", ".join(REWRITES)}')
    groups = []
    for group in GROUPS:
        wanted = {name: rewrite for name, rewrite in group.items() if name in names}
        if wanted:
            groups.append((next(iter(wanted)), tuple(wanted.values())))
    return [(name, rewrite) for name, rewrite in FIRST.items() if name in names], groups


def _round(
    subject: Subject,
    first: Sequence[tuple[str, LayerRewrite]],
    groups: Sequence[tuple[str, tuple[LayerRewrite, ...]]],
    skip: Sequence[str],
    allowed: Floats,
    steps: list[Rewrite],
    refusals: list[Refusal],
) -> Subject:
    """The subject after one round; `steps` and `refusals` grow. Raises OutOfTime."""
    for title, rewrite in first:
        for name in _layers(subject, skip):
            if title not in DROPS and subject.budget.expired():
                raise OutOfTime
            share = np.minimum(subject.allowance * FIRST_SHARE, _pool(steps, allowed))
            limited = replace(subject, allowance=share)
            subject = _take(subject, limited, (rewrite,), name, steps, refusals)
    spenders: list[Spender] = []
    menus: list[list[Offer]] = []
    preview, planned = subject, list[Rewrite]()
    try:
        for label, rewrites in groups:
            # what a group can save is seen after the groups before it, had they all there is
            for name in _layers(preview, skip):
                spender = Spender(label, rewrites, name)
                menu, refused = offers(replace(preview, allowance=subject.allowance), spender)
                if menu:
                    spenders.append(spender)
                    menus.append(menu)
                refusals += refused
            planned = []
            shares = plan(menus, subject.allowance)
            preview = _spend(subject, spenders, shares, planned, refusals)
    finally:
        steps += planned
    return preview


def _pool(steps: Sequence[Rewrite], allowed: Floats) -> Floats:
    """What is left of the share of the allowance that belongs to the steps of FIRST."""
    used = _total([step for step in steps if step.rewrite in FIRST], allowed)
    return np.asarray(np.maximum(allowed * FIRST_POOL - used, 0.0))


def _spend(
    subject: Subject,
    spenders: Sequence[Spender],
    shares: Sequence[Floats | None],
    taken: list[Rewrite],
    refusals: list[Refusal],
) -> Subject:
    """Let each candidate cause the deviation planned for it, or more where nobody was promised
    it."""
    for i, (spender, share) in enumerate(zip(spenders, shares, strict=True)):
        if share is None:
            continue
        promised = sum((s for s in shares[i + 1 :] if s is not None), np.zeros(len(share)))
        # rounded down; what is promised to the step itself is never taken from it by rounding
        free = np.maximum((subject.allowance - promised) * (1 - 2.0**-40), 0.0)
        own = np.minimum(np.maximum(free, np.minimum(share, subject.allowance)), subject.allowance)
        limited = replace(subject, allowance=own)
        subject = _take(subject, limited, spender.rewrites, spender.layer, taken, refusals)
    return subject


def _layers(subject: Subject, skip: Sequence[str]) -> list[str]:
    """Names of the layers that may change, the last first."""
    return [layer.name for layer in reversed(subject.network.layers) if layer.name not in skip]


def _take(
    subject: Subject,
    limited: Subject,
    rewrites: tuple[LayerRewrite, ...],
    name: str,
    taken: list[Rewrite],
    refusals: list[Refusal],
) -> Subject:
    """The subject after the best of the rewrites on the layer of this name; itself if all refuse.

    limited: the same subject, with the allowance that the step may use up.
    """
    k = position(subject, name)
    if k is None:
        return subject
    answers = best_of(limited, rewrites, k)
    refusals += [answer for answer in answers if isinstance(answer, Refusal)]
    if not answers or isinstance(answers[0], Refusal):
        return subject
    taken.append(answers[0])
    return answers[0].after(subject)


def _total(steps: Sequence[Rewrite], like: Floats) -> Floats:
    """Sum of the deviations, rounded up."""
    total = np.zeros(len(like))
    for step in steps:
        total = np.where(step.deviation > 0, np.nextafter(total + step.deviation, np.inf), total)
    return total
