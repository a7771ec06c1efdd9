"""Say how each unit of the smaller model follows from the larger one's: what the checker needs
beside the two files.

A unit that a rewrite left in its place is matched with the unit that it was (`Layer.origin`); new
units, and those whose meaning changed (a shifted linear unit), are matched with none and must be
active. Units of the larger model that are gone though unstable are linked to a unit of the same or
the opposite direction. Nothing depends on which rewrite made the network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.network import Network
from leo_cli.proof.checker import Checker, Fails, Record
from leo_cli.proof.graph import Array, Net, Node

ALIKE = 1e-9  # 1 - cosine of rows that are worth a link
CLOSE = (
    1e-3  # difference from the matched unit, relative to its range, beyond which no match is tried
)


def prove_rewrite(
    checker: Checker, new: Net, network: Network, node_of: dict[int, int], names: Sequence[str]
) -> tuple[list[Record], Floats]:
    """Records that relate `new`, the file that `network` was written to, to the checker's model,
    and the proved deviation.

    node_of: layer -> node of the larger model. names: of the larger network's layers. Raises Fails
    where no relation is found.
    """
    checker.new = new
    records = []
    matches = [_first_guess(checker.old, new, k, network) for k in range(len(new.nodes))]
    _by_order(checker.old, new, network, node_of, names, matches)
    for record in _links(checker, matches):
        checker.apply(record)
        records.append(record)
    for node, (match, unit) in zip(new.nodes, matches, strict=True):
        record = _record(checker, node, match, unit)
        checker.apply(record)
        records.append(record)
    return records, checker.differences()


def _first_guess(old: Net, new: Net, at: int, network: Network) -> tuple[Ints, Ints]:
    """For each unit of a node, the node and unit of the larger model that it stems from, by the
    names of tensors; an operator that is read as several nodes gives them one name."""
    node = new.nodes[at]
    width = len(node.bias)
    match, unit = np.full(width, -1), np.zeros(width, np.int64)
    layer = next((x for x in network.layers if x.name == node.name and x.width == width), None)
    same = [k for k, n in enumerate(old.nodes) if n.name == node.name and n.relu == node.relu and k]
    earlier = sum(n.name == node.name and n.relu == node.relu for n in new.nodes[:at])
    if at == 0 or earlier >= len(same):
        return match, unit
    k = same[earlier]
    if len(old.nodes[k].bias) == width:
        match[:], unit[:] = k, np.arange(width)
    elif layer is not None and layer.relu == node.relu:
        good = (layer.origin >= 0) & (layer.origin < len(old.nodes[k].bias))
        match[good], unit[good] = k, layer.origin[good]
    return match, unit


def _by_order(
    old: Net,
    new: Net,
    network: Network,
    node_of: dict[int, int],
    names: Sequence[str],
    matches: list[tuple[Ints, Ints]],
) -> None:
    """ReLU layers whose tensors have other names than their layers: by their order."""
    relus = [k for k, node in enumerate(new.nodes) if node.relu]
    layers = [layer for layer in network.layers if layer.relu]
    if [len(new.nodes[k].bias) for k in relus] != [layer.width for layer in layers]:
        return
    for k, layer in zip(relus, layers, strict=True):
        node = node_of.get(names.index(layer.name)) if layer.name in names else None
        if node is None:
            continue
        good = (layer.origin >= 0) & (layer.origin < len(old.nodes[node].bias))
        match, unit = matches[k]
        match[:], unit[:] = np.where(good, node, -1), np.where(good, layer.origin, 0)


def _record(checker: Checker, node: Node, match: Ints, unit: Ints) -> Record:
    """The match of each unit, without those that differ too much from what they are matched
    with."""
    factor = np.ones(len(match))
    if checker.relations and node.terms:
        z = checker.image(node.terms, node.bias, node.slack)
        for k in np.unique(match[match > 0]).tolist():
            at = np.flatnonzero(match == k)
            e = checker.less(z, k, at, unit[at], factor[at])
            low, high = checker.ends(checker.by_node(e.matrix, e.offset, e.radius))
            span = checker.upper[k][unit[at]] - checker.lower[k][unit[at]]
            far = np.maximum(np.abs(low), np.abs(high)) > CLOSE * span
            alone = at[far]
            if node.relu and len(alone):
                form = checker.by_node(z.matrix[alone], z.offset[alone], z.radius[alone])
                alone = alone[checker.ends(form)[0] >= 0]
            match[alone] = -1
    arrays: dict[str, Array] = {
        "match": match.astype(np.int32),
        "unit": unit.astype(np.int32),
        "factor": factor,
    }
    return Record("node", {}, arrays)


def _links(checker: Checker, matches: Sequence[tuple[Ints, Ints]]) -> list[Record]:
    """Unstable units of the larger model that no unit stems from, linked to one of nearly their
    direction."""
    checker.advance(len(checker.old.nodes))
    kept = {(int(k), int(j)) for match, unit in matches for k, j in zip(match, unit, strict=True)}
    records = []
    for k, node in enumerate(checker.old.nodes):
        if not node.relu:
            continue
        unstable = (checker.lower[k] < 0) & (checker.upper[k] > 0)
        stays = np.array([(k, j) in kept for j in range(len(node.bias))])
        pairs = _pairs(node, unstable & ~stays, unstable & stays)
        if pairs:
            units, partners, factors, opposite = (
                np.array(part) for part in zip(*pairs, strict=True)
            )
            arrays: dict[str, Array] = {
                "units": units.astype(np.int32),
                "partners": partners.astype(np.int32),
                "factors": factors.astype(np.float64),
                "opposite": opposite.astype(np.uint8),
            }
            records.append(Record("links", {"node": k}, arrays))
    return records


def _pairs(node: Node, gone: Bools, stays: Bools) -> list[tuple[int, int, float, bool]]:
    rows = np.concatenate([*node.terms.values(), node.bias[:, None]], axis=1)
    sizes = np.linalg.norm(rows, axis=1)
    unit_rows = rows / np.where(sizes > 0, sizes, 1.0)[:, None]
    found = []
    for i in np.flatnonzero(gone & (sizes > 0)).tolist():
        cosine = np.where(stays, unit_rows @ unit_rows[i], 0.0)
        j = int(np.argmax(np.abs(cosine)))
        if 1.0 - abs(cosine[j]) < ALIKE:
            large = int(np.argmax(np.abs(rows[j])))
            factor = abs(float(rows[i, large] / rows[j, large]))
            if factor > 0:
                found.append((i, j, factor, bool(cosine[j] < 0)))
    return found


__all__ = ["Fails", "prove_rewrite"]
