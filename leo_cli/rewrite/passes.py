"""The order of the rewrites, repeated until nothing changes, and the run's account of deviation.

Order, and why:
 1. drop_inactive, drop_unread, constant_units   by verdict and exact (or nearly); everything later has less to do
Invariants of a run: after each step `Subject.lower/upper` hold for the rewritten network; the deviations of the
steps taken never sum to more than the allowance, component by component; each step makes the network
cheaper by rewrite/cost.py, so the loop ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.errors import InputError
from leo_cli.network import Network
from leo_cli.rewrite.constant_units import constant_units
from leo_cli.rewrite.cost import Cost
from leo_cli.rewrite.drop_inactive import drop_inactive
from leo_cli.rewrite.drop_unread import drop_unread
from leo_cli.rewrite.product_rank import product_rank
from leo_cli.rewrite.subject import LayerRewrite, Refusal, Rewrite, Subject, subject_of
from leo_cli.rewrite.tolerance import Tolerance, allowance
from leo_cli.stability.verdict import StabilityMap

ORDER: tuple[tuple[str, LayerRewrite], ...] = (
    ("drop_inactive", drop_inactive),
    ("drop_unread", drop_unread),
    ("constant_units", constant_units),
    ("product_rank", product_rank),
)
REWRITES = tuple(name for name, _ in ORDER)


@dataclass(frozen=True)
class RewriteOptions:
    """tolerance: what a run may move the outputs. minimize: see rewrite/cost.py. rewrites: the names of those that may
    be applied (None: all). skip_layers: names of layers that stay as they are (bit-exact mode backs off with it).
    seed: of the search for large outputs that a relative tolerance needs."""

    tolerance: Tolerance = field(default_factory=Tolerance)
    minimize: str = "connections"
    rewrites: tuple[str, ...] | None = None
    skip_layers: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Shrunk:
    """The smaller network, the steps that led to it, and for each component of the concatenated outputs
    the proved deviation of the whole run and what was allowed. refusals: of the last round."""

    network: Network
    steps: tuple[Rewrite, ...]
    deviation: Floats
    allowance: Floats
    refusals: tuple[Refusal, ...] = ()


def shrink(
    network: Network, stability: StabilityMap, domain: Domain, options: RewriteOptions
) -> Shrunk:
    """Apply the rewrites that `options` allow. Raises InputError for an unknown rewrite."""
    chosen = _chosen(options.rewrites)
    allowed = allowance(options.tolerance, network, domain, stability.witnesses, options.seed)
    subject = subject_of(network, stability, domain, allowed, Cost(options.minimize))
    steps: list[Rewrite] = []
    refusals: list[Refusal] = []
    changed = True
    while changed:
        changed, refusals = False, []
        for _, rewrite in chosen:
            subject, taken, refused = _sweep(subject, rewrite, options.skip_layers)
            steps += taken
            refusals += refused
            changed = changed or bool(taken)
    return Shrunk(subject.network, tuple(steps), _total(steps, allowed), allowed, tuple(refusals))


def _chosen(names: Sequence[str] | None) -> tuple[tuple[str, LayerRewrite], ...]:
    if names is None:
        return ORDER
    unknown = [name for name in names if name not in REWRITES]
    if unknown:
        raise InputError(f'unknown rewrite "{unknown[0]}"; known are {", ".join(REWRITES)}')
    return tuple((name, rewrite) for name, rewrite in ORDER if name in names)


def _sweep(
    subject: Subject, rewrite: LayerRewrite, skip: Sequence[str]
) -> tuple[Subject, list[Rewrite], list[Refusal]]:
    """Try one rewrite on every layer, the last first: what a layer passes on shrinks with its readers."""
    taken: list[Rewrite] = []
    refused: list[Refusal] = []
    for name in [layer.name for layer in reversed(subject.network.layers)]:
        position = {layer.name: k for k, layer in enumerate(subject.network.layers)}
        if name in skip or name not in position:
            continue
        answer = rewrite(subject, position[name])
        if isinstance(answer, Refusal):
            refused.append(answer)
        elif not subject.cost.cheaper(answer.network, subject.network):
            refused.append(
                Refusal(answer.rewrite, answer.layer, "it would not make the network cheaper")
            )
        elif np.any(answer.deviation > subject.allowance):
            refused.append(
                Refusal(answer.rewrite, answer.layer, "it exceeds the allowed deviation")
            )
        else:
            subject = answer.after(subject)
            taken.append(answer)
    return subject, taken, refused


def _total(steps: Sequence[Rewrite], like: Floats) -> Floats:
    """Sum of the deviations, rounded up."""
    total = np.zeros(len(like))
    for step in steps:
        total = np.where(step.deviation > 0, np.nextafter(total + step.deviation, np.inf), total)
    return total
