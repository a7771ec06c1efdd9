"""Say how each unit of the smaller model follows from the larger one's: what the checker needs
beside the two files.

A unit that a rewrite left in its place is matched with the unit that it was (`Layer.origin`); new
units, and those whose meaning changed (a shifted linear unit), are matched with none. Units of the
larger model that are gone though unstable are matched with a unit of the same or the opposite
direction. Nothing depends on which rewrite made the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints
from leo_cli.network import Network
from leo_cli.proof.checker import Checker, Record
from leo_cli.proof.graph import Net, Node

ALIKE = 1e-9  # 1 - cosine of rows that are worth a match
CLOSE = 1e-3  # difference from a partner, relative to its range, beyond which there is no match


def prove_rewrite(
    checker: Checker, new: Net, network: Network, node_of: dict[int, int], names: Sequence[str]
) -> tuple[list[Record], Floats]:
    """Records that relate the checker's smaller model, the file that `network` was written to, to
    the larger one, and the proved deviation.

    new: the smaller model, read alone. node_of: layer -> node of the larger model. names: of the
    larger network's layers. Raises Fails where no relation is found.
    """
    old, place = checker.old, _places(checker.old, new)
    guesses = [_first_guess(old, new, k, network) for k in range(len(new.nodes))]
    _by_order(old, new, network, node_of, names, guesses)
    checker.advance(len(old.nodes))
    records = []
    for record in _links(checker, guesses, set(place)):
        checker.apply(record)
        records.append(record)
    for at, (partner_node, partner) in enumerate(guesses):
        k = place[at]
        if k >= len(old.nodes):
            checker.advance(k)
            for of in np.unique(partner_node[partner_node > 0]).tolist():
                units = np.flatnonzero(partner_node == of)
                records += _matched(checker, k, of, units, partner[units])
    return records, checker.differences()


def _places(old: Net, new: Net) -> list[int]:
    """Where the nodes of a model that is read alone are if it is read after another."""
    place, end = [0], len(old.nodes)
    known = {node.key: k for k, node in enumerate(old.nodes)}
    for node in new.nodes[1:]:
        moved = replace(node, terms={place[s]: w for s, w in node.terms.items()})
        place.append(known.setdefault(moved.key, end))
        end += place[-1] == end
    return place


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
    guesses: list[tuple[Ints, Ints]],
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
        match, unit = guesses[k]
        match[:], unit[:] = np.where(good, node, -1), np.where(good, layer.origin, 0)


def _matched(checker: Checker, k: int, of: int, units: Ints, partners: Ints) -> Iterator[Record]:
    """The match of units of a node, without those that differ too much from their partners."""
    alike = checker.nodes[k].relu is checker.nodes[of].relu
    if not alike or not len(units) or k not in checker.read:
        return
    known = checker.lower[k], checker.upper[k]
    record = _record(k, of, units, partners, np.ones(len(units)))
    checker.apply(record)
    taken, stand = checker.view.matches[k][-1]
    span = (checker.upper[of] - checker.lower[of])[partners]
    error = np.full(len(units), np.inf)
    error[np.isin(units, taken)] = stand.error
    close = error <= CLOSE * span
    # what is active needs no partner: only whether it is active is of interest
    close |= checker.lower[k][units] >= 0
    if not close.all():
        checker.view.matches[k].pop()
        checker.matched[k] = checker.matched[k][: -len(units)]
        checker.lower[k], checker.upper[k] = known
        if not close.any():
            return
        units, partners = units[close], partners[close]
        record = _record(k, of, units, partners, np.ones(len(units)))
        checker.apply(record)
    yield record


def _record(k: int, of: int, units: Ints, partners: Ints, factors: Floats) -> Record:
    pairs = np.stack([units, partners], axis=1).astype(np.int32)
    return Record("match", {"node": k, "of": of}, {"pairs": pairs, "factors": factors})


def _links(
    checker: Checker, guesses: Sequence[tuple[Ints, Ints]], shared: set[int]
) -> Iterator[Record]:
    """Unstable units of the larger model that no unit stems from, matched with one of nearly their
    direction."""
    kept = {(int(k), int(j)) for match, unit in guesses for k, j in zip(match, unit, strict=True)}
    for k, node in enumerate(checker.old.nodes):
        if not node.relu or k in shared:
            continue
        unstable = (checker.lower[k] < 0) & (checker.upper[k] > 0)
        stays = np.array([(k, j) in kept for j in range(len(node.bias))])
        pairs = _pairs(node, unstable & ~stays, unstable & stays)
        if pairs:
            yield _record(k, k, *(np.array(part) for part in zip(*pairs, strict=True)))


def _pairs(node: Node, gone: Bools, stays: Bools) -> list[tuple[int, int, float]]:
    rows = np.concatenate([*node.terms.values(), node.bias[:, None]], axis=1)
    sizes = np.linalg.norm(rows, axis=1)
    unit_rows = rows / np.where(sizes > 0, sizes, 1.0)[:, None]
    found = []
    for i in np.flatnonzero(gone & (sizes > 0)).tolist():
        cosine = np.where(stays, unit_rows @ unit_rows[i], 0.0)
        j = int(np.argmax(np.abs(cosine)))
        if 1.0 - abs(cosine[j]) < ALIKE:
            large = int(np.argmax(np.abs(rows[j])))
            factor = float(rows[i, large] / rows[j, large])
            if factor != 0:
                found.append((i, j, factor))
    return found
