"""From knowledge to verdicts: the only place that decides which state a unit is in."""

from __future__ import annotations

from collections.abc import Mapping

from leo_cli.stability.knowledge import Knowledge
from leo_cli.stability.verdict import LayerStability, StabilityMap, State, Verdict


def conclude(
    knowledge: Knowledge,
    seconds: Mapping[tuple[int, int], float],
    cost: Mapping[str, float],
    milps: int,
    notes: tuple[str, ...],
) -> StabilityMap:
    """The verdicts that the evidence supports; all else is undecided. seconds: by (layer, unit)."""
    layers = []
    for k, layer in enumerate(knowledge.network.layers):
        verdicts: tuple[Verdict, ...] = ()
        if layer.relu:
            verdicts = tuple(
                _verdict(knowledge, k, j, seconds.get((k, j), 0.0)) for j in range(layer.width)
            )
        layers.append(LayerStability(knowledge.lower[k], knowledge.upper[k], verdicts))
    return StabilityMap(tuple(layers), knowledge.witnesses, milps, notes, dict(cost))


def _verdict(knowledge: Knowledge, k: int, j: int, seconds: float) -> Verdict:
    lower, upper = float(knowledge.lower[k][j]), float(knowledge.upper[k][j])
    negative, positive = int(knowledge.negative[k][j]), int(knowledge.positive[k][j])
    below, above = (k, j, False), (k, j, True)
    state, key = State.UNDECIDED, None
    if upper <= 0:
        state, key = State.INACTIVE, above
    elif positive >= 0 and lower >= 0:
        state, key = State.ACTIVE, below
    elif positive >= 0 and negative >= 0:
        # the later rung of the two that found a witness did the work
        first, second = knowledge.seen_by[above], knowledge.seen_by[below]
        by = second if first == "samples" else first
        return Verdict(State.UNSTABLE, by, lower, upper, (negative, positive), seconds=seconds)
    claims = [
        f"solver claims {'inactive' if question[2] else 'active'}"
        for question in (above, below)
        if question in knowledge.claims and question not in knowledge.trusted
    ]
    return Verdict(
        state,
        knowledge.settled_by.get(key, "") if key else "",
        lower,
        upper,
        (negative, positive),
        claim=claims[0] if claims and state is State.UNDECIDED else "",
        trusted=key in knowledge.trusted or key in knowledge.resting,
        seconds=seconds,
        evidence=knowledge.evidence.get(key) if key else None,
    )
