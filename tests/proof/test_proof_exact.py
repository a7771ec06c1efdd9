"""The checker alone against exact enumeration: whatever a record contains, what it proves is
true."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from proof.proof_cases import net_of
from support import examples
from support.exact import difference, exact
from support.oracle import TooLargeError, enumerate_patterns
from support.strategies import networks_with_domain

from leo_cli.arrays import Floats, Ints
from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.proof.bounding import Arithmetic
from leo_cli.proof.checker import Checker, Fails, Record
from leo_cli.proof.graph import Net
from leo_cli.proof.verdicts import box_of_domain


def single_source(network: Network) -> bool:
    """Whether no layer reads one node twice (sums of coefficients would be rounded)."""
    return all(len({t.source for t in x.terms}) == len(x.terms) for x in network.layers)


def slope_records(net: Net, k: int, rng: np.random.Generator) -> Record:
    """Random slopes for all units of a node, of all units before it."""
    units = np.repeat(np.arange(net.widths[k]), 2)
    columns = [(s, j) for s in range(1, k) if net.nodes[s].relu for j in range(net.widths[s])]
    slopes = rng.choice([0, 1, 64, 200, 255], size=(len(units), len(columns)))
    table = np.array(columns, np.int32).reshape(-1, 2)
    arrays = {
        "units": units.astype(np.int32),
        "above": np.arange(len(units)) % 2,
        "slopes": slopes.astype(np.uint8),
        "slope_nodes": table[:, 0],
        "slope_units": table[:, 1],
    }
    return Record("slopes", {"node": k}, arrays)


def random_tree(choices: list[tuple[int, int]], rng: np.random.Generator) -> tuple[Ints, int, int]:
    """A tree over phases in preorder, its number of leaves, and the sum of their depths."""
    rows: list[tuple[int, int]] = []
    leaves = depths = 0
    stack = [0]
    while stack:
        depth = stack.pop()
        if depth < 3 and choices and rng.random() < 0.7:
            rows.append(choices[int(rng.integers(len(choices)))])
            stack += [depth + 1, depth + 1]
        else:
            rows.append((-1, -1))
            leaves, depths = leaves + 1, depths + depth
    return np.array(rows, np.int32), leaves, depths


def phase_record(net: Net, k: int, rng: np.random.Generator) -> Record:
    columns = [(s, j) for s in range(1, k) if net.nodes[s].relu for j in range(net.widths[s])]
    tree, leaves, depths = random_tree(columns, rng)
    table = np.array(columns, np.int32).reshape(-1, 2)
    arrays = {
        "tree_nodes": tree[:, 0],
        "tree_units": tree[:, 1],
        "multipliers": rng.choice([0.0, 0.1, 1.0, 5.0], size=depths),
        "slopes": rng.random((leaves, len(columns))),
        "slope_nodes": table[:, 0],
        "slope_units": table[:, 1],
    }
    unit = int(rng.integers(net.widths[k]))
    return Record("phases", {"node": k, "unit": unit, "above": int(rng.integers(2))}, arrays)


def box_record(checker: Checker, rng: np.random.Generator) -> Record:
    """A random tree of boxes that claims what is claimed in vain if it is false."""
    net, box = checker.old, checker.box
    claims = [(k, j) for k in range(1, len(net.nodes)) if net.nodes[k].relu
              for j in range(net.widths[k])]  # fmt: skip
    picked = [claims[i] for i in rng.permutation(len(claims))[: 1 + int(rng.integers(2))]]
    axis: list[int] = []
    cut: list[float] = []
    stack = [(box.lower, box.upper, 0)]
    while stack:
        low, high, depth = stack.pop()
        i = int(rng.integers(len(low)))
        if depth == 3 or low[i] == high[i] or box.integer[i]:
            axis.append(-1)
            cut.append(0.0)
            continue
        middle = float(low[i] + rng.random() * (high[i] - low[i]))
        axis.append(i)
        cut.append(middle)
        upper, lower = high.copy(), low.copy()
        upper[i] = lower[i] = middle
        stack += [(lower, high, depth + 1), (low, upper, depth + 1)]
    arrays = {
        "nodes": np.array([k for k, _ in picked]),
        "units": np.array([j for _, j in picked]),
        "above": rng.integers(0, 2, len(picked)),
        "axis": np.array(axis),
        "cut": np.array(cut),
    }
    return Record("boxes", {}, arrays)


@pytest.mark.parametrize("arithmetic", [Arithmetic(), Arithmetic(exact=True)])
@examples(150)
@given(networks_with_domain(), st.integers(0, 2**32))
def test_bounds_of_random_records_contain_the_exact_ranges(
    arithmetic: Arithmetic, pair: tuple[Network, Domain], seed: int
) -> None:
    network, domain = pair
    assume(single_source(network))
    truth = enumerate_patterns(network, domain)
    rng = np.random.default_rng(seed)
    checker = Checker(net_of(network), None, box_of_domain(domain), arithmetic)
    if rng.random() < 0.5 and any(node.relu for node in checker.old.nodes):
        try:
            checker.apply(box_record(checker, rng))
        except Fails:
            checker = Checker(net_of(network), None, box_of_domain(domain), arithmetic)
    empty = {"inactive": np.zeros(0, int), "active": np.zeros(0, int)}
    relus = [k for k, node in enumerate(checker.old.nodes) if node.relu]
    assume(relus)
    try:
        for k in relus:
            checker.apply(slope_records(checker.old, k, rng))
            checker.apply(phase_record(checker.old, k, rng))
        checker.apply(Record("states", {"node": relus[0]}, empty))  # bounds all nodes
    except Fails as failure:
        # bounds that overflow are no fractions: the exact checker refuses
        assume(
            not (arithmetic.exact and isinstance(failure.__cause__, (OverflowError, ValueError)))
        )
        raise
    for k, layer in enumerate(network.layers):
        for j in range(layer.width):
            low, high = truth.range(k, j)
            found = float(checker.lower[k + 1][j]), float(checker.upper[k + 1][j])
            assert not np.isfinite(found[0]) or Fraction(found[0]) <= low
            assert not np.isfinite(found[1]) or Fraction(found[1]) >= high


def moved(network: Network, rng: np.random.Generator) -> Network:
    """The same network with some weights a little, or a lot, different."""
    layers = []
    for layer in network.layers:
        size = float(rng.choice([0.0, 1e-9, 1e-3, 1.0]))
        terms = []
        for term in layer.terms:
            rows = np.array(term.map.rows(slice(None)))
            rows = rows + size * rng.normal(size=rows.shape) * (rng.random(rows.shape) < 0.3)
            terms.append(Term(term.source, Dense(rows)))
        bias = layer.bias + size * rng.normal(size=layer.width) * (rng.random(layer.width) < 0.3)
        layers.append(Layer(layer.name, tuple(terms), bias, layer.relu))
    return replace(network, layers=tuple(layers))


def relations(net: Net, rng: np.random.Generator) -> list[Record]:
    """Random matches of every unit: most with itself, some with another, some with none."""
    records = [Record("node", {})]
    for k in range(1, len(net.nodes)):
        width = net.widths[k]
        match = np.where(rng.random(width) < 0.85, k, -1)
        if not net.nodes[k].relu:
            match = np.where(rng.random(width) < 0.5, k, -1)
        unit = np.where(rng.random(width) < 0.9, np.arange(width), rng.integers(0, width, width))
        factor = rng.choice([1.0, 1.0, 1.0, 0.5, 3.0], width)
        arrays: dict[str, Floats] = {"match": match, "unit": unit, "factor": factor}
        records.append(Record("node", {}, arrays))
    return records


def link_records(net: Net, rng: np.random.Generator) -> list[Record]:
    """Random links, true or not: an error that is bounded makes each a true statement."""
    records = []
    for k, node in enumerate(net.nodes):
        if node.relu and net.widths[k] > 1 and rng.random() < 0.5:
            arrays = {
                "units": np.array([0]),
                "partners": np.array([1]),
                "factors": rng.choice([0.5, 1.0, 2.0], 1),
                "opposite": rng.integers(0, 2, 1),
            }
            records.append(Record("links", {"node": k}, arrays))
    return records


@pytest.mark.parametrize("arithmetic", [Arithmetic(), Arithmetic(exact=True)])
@examples(150)
@given(networks_with_domain(max_layers=2), st.integers(0, 2**32))
def test_the_difference_of_two_networks_is_never_underestimated(
    arithmetic: Arithmetic, pair: tuple[Network, Domain], seed: int
) -> None:
    network, domain = pair
    assume(single_source(network))
    rng = np.random.default_rng(seed)
    other = moved(network, rng)
    old, new = net_of(network), net_of(other)
    checker = Checker(old, new, box_of_domain(domain), arithmetic)
    try:
        for record in [*link_records(old, rng), *relations(new, rng)]:
            checker.apply(record)
        bound = checker.differences()
    except Fails:
        return  # a unit without a match is not active: nothing is claimed
    gap = difference(exact(network), exact(other))
    try:
        truth = enumerate_patterns(gap, domain)
    except TooLargeError:
        return
    for j in range(len(bound)):
        low, high = truth.range(len(gap.layers) - 1, j)
        assert not np.isfinite(bound[j]) or Fraction(float(bound[j])) >= max(abs(low), abs(high))
