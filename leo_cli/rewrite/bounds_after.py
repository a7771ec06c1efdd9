"""Proved bounds of the rewritten network, from those of the network before the step.

Rows that stay keep their bounds, widened by what the step moves them (rewrite/deviation.py); rows
that are new are bounded by interval arithmetic and, where that does not settle the sign, by
backward linear bounds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.bounds.interval import layer_interval
from leo_cli.bounds.linear import backward, relaxed
from leo_cli.network import Layer, Network
from leo_cli.rewrite.deviation import Effect
from leo_cli.rewrite.subject import Subject
from leo_cli.rewrite.surgery import Bounds, take_rows


def widened(subject: Subject, moved: Effect) -> tuple[Bounds, Bounds]:
    """Bounds that hold before and after, hence for the network after."""
    lower = tuple(
        np.where(step < 0, np.nextafter(low + step, -np.inf), low)
        for low, step in zip(subject.lower, moved.low, strict=True)
    )
    upper = tuple(
        np.where(step > 0, np.nextafter(high + step, np.inf), high)
        for high, step in zip(subject.upper, moved.high, strict=True)
    )
    return lower, upper


def layer_bounds(subject: Subject, layer: Layer, rows: Ints | None = None) -> tuple[Floats, Floats]:
    """(lower, upper) of some rows of a layer over nodes of the subject's network: interval, then
    linear."""
    layer = layer if rows is None else take_rows(layer, rows)
    nodes = 1 + max((t.source for t in layer.terms), default=0)
    low, high = layer_interval(layer, subject.domain, subject.boxes(nodes))
    if nodes == 1 or layer.width == 0:
        return low, high  # interval bounds over the input are tight
    probe = Network(
        subject.network.inputs,
        (*subject.network.layers[: nodes - 1], layer),
        (nodes,),
        subject.network.dtype,
    )
    unknown = np.full(layer.width, np.inf)
    problem = relaxed(
        probe,
        subject.domain,
        (*subject.lower[: nodes - 1], -unknown),
        (*subject.upper[: nodes - 1], unknown),
        nodes - 1,
    )
    identity = np.eye(layer.width)
    low = np.maximum(low, backward(problem, identity).bound)
    high = np.minimum(high, -backward(problem, -identity).bound)
    return low, high


def refreshed(subject: Subject) -> Subject:
    """The same network with its bounds computed again and intersected with what was known.

    After merges a network can be bounded better than the one it came from. The subject itself where
    no unit is settled by that.
    """
    lower, upper = list(subject.lower), list(subject.upper)
    settled = False
    for k, layer in enumerate(subject.network.layers):
        current = replace(subject, lower=tuple(lower), upper=tuple(upper))
        low, high = layer_bounds(current, layer)
        low, high = np.maximum(low, lower[k]), np.minimum(high, upper[k])
        if layer.relu:
            open_before = (lower[k] < 0) & (upper[k] > 0)
            settled = settled or bool(np.any(open_before & ((low >= 0) | (high <= 0))))
        lower[k], upper[k] = low, high
    if not settled:
        return subject
    return replace(subject, lower=tuple(lower), upper=tuple(upper), memo={})
