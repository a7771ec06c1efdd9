"""What is known during classification, and the one way in which knowledge grows.

Deciders are functions from Knowledge to Findings; `Knowledge.learn` merges findings: bounds are
intersected, replayed witnesses are added, and a bound against a witness raises `Contradiction`
(design: soundness rule 4). Solver claims are kept apart: they are never bounds and never contradict
(rule 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.domain import Domain
from leo_cli.errors import Contradiction
from leo_cli.network import Network
from leo_cli.stability.budget import Budget
from leo_cli.stability.evidence import Evidence, SolverClaim

Key: TypeAlias = tuple[int, int, bool]  # (layer, unit, above)


class ClaimRefuted(Exception):  # noqa: N818 - it never reaches a user
    """Solver claims that were trusted are wrong; classification starts again without them."""

    def __init__(self, keys: frozenset[Key], layer: str, unit: int) -> None:
        super().__init__(f"layer {layer}, unit {unit}: the solver's claim was wrong; not trusted")
        self.keys = keys


@dataclass(frozen=True)
class Bound:
    """A proved bound, rounded outward: z <= value (above) or z >= value (not above) on all of D."""

    layer: int
    unit: int
    above: bool
    value: float
    evidence: Evidence


@dataclass(frozen=True)
class Claim:
    """A solver's word, a hint and no proof: "z <= 0 on D" (above) or "z >= 0 on D"."""

    layer: int
    unit: int
    above: bool
    solver: str


@dataclass(frozen=True)
class Replayed:
    """Witnesses whose signs are beyond doubt, for one layer: row of the point in `points`, or -1.

    negative, positive: tuple over layers of (width,) rows of `points`.
    """

    points: Floats
    negative: tuple[Ints, ...]
    positive: tuple[Ints, ...]


