"""Folding: layers that pass on z unchanged, in whole or in part, become part of their readers.

fold_stable (LEO, arXiv 2001.00218, section 4.3): all units of a ReLU layer are stable. Inactive
    units are gone; with all others active the layer is affine on D, and its readers get N W as
    coefficients of its sources and b_next + N b as bias.
fold_linear: the same for a layer without a ReLU (chains of linear layers, BatchNormalization), for
    any domain. Not for a mere selection or cast of values, which is no arithmetic to save.
bypass: only some units are active; they get a direct path to the readers, the others stay.

Each is applied only where it makes the network cheaper: 784-5-100 would grow from 4,420 to 78,400
connections. With r units in place of the active ones (product_rank) the cost is
r (inputs + readers), with a direct path inputs x readers: the path pays for
r > inputs readers / (inputs + readers). rewrite/direct.py has the algebra and the deviation.
"""

from __future__ import annotations

import numpy as np

from leo_cli.network import Layer, Scaled
from leo_cli.rewrite.case import case_of
from leo_cli.rewrite.direct import read_through
from leo_cli.rewrite.subject import Answer, Refusal, Subject


def fold_stable(subject: Subject, k: int) -> Answer:
    """The network without the ReLU layer k, if all its units are active."""
    name, layer = "fold_stable", subject.network.layers[k]
    if not layer.relu:
        return Refusal(name, layer.name, "the layer has no ReLU")
    if not subject.active(k).all():
        return Refusal(name, layer.name, "not all units are proved active")
    return _through(subject, k, name)


def fold_linear(subject: Subject, k: int) -> Answer:
    """The network without layer k, if it has no ReLU."""
    name, layer = "fold_linear", subject.network.layers[k]
    if layer.relu:
        return Refusal(name, layer.name, "the layer has a ReLU")
    if _is_selection(layer):
        return Refusal(name, layer.name, "the layer only selects: an operator that moves numbers")
    return _through(subject, k, name)


def _is_selection(layer: Layer) -> bool:
    """Whether the layer hands on values as they are: a Gather, a Cast, an Identity."""
    maps = [term.map for term in layer.terms]
    return (
        len(maps) == 1
        and isinstance(maps[0], Scaled)
        and bool(np.all(maps[0].scale == 1))
        and not layer.bias.any()
    )


def bypass(subject: Subject, k: int) -> Answer:
    """The active units of the ReLU layer k as a direct path from its sources to its readers."""
    name, layer = "bypass", subject.network.layers[k]
    if not layer.relu:
        return Refusal(name, layer.name, "the layer has no ReLU")
    if subject.active(k).all():
        return Refusal(name, layer.name, "all units are active: see fold_stable")
    return _through(subject, k, name)


def _through(subject: Subject, k: int, name: str) -> Answer:
    case = case_of(subject, k)
    if isinstance(case, str):
        return Refusal(name, subject.network.layers[k].name, case)
    return subject.once(("through", k, name), lambda: read_through(subject, case, name))
