"""What must hold of every classification, decided in rational arithmetic and by this code alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from leo_cli.domain import Domain
from leo_cli.network import Network
from leo_cli.stability.verdict import LayerStability, StabilityMap, State, Verdict
from support.exact import ExactNetwork, exact, rational
from support.oracle import Exact, rounded_outward


def inside(domain: Domain, point: Sequence[Fraction]) -> bool:
    """Whether a point is in the domain, exactly."""
    for i, x in enumerate(point):
        if not domain.lower[i] <= x <= domain.upper[i]:
            return False
        if domain.integer[i] and x.denominator != 1:
            return False
    for group in domain.one_hot:
        members = list(zip(group.members, group.cold, group.hot, strict=True))
        if not any(
            all(point[i] == (hot if i == chosen else cold) for i, cold, hot in members)
            for chosen, _, _ in members
        ):
            return False
    for constraint in domain.constraints:
        value = sum(
            Fraction(c) * x for c, x in zip(constraint.coefficients.tolist(), point, strict=True)
        )
        if value > constraint.rhs or (constraint.op == "==" and value != constraint.rhs):
            return False
    return True


def _shown(value: Fraction) -> str:
    """The value as a float would print, or its power of two beyond float64."""
    try:
        return repr(float(value))
    except OverflowError:
        return f"{'-' if value < 0 else ''}2**{int(abs(value)).bit_length() - 1}"


def check_bounds(lower: Sequence[float], upper: Sequence[float], truth: Exact, layer: int) -> None:
    """Bounds of a layer contain the exact ranges (a NaN contains nothing)."""
    for j, (low, high) in enumerate(zip(lower, upper, strict=True)):
        least, most = truth.range(layer, j)
        where = f"layer {layer}, unit {j}"
        assert low <= least, (
            f"{where}: lower bound {float(low)!r} above the minimum {_shown(least)}"
        )
        assert most <= high, (
            f"{where}: upper bound {float(high)!r} below the maximum {_shown(most)}"
        )


def check_stability(
    network: Network,
    domain: Domain,
    found: StabilityMap,
    truth: Exact,
    real: ExactNetwork | None = None,
    trusting: bool = False,
) -> Counter[str]:
    """Every state, bound, margin and witness is right; returns how many units are in each state.

    real: the network that `truth` is about, where it is not the stored one. Undecided is always
    right.
    """
    net = exact(network) if real is None else real
    points = rational(found.witnesses)
    for point in points:
        assert inside(domain, point), f"witness {[float(x) for x in point]} outside the domain"
    signs = [net.pre_activations(point) for point in points]
    count: Counter[str] = Counter()
    assert len(found.layers) == len(network.layers)
    for k, (layer, stability) in enumerate(zip(network.layers, found.layers, strict=True)):
        assert len(stability.verdicts) == (layer.width if layer.relu else 0)
        if not any(verdict.trusted for verdict in stability.verdicts):
            check_bounds(stability.lower.tolist(), stability.upper.tolist(), truth, k)
        for j, verdict in enumerate(stability.verdicts):
            where = f"layer {k}, unit {j}, by {verdict.by!r}"
            state, (least, most) = truth.state(k, j), truth.range(k, j)
            count[verdict.state.value] += 1
            assert trusting or not verdict.trusted, f"{where}: trusts a solver"
            if verdict.trusted:
                continue
            if verdict.state is not State.UNDECIDED:
                assert verdict.state.value == state, f"{where}: {verdict.state.value}, is {state}"
                assert verdict.by, f"{where}: settled by nobody"
            if verdict.state in (State.INACTIVE, State.ACTIVE):
                assert verdict.evidence is not None, f"{where}: stable without evidence"
                assert verdict.lower <= least <= most <= verdict.upper, where
                distance = -most if verdict.state is State.INACTIVE else least
                assert 0 <= verdict.margin <= distance, f"{where}: margin {verdict.margin!r}"
            negative, positive = verdict.witnesses
            if verdict.state is State.UNSTABLE:
                assert min(negative, positive) >= 0, f"{where}: unstable without witnesses"
            if negative >= 0:
                assert signs[negative][k][j] < 0, f"{where}: wrong witness of z < 0"
            if positive >= 0:
                assert signs[positive][k][j] > 0, f"{where}: wrong witness of z > 0"
    return count


def undecided_units(found: StabilityMap) -> list[tuple[int, int]]:
    """(layer, unit) of the units left open."""
    return [
        (k, j)
        for k, stability in enumerate(found.layers)
        for j, verdict in enumerate(stability.verdicts)
        if verdict.state is State.UNDECIDED
    ]


def nearly_touches_zero(truth: Exact, layer: int, unit: int) -> bool:
    """Whether an end of the exact range is 0, or tiny against 1 and against the other end: rounded
    bounds, or witnesses of the inputs' type, cannot be expected to settle such a tie."""
    ends = sorted(abs(end) for end in truth.range(layer, unit))
    return ends[0] * 2**24 <= max(ends[1], Fraction(1))


def perfect_stability(network: Network, truth: Exact) -> StabilityMap:
    """What a classification would say that knows everything, ties included."""
    layers = []
    for k, layer in enumerate(network.layers):
        lower, upper = rounded_outward(truth, k)
        verdicts = [
            Verdict(State(truth.state(k, j)), "oracle", float(lower[j]), float(upper[j]))
            for j in range(layer.width if layer.relu else 0)
        ]
        layers.append(LayerStability(lower, upper, tuple(verdicts)))
    return StabilityMap(tuple(layers), np.zeros((0, network.inputs)))