@dataclass(frozen=True)
class Findings:
    """What a decider brings back. points: (m, inputs) candidate witnesses; whoever merges the
    findings replays them. seconds: time by (layer, unit), for the report.
    """

    bounds: tuple[Bound, ...] = ()
    claims: tuple[Claim, ...] = ()
    points: Floats | None = None
    milps: int = 0
    seconds: Mapping[tuple[int, int], float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Decider(Protocol):
    """Tries to settle the open units of some layers; yields findings as they come, so that they can
    be kept.

    It changes nothing, and ends when the budget does."""

    @property
    def name(self) -> str: ...

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterable[Findings]: ...


@dataclass(frozen=True)
class Knowledge:
    """lower, upper: for each layer, (width,) proved bounds of its pre-activation (infinite where
    unknown). negative, positive: for each layer, (width,) row of `witnesses` with z < 0, z > 0 (-1:
    none). evidence: of the best bound, by (layer, unit, above). settled_by: by the same key, the
    decider whose bound it was; seen_by: the decider whose witness showed z > 0 (above) or z < 0.
    trusted: keys of claims that the user chose to take for bounds; resting: of bounds of later
    layers, found with these, so that they may rest on them; refuted: of claims that were found
    wrong, never to be trusted again.
    """

    network: Network
    domain: Domain
    lower: tuple[Floats, ...]
    upper: tuple[Floats, ...]
    negative: tuple[Ints, ...]
    positive: tuple[Ints, ...]
    witnesses: Floats
    evidence: Mapping[Key, Evidence] = field(default_factory=dict)
    settled_by: Mapping[Key, str] = field(default_factory=dict)
    seen_by: Mapping[Key, str] = field(default_factory=dict)
    claims: Mapping[Key, Claim] = field(default_factory=dict)
    trusted: frozenset[Key] = frozenset()
    resting: frozenset[Key] = frozenset()
    refuted: frozenset[Key] = frozenset()

    @staticmethod
    def start(network: Network, domain: Domain, refuted: frozenset[Key] = frozenset()) -> Knowledge:
        widths = [layer.width for layer in network.layers]
        return Knowledge(
            network,
            domain,
            lower=tuple(np.full(w, -np.inf) for w in widths),
            upper=tuple(np.full(w, np.inf) for w in widths),
            negative=tuple(np.full(w, -1) for w in widths),
            positive=tuple(np.full(w, -1) for w in widths),
            witnesses=np.zeros((0, network.inputs)),
            refuted=refuted,
        )

    def open_above(self, layer: int) -> Bools:
        """(width,) units of which "z <= 0 on D" is neither proved nor refuted."""
        return (self.upper[layer] > 0) & (self.positive[layer] < 0)

    def open_below(self, layer: int) -> Bools:
        """(width,) units, not proved inactive, of which "z >= 0 on D" is neither proved nor
        refuted.
        """
        return (self.lower[layer] < 0) & (self.negative[layer] < 0) & (self.upper[layer] > 0)

    def open(self, layer: int) -> Bools:
        return self.open_above(layer) | self.open_below(layer)

    def learn(self, findings: Findings, replayed: Replayed | None, by: str) -> Knowledge:
        """Everything known so far and everything found. Raises Contradiction."""
        lower = [bound.copy() for bound in self.lower]
        upper = [bound.copy() for bound in self.upper]
        evidence, settled = dict(self.evidence), dict(self.settled_by)
        resting, first = set(self.resting), min((key[0] for key in self.trusted), default=np.inf)
        for bound in findings.bounds:
            side = upper if bound.above else lower
            old = side[bound.layer][bound.unit]
            if bound.value < old if bound.above else bound.value > old:
                side[bound.layer][bound.unit] = bound.value
                key = (bound.layer, bound.unit, bound.above)
                evidence[key], settled[key] = bound.evidence, by
                if bound.layer > first:
                    resting.add(key)
        claims = {**self.claims, **{(c.layer, c.unit, c.above): c for c in findings.claims}}
        grown = replace(
            self,
            lower=tuple(lower),
            upper=tuple(upper),
            evidence=evidence,
            settled_by=settled,
            claims=claims,
            resting=frozenset(resting),
        )
        if replayed is not None:
            grown = grown._witnessed(replayed, by)
        grown._check()
        return grown

    def _witnessed(self, replayed: Replayed, by: str) -> Knowledge:
        """Add replayed witnesses; only points that answer something new are stored."""
        offset = len(self.witnesses)
        used: dict[int, int] = {}
        sides: list[tuple[Ints, ...]] = []
        seen = dict(self.seen_by)
        for above, known, new in (
            (False, self.negative, replayed.negative),
            (True, self.positive, replayed.positive),
        ):
            merged = []
            for k, (old, rows) in enumerate(zip(known, new, strict=True)):
                fresh = (old < 0) & (rows >= 0)
                out = old.copy()
                for j in np.flatnonzero(fresh):
                    out[j] = offset + used.setdefault(int(rows[j]), len(used))
                    seen[k, int(j), above] = by
                merged.append(out)
            sides.append(tuple(merged))
        points = replayed.points[list(used)] if used else np.zeros((0, self.network.inputs))
        return replace(
            self,
            negative=sides[0],
            positive=sides[1],
            witnesses=np.vstack([self.witnesses, points]),
            seen_by=seen,
        )

    def trust(self, layer: int) -> Knowledge:
        """Take the solver's claims on a layer for bounds, where no witness speaks against them
        (--trust-solver).
        """
        lower, upper = list(self.lower), list(self.upper)
        lower[layer], upper[layer] = lower[layer].copy(), upper[layer].copy()
        evidence, settled, trusted = dict(self.evidence), dict(self.settled_by), set(self.trusted)
        for key, claim in self.claims.items():
            k, unit, above = key
            witnesses = self.positive if above else self.negative
            side = upper[k] if above else lower[k]
            if (
                k != layer
                or key in self.refuted
                or witnesses[k][unit] >= 0
                or (side[unit] <= 0 if above else side[unit] >= 0)
            ):
                continue
            side[unit] = 0.0
            evidence[key], settled[key] = SolverClaim(claim.solver), "milp"
            trusted.add(key)
        return replace(
            self,
            lower=tuple(lower),
            upper=tuple(upper),
            evidence=evidence,
            settled_by=settled,
            trusted=frozenset(trusted),
        )

    def _check(self) -> None:
        for k, layer in enumerate(self.network.layers):
            wrong = (
                (self.lower[k] > self.upper[k])
                | ((self.positive[k] >= 0) & (self.upper[k] <= 0))
                | ((self.negative[k] >= 0) & (self.lower[k] >= 0))
            )
            if wrong.any():
                j = int(np.flatnonzero(wrong)[0])
                if self.trusted:
                    # a solver's claim may be behind any bound from here on: blame the unit's own,
                    # else all
                    own = frozenset(key for key in self.trusted if key[:2] == (k, j))
                    raise ClaimRefuted(own or self.trusted, layer.name, j)
                raise Contradiction(
                    f"layer {layer.name}, unit {j}: proved bounds [{self.lower[k][j]!r}, "
                    f"{self.upper[k][j]!r}] contradict each other or a replayed witness; "
                    "nothing was written; please report this model"
                )
