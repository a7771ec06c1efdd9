"""What a rewrite looks at, and what it gives back.

A rewrite is a function from a Subject to a Rewrite, or to a Refusal with its reason. Its contract,
for every x in D:

    | outputs of rewritten network at x - outputs of the subject's network at x |  <=  deviation

in real arithmetic, and `lower`, `upper` bound the pre-activations of the *rewritten* network.
Deviations of a run therefore add up: each step is certified for the network that it met, with
bounds that hold for that network. Verdicts are used only through these bounds: a unit is inactive
where upper <= 0, active where lower >= 0; an inexact rewrite widens the bounds of all layers behind
it by what it moves them (rewrite/deviation.py), so a verdict with less margin than that is
forgotten, not trusted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.bounds.interval import layer_interval, post_activation
from leo_cli.domain import Domain
from leo_cli.errors import Contradiction
from leo_cli.network import Layer, Network
from leo_cli.rewrite.cost import Cost
from leo_cli.stability.budget import Budget
from leo_cli.stability.verdict import StabilityMap, State

T = TypeVar("T")


class OutOfTime(Exception):  # noqa: N818 (says what happened)
    """The budget is used up: the step that is being worked out is given up, and the search ends."""


@dataclass(frozen=True)
class Subject:
    """A network with proved bounds, and what a rewrite of it may cost.

    lower, upper: for each layer, (width,) bounds of its pre-activation over the domain.
    allowance: for each output component, the deviation that is still allowed.
    memo: results that depend on the network alone, so that a search for the best use of an
        allowance does not compute them again for each fraction of it. Kept while the network is the
        same.
    budget: how long steps that take a search may go on.
    """

    network: Network
    domain: Domain
    lower: tuple[Floats, ...]
    upper: tuple[Floats, ...]
    allowance: Floats
    cost: Cost = field(default_factory=Cost)
    memo: dict[tuple[object, ...], Any] = field(default_factory=dict, repr=False, compare=False)
    budget: Budget = field(default_factory=Budget, repr=False, compare=False)

    def inactive(self, k: int) -> Bools:
        """(width,) units of layer k whose value is 0 on all of D."""
        return np.asarray(self.upper[k] <= 0) & self.network.layers[k].relu

    def active(self, k: int) -> Bools:
        """(width,) units of layer k that pass z on unchanged on all of D, and are not inactive."""
        if not self.network.layers[k].relu:
            return np.ones(self.network.layers[k].width, dtype=bool)
        return np.asarray((self.lower[k] >= 0) & (self.upper[k] > 0))

    def is_output(self, k: int) -> bool:
        """Whether the values of layer k are read outside, so that it keeps its units."""
        return k + 1 in self.network.outputs

    def box(self, node: int) -> tuple[Floats, Floats]:
        """Bounds of the value of a node over D, (width,) each."""
        if node == 0:
            return self.domain.lower, self.domain.upper
        k = node - 1
        return self.recalled(
            ("box", node),
            lambda: post_activation(self.network.layers[k], self.lower[k], self.upper[k]),
        )

    def boxes(self, nodes: int) -> list[tuple[Floats, Floats]]:
        """Bounds of the values of the first `nodes` nodes."""
        return [self.box(node) for node in range(nodes)]

    def magnitude(self, node: int) -> Floats:
        """(width,) the largest |h| of a node over D."""
        low, high = self.box(node)
        return self.recalled(("magnitude", node), lambda: np.maximum(np.abs(low), np.abs(high)))

    def allows(self, deviation: Floats) -> bool:
        """Whether a deviation is within the allowance (one that is not a number is not)."""
        return bool(np.all(deviation <= self.allowance))

    def obstacle(self, k: int, exact_readers: bool = True) -> str | None:
        """Why no rewrite can change what layer k hands on, if there is a reason.

        exact_readers: whether the coefficients of the readers have to be stored numbers. Others are
        computed by an operator of the model (a division, a BatchNormalization), which cannot take
        new ones.
        """
        layer, readers = self.network.layers[k], self.network.consumers(k + 1)
        if self.is_output(k):
            return "its values are read outside the network"
        if not readers:
            return "nobody reads the layer"
        if any(_reads_twice(part) for part in (layer, *(self.network.layers[c] for c in readers))):
            return "the layer or a reader reads one node twice"
        if exact_readers and any(self.is_computed(c) for c in readers):
            return "an operator, no stored numbers, gives a reader its coefficients"
        return None

    def is_computed(self, k: int) -> bool:
        """Whether the coefficients of layer k are results of an operator, known up to an error."""
        layer = self.network.layers[k]
        return layer.weight_error > 0 or bool(
            layer.bias_error is not None and layer.bias_error.any()
        )

    def once(self, key: tuple[object, ...], compute: Callable[[], T]) -> T:
        """`compute()`, or what it gave before for this network and this key.

        Raises OutOfTime: all that takes long goes through here.
        """
        if key not in self.memo and self.budget.expired():
            raise OutOfTime
        return self.recalled(key, compute)

    def recalled(self, key: tuple[object, ...], compute: Callable[[], T]) -> T:
        """The same for what takes no time worth a look at the clock, but is asked for often."""
        if key not in self.memo:
            self.memo[key] = compute()
        found: T = self.memo[key]
        return found

    def components(self) -> int:
        """Number of output components."""
        return sum(self.network.width(node) for node in self.network.outputs)


@dataclass(frozen=True)
class Rewrite:
    """A step that was taken. units: indices in layer `layer` of the network before the step.
    deviation: for each output component. network, lower, upper: after the step. neutral: whether
    all that goes is products with 0, and every number that stays is what it was."""

    rewrite: str
    layer: str
    units: tuple[int, ...]
    deviation: Floats
    network: Network
    note: str
    lower: tuple[Floats, ...] = ()
    upper: tuple[Floats, ...] = ()
    neutral: bool = False

    def after(self, subject: Subject) -> Subject:
        """The subject of the next step."""
        # the subtraction is rounded down so that what is left never exceeds what was given
        left = np.maximum(np.nextafter(subject.allowance - self.deviation, -np.inf), 0.0)
        left = np.where(self.deviation == 0, subject.allowance, left)
        return replace(
            subject,
            network=self.network,
            lower=self.lower,
            upper=self.upper,
            allowance=left,
            memo={},
        )


@dataclass(frozen=True)
class Refusal:
    """Why a rewrite was not applied to a layer."""

    rewrite: str
    layer: str
    reason: str


def _reads_twice(layer: Layer) -> bool:
    return len({term.source for term in layer.terms}) < len(layer.terms)


Answer: TypeAlias = Rewrite | Refusal
LayerRewrite: TypeAlias = Callable[[Subject, int], Answer]


def subject_of(
    network: Network,
    stability: StabilityMap,
    domain: Domain,
    allowance: Floats,
    cost: Cost,
) -> Subject:
    """Proved bounds of every layer: those of the verdicts, intersected with interval bounds.

    A state that rests on a trusted claim counts as a bound of 0, as the user asked. Raises
    Contradiction.
    """
    lower: list[Floats] = []
    upper: list[Floats] = []
    boxes = [(domain.lower, domain.upper)]
    for layer, known in zip(network.layers, stability.layers, strict=True):
        low, high = layer_interval(layer, domain, boxes)
        low, high = np.maximum(low, known.lower), np.minimum(high, known.upper)
        trusted = [v for v in known.verdicts if v.trusted]
        if trusted:
            states = np.array([v.state.value if v.trusted else "" for v in known.verdicts])
            high = np.where(states == State.INACTIVE.value, np.minimum(high, 0.0), high)
            low = np.where(states == State.ACTIVE.value, np.maximum(low, 0.0), low)
            low = np.where(states == State.INACTIVE.value, np.minimum(low, high), low)
            high = np.where(states == State.ACTIVE.value, np.maximum(low, high), high)
        if np.any(low > high):
            j = int(np.flatnonzero(low > high)[0])
            raise Contradiction(
                f"layer {layer.name}, unit {j}: the bounds [{low[j]!r}, {high[j]!r}] exclude each "
                "other; nothing was written; please report this model"
            )
        lower.append(low)
        upper.append(high)
        boxes.append(post_activation(layer, low, high))
    return Subject(network, domain, tuple(lower), tuple(upper), allowance, cost)


def no_deviation(subject: Subject) -> Floats:
    """Deviation of an exact rewrite."""
    return np.zeros(subject.components())


def indices(mask: Bools) -> Ints:
    """Positions of the True entries."""
    return np.flatnonzero(mask)
