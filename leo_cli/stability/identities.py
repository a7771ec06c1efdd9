"""The decider for networks that compute things twice: bounds on an equal network that does not.

Where some unstable units compute the same function, its opposite or a multiple (minima and maxima
built of ReLUs, layers copied by hand), linear bounds treat them as independent. Here the units in
question are written as exact sums over units that differ (canonical.py), and bounded, or branched
on, as units of the network of these sums: terms that cancel are gone, and what is 0 is 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeVar

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.bounds.exact import is_exact
from leo_cli.bounds.linear import relaxed
from leo_cli.stability.bounding import Intervals, LinearBounds
from leo_cli.stability.branch import Branching
from leo_cli.stability.budget import Budget
from leo_cli.stability.canonical import (
    CONSTANT,
    Canonical,
    Sum,
    TooLarge,
    alike,
    as_network,
    canonical,
)
from leo_cli.stability.evidence import IdentityEvidence
from leo_cli.stability.exact_ties import ExactTies
from leo_cli.stability.knowledge import Bound, Findings, Knowledge
from leo_cli.stability.replay import evaluate

Array = TypeVar("Array", Floats, Ints)
POINTS = 24  # at which units are compared
MOST_NUMBERS = 300_000  # multiplications of fractions: about a second
SHARE = 0.3  # of the time left that branching on the sums may take


@dataclass(frozen=True)
class Identities:
    """Settles open units of a layer by what they are as sums of different functions."""

    seed: int = 0
    name: str = "identities"

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterator[Findings]:
        for k in layers:
            wanted = np.flatnonzero(knowledge.open(k))
            if len(wanted) == 0 or budget.expired() or not self._promising(knowledge, k):
                continue
            form = _form(knowledge, k, wanted)
            if form is not None and form.merged:
                yield _constants(k, wanted, form)
                yield from _bounded(knowledge, k, wanted, form, budget)

    def _promising(self, knowledge: Knowledge, k: int) -> bool:
        """Whether two unstable units up to layer k look alike at some points."""
        points = knowledge.domain.sample(POINTS, np.random.default_rng(self.seed))
        values, _ = evaluate(knowledge.network, points, k + 1)
        kept = [
            values[i][:, (knowledge.lower[i] < 0) & (knowledge.upper[i] > 0)]
            for i in knowledge.network.relu_layers
            if i <= k
        ]
        return alike(np.concatenate(kept, axis=1))


def _form(knowledge: Knowledge, k: int, wanted: Ints) -> Canonical | None:
    known = knowledge
    if not is_exact(relaxed(known.network, known.domain, known.lower, known.upper, k)):
        return None
    inactive = [upper <= 0 for upper in known.upper]
    active = [lower >= 0 for lower in known.lower]
    try:
        return canonical(known.network, inactive, active, k, wanted.tolist(), MOST_NUMBERS)
    except TooLarge:
        return None


def _constants(k: int, wanted: Ints, form: Canonical) -> Findings:
    """Bounds of units that are constant."""
    found = []
    for unit, sum_ in zip(wanted.tolist(), form.sums, strict=True):
        if _is_constant(sum_):
            value = sum_.get(CONSTANT, Fraction(0))
            found += [
                Bound(k, unit, above, _outward(value, above), IdentityEvidence())
                for above in (False, True)
            ]
    return Findings(tuple(found))


def _is_constant(sum_: Sum) -> bool:
    return not sum_.keys() - {CONSTANT}


def _outward(value: Fraction, above: bool) -> float:
    nearest = float(value)
    if Fraction(nearest) == value or (Fraction(nearest) > value) == above:
        return nearest
    return float(np.nextafter(nearest, np.inf if above else -np.inf))


def _bounded(
    knowledge: Knowledge, k: int, wanted: Ints, form: Canonical, budget: Budget
) -> Iterator[Findings]:
    """Bounds of the other units, as units of the network of the sums."""
    rows = [i for i, sum_ in enumerate(form.sums) if not _is_constant(sum_)]
    known = _knowledge(knowledge, k, wanted, form, rows) if rows else None
    if known is None:
        return
    last, units = len(known.network.layers) - 1, wanted[rows]
    part = budget.at_most(SHARE * budget.remaining())
    for layer in range(last + 1):
        for decider in (Intervals(), LinearBounds()):
            for findings in decider.decide(known, (layer,), part):
                known = known.learn(replace(findings, points=None), None, decider.name)
                yield _translated(findings, last, k, units)
    for final in (ExactTies(), Branching()):
        for findings in final.decide(known, (last,), part):
            known = known.learn(replace(findings, points=None), None, final.name)
            yield _translated(findings, last, k, units)


def _translated(findings: Findings, last: int, k: int, units: Ints) -> Findings:
    """What was found of the sums, as bounds of the units that they are."""
    bounds = tuple(
        Bound(k, int(units[b.unit]), b.above, b.value, IdentityEvidence())
        for b in findings.bounds
        if b.layer == last
    )
    return Findings(bounds, points=findings.points)


def _knowledge(
    knowledge: Knowledge, k: int, wanted: Ints, form: Canonical, rows: list[int]
) -> Knowledge | None:
    """What is known of the units, as knowledge of the network of the sums."""
    try:
        network = as_network(knowledge.network.inputs, form, rows, knowledge.network.dtype)
    except TooLarge:
        return None
    origin = [(atom.layer, atom.unit) for atom in form.atoms] + [(k, int(j)) for j in wanted[rows]]
    ends = np.cumsum([layer.width for layer in network.layers])[:-1]

    def split(values: Sequence[Array]) -> tuple[Array, ...]:
        return tuple(np.split(np.array([values[layer][unit] for layer, unit in origin]), ends))

    return replace(
        Knowledge.start(network, knowledge.domain),
        lower=split(knowledge.lower),
        upper=split(knowledge.upper),
        negative=split(knowledge.negative),
        positive=split(knowledge.positive),
        witnesses=knowledge.witnesses,
    )
