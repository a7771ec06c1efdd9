"""Replay points: which signs of pre-activations they show beyond doubt.

A float64 evaluation of z_k is within
    e_k = relative_k (sum |W||h| + |b|) + sum |W| e_source
of the real value (Higham, section 3.1; ReLU is 1-Lipschitz and passes the error on). A sign counts
only if |z| > e.
"""

from __future__ import annotations

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.bounds.magnitudes import layer_magnitudes
from leo_cli.network import Network
from leo_cli.stability.knowledge import Knowledge, Replayed

CHUNK = 4096  # points evaluated together


def evaluate(network: Network, points: Floats, layers: int) -> tuple[list[Floats], list[Floats]]:
    """Pre-activations of the first `layers` layers at points (m, inputs), and bounds of their
    errors, (m, width) each.
    """
    values, errors = [points], [np.zeros_like(points)]
    zs: list[Floats] = []
    zerrors: list[Floats] = []
    for layer in network.layers[:layers]:
        z = layer.pre_activation(values)
        sizes = np.broadcast_to(np.abs(layer.bias), z.shape).copy()
        passed = np.zeros_like(z)
        for term in layer.terms:
            magnitude = term.map.magnitude()
            sizes += magnitude.apply(np.abs(values[term.source]))
            if term.source > 0 and errors[term.source].any():
                passed += magnitude.apply(errors[term.source])
        extra = layer_magnitudes(layer, [np.ones(t.map.in_features) for t in layer.terms])
        reach = float(
            max((np.abs(values[t.source]).max(initial=1.0) for t in layer.terms), default=1.0)
        )
        # doubled: the float sums of the bound itself, see rounding.gamma
        bound = 2.0 * (extra.relative * sizes + passed * (1 + extra.relative) + extra.absolute)
        bound = bound + extra.underflow * max(reach, 1.0)
        zs.append(z)
        zerrors.append(bound)
        values.append(layer.activate(z))
        errors.append(bound)
    return zs, zerrors


def replay(knowledge: Knowledge, points: Floats) -> Replayed:
    """The rows of `points` (in the domain; others must be filtered out before) that show signs not
    yet known.

    Only layers with unknown signs are looked at; for each unit the point with the largest |z| is
    chosen.
    """
    network = knowledge.network
    negative = [np.full(layer.width, -1) for layer in network.layers]
    positive = [np.full(layer.width, -1) for layer in network.layers]
    wanted = [k for k in network.relu_layers if _unknown(knowledge, k)]
    if len(points) and wanted:
        for start in range(0, len(points), CHUNK):
            block = points[start : start + CHUNK]
            candidates = _candidates(knowledge, block, wanted)
            if len(candidates) == 0:
                continue
            z, error = evaluate(network, block[candidates], wanted[-1] + 1)
            for k in wanted:
                _pick(positive[k], z[k] - error[k], start + candidates)
                _pick(negative[k], -z[k] - error[k], start + candidates)
    return Replayed(points, tuple(negative), tuple(positive))


def _unknown(knowledge: Knowledge, k: int) -> bool:
    return bool(((knowledge.positive[k] < 0) | (knowledge.negative[k] < 0)).any())


def _candidates(knowledge: Knowledge, block: Floats, wanted: list[int]) -> Ints:
    """Rows that may show something new: for each unknown sign the row with the largest |z| of that
    sign.
    """
    values = [block]
    rows: set[int] = set()
    for k, layer in enumerate(knowledge.network.layers[: wanted[-1] + 1]):
        z = layer.pre_activation(values)
        values.append(layer.activate(z))
        if k not in wanted:
            continue
        need_positive = np.flatnonzero(knowledge.positive[k] < 0)
        need_negative = np.flatnonzero(knowledge.negative[k] < 0)
        top, bottom = z[:, need_positive], z[:, need_negative]
        best, worst = top.argmax(axis=0), bottom.argmin(axis=0)
        rows.update(best[top[best, np.arange(len(best))] > 0].tolist())
        rows.update(worst[bottom[worst, np.arange(len(worst))] < 0].tolist())
    return np.array(sorted(rows), dtype=np.int64)


def _pick(chosen: Ints, certain: Floats, rows: Ints) -> None:
    """For units without a row: the row where `certain` is largest, if it is positive there."""
    if certain.shape[0] == 0 or certain.shape[1] == 0:
        return
    best = certain.argmax(axis=0)
    found = (certain[best, np.arange(certain.shape[1])] > 0) & (chosen < 0)
    chosen[found] = rows[best[found]]
