"""Run two models at the verification points and keep all that is needed to judge them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Bools, Floats
from leo_cli.domain import Domain
from leo_cli.verify.behind import explained_rows
from leo_cli.verify.difference import Difference, difference
from leo_cli.verify.evaluation import concatenated_outputs
from leo_cli.verify.points import Points
from leo_cli.verify.runtime import Block, Column, open_session, stacked
from leo_cli.verify.search import SearchOptions, search_difference
from leo_cli.verify.subject import SharedPart, Subject


@dataclass(frozen=True)
class Measured:
    """where: the points, those of the search included. first, second: values by tensor, (n,
    components). differences: the same tensors. float64: (n, components) differences of float64
    evaluations of the shared dense outputs. explained: for graph outputs behind the dense part,
    (n,) rows at which the original's own operators make the candidate's values from the candidate's
    scores; None where that could not be asked (unexplained says why).
    """

    where: Points
    first: Mapping[str, Column]
    second: Mapping[str, Column]
    differences: Mapping[str, Difference]
    float64: Floats
    explained: Mapping[str, Bools] | None
    unexplained: str = ""


def measure(
    a: Subject,
    b: Subject,
    shared: SharedPart,
    domain: Domain,
    points: Points,
    level: str,
    search: SearchOptions,
) -> Measured:
    """Evaluate natively and in float64, and search for a difference first. A model against itself
    is evaluated once."""
    where, float64 = _float64(a, b, shared, domain, points, search)
    names = tuple(dict.fromkeys([*shared.names, *a.graph_outputs]))
    blocks_a = _run(a, names, where.values, level)
    blocks_b = blocks_a if b is a else _run(b, names, where.values, level)
    first = stacked(blocks_a)
    second = first if b is a else stacked(blocks_b)
    behind = tuple(name for name in a.graph_outputs if name not in shared.names)
    explained, why = None, "their dense parts end in different tensors"
    if shared.whole:
        explained, why = explained_rows(a, shared.names, behind, blocks_b, second, level)
    differences = {name: difference(first[name], second[name]) for name in first}
    return Measured(where, first, second, differences, float64, explained, why)


def _run(subject: Subject, names: tuple[str, ...], points: Floats, level: str) -> list[Block]:
    session = open_session(subject.content, subject.inputs, names, subject.name, level)
    return session.blocks(points)


def _float64(
    a: Subject, b: Subject, shared: SharedPart, domain: Domain, where: Points, search: SearchOptions
) -> tuple[Points, Floats]:
    """The points, extended by those of the search, and the float64 differences there."""
    if not shared.names or b is a:
        return where, np.zeros((len(where), len(shared.first)))
    with np.errstate(over="ignore", invalid="ignore"):

        def apart(values: Floats) -> Floats:
            f = concatenated_outputs(a.network, values)[:, shared.first]
            return f - concatenated_outputs(b.network, values)[:, shared.second]

        known = apart(where.values)
        f, g = shared.networks(a, b)
        found = search_difference(f, g, domain, where.values, known, search)
        found = found[domain.contains(found)]
        return where.extended(found, "search"), np.concatenate([known, apart(found)])
