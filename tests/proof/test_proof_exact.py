"""The checker alone against exact enumeration: whatever a record contains, what it proves is
true."""

from __future__ import annotations

from collections.abc import Callable
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

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.proof.bounding import Arithmetic
from leo_cli.proof.checker import Checker, Fails, Record
from leo_cli.proof.graph import Net
from leo_cli.proof.verdicts import box_of_domain


def single_source(network: Network) -> bool:
    """Whether no layer reads one node twice (sums of coefficients would be rounded)."""
    return all(len({t.source for t in x.terms}) == len(x.terms) for x in network.layers)


def hidden(net: Net, end: int) -> list[tuple[int, int]]:
    """The units of ReLUs before a node."""
    return [
        (s, j) for s in range(1, end) if net.nodes[s].relu for j in range(len(net.nodes[s].bias))
    ]


def numbers(
    net: Net, k: int, name: str, rows: int, draw: Callable[[tuple[int, int]], Floats]
) -> dict[str, Floats]:
    """Numbers for most nodes with a ReLU before node k."""
    widths = {s: len(net.nodes[s].bias) for s in range(1, k) if net.nodes[s].relu}
    return {f"{name}{s}": draw((rows, width)) for s, width in widths.items() if (s + rows) % 4}


def slope_record(net: Net, k: int, rng: np.random.Generator) -> Record:
    """Random slopes for both questions of all units of a node: trees of one leaf."""
    units = np.repeat(np.arange(len(net.nodes[k].bias)), 2)
    few = np.array([0, 1, 64, 200, 255], np.uint8)
    arrays = {
        "units": units.astype(np.int32),
        "above": np.arange(len(units)) % 2,
        "node": np.full(len(units), -1),
        "unit": np.zeros(len(units), int),
        "cut": np.zeros(len(units)),
        **numbers(net, k, "slopes", len(units), lambda shape: rng.choice(few, size=shape)),
    }
    return Record("tree", {"inner": 0, "node": k}, arrays)


def random_tree(
    cuts: Callable[[], tuple[int, int, float]], rng: np.random.Generator, count: int = 1
) -> list[list[tuple[int, int, float]]]:
    """Trees of parts, in the batches in which a checker takes them."""
    batches, depths = [], [0] * count
    while depths:
        count = 1 + int(rng.integers(len(depths)))
        taken = [depths.pop() for _ in range(count)]
        batch = []
        for depth in taken:
            row = cuts() if depth < 3 and rng.random() < 0.7 else (-1, 0, 0.0)
            batch.append(row)
            depths += [depth + 1] * 2 * (row[0] >= 0)
        batches.append(batch)
    return batches


def tree_records(
    head: dict[str, Floats],
    values: dict[str, int],
    batches: list[list[tuple[int, int, float]]],
    hints: Callable[[int], dict[str, Floats]],
) -> list[Record]:
    records = []
    for batch in batches:
        table = np.array(batch, np.float64)
        leaves = int((table[:, 0] < 0).sum())
        arrays = {
            "node": table[:, 0].astype(int), "unit": table[:, 1].astype(int), "cut": table[:, 2],
            **(hints(leaves) if leaves else {}), **({} if records else head),
        }  # fmt: skip
        records.append(Record("tree", {} if records else values, arrays))
    return records


def phase_records(net: Net, k: int, rng: np.random.Generator) -> list[Record]:
    """A random tree over phases, for some questions, with random slopes and multipliers."""
    choices, width = hidden(net, k), len(net.nodes[k].bias)
    count = 1 + int(rng.integers(min(3, width)))
    head = {"units": rng.permutation(width)[:count], "above": rng.integers(0, 2, count)}

    def cut() -> tuple[int, int, float]:
        return (*choices[int(rng.integers(len(choices)))], 0.0)

    def hints(leaves: int) -> dict[str, Floats]:
        few = [0.0, 0.1, 1.0, 5.0]
        return {
            **numbers(net, k, "slopes", leaves, rng.random),
            **numbers(net, k, "multipliers", leaves, lambda shape: rng.choice(few, size=shape)),
        }

    batches = random_tree(cut, rng, count) if choices else [[(-1, 0, 0.0)] * count]
    return tree_records(head, {"inner": 0, "node": k}, batches, hints)


def box_records(checker: Checker, rng: np.random.Generator) -> list[Record]:
    """A random tree of boxes, cut anywhere."""
    box = checker.box
    final = int(rng.integers(1, len(checker.old.nodes)))
    count = len(checker.old.nodes[final].bias)
    head = {"units": rng.integers(0, count, 2), "above": rng.integers(0, 2, 2)}

    def cut() -> tuple[int, int, float]:
        i = int(rng.integers(len(box.lower)))
        low, high = box.lower[i], box.upper[i]
        return (0, i, float(low + rng.uniform(-0.2, 1.2) * (high - low)))

    values = {"inner": 1, "node": final}
    return tree_records(head, values, random_tree(cut, rng), lambda leaves: {})


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
    relus = [k for k, node in enumerate(checker.old.nodes) if node.relu]
    assume(relus)
    try:
        if rng.random() < 0.5:
            for record in box_records(checker, rng):
                checker.apply(record)
        for k in relus:
            checker.apply(slope_record(checker.old, k, rng))
            for record in phase_records(checker.old, k, rng):
                checker.apply(record)
        with np.errstate(all="ignore"):
            checker.advance(len(checker.nodes))
    except (Fails, OverflowError, ValueError) as failure:
        # bounds that overflow are no fractions: the exact checker refuses
        cause = failure.__cause__ or failure
        assume(not (arithmetic.exact and isinstance(cause, (OverflowError, ValueError))))
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


def relations(checker: Checker, rng: np.random.Generator) -> list[Record]:
    """Random matches, true or not: an error that is bounded makes each a true statement. Units of
    the smaller network: most with itself, some with another; of the larger one: anything."""
    records = []
    for k, node in enumerate(checker.nodes):
        width, same = len(node.bias), k >= checker.end
        if k == 0 or (not same and (width < 2 or rng.random() < 0.5)):
            continue
        of = [x for x in range(1, checker.end) if checker.old.nodes[x].name == node.name]
        if not of or len(checker.nodes[of[0]].bias) != width:
            continue
        taken = np.flatnonzero(rng.random(width) < 0.85)
        partners = taken if same and rng.random() < 0.8 else rng.permutation(width)[: len(taken)]
        arrays: dict[str, Floats] = {
            "units": taken,
            "partners": partners,
            "factors": rng.choice([1.0, 1.0, 1.0, 0.5, 3.0], len(taken)),
            "opposite": rng.random(len(taken)) < 0.1,
        }
        records.append(Record("match", {"node": k, "of": of[0]}, arrays))
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
    old = net_of(network)
    new = net_of(other, old)
    checker = Checker(old, new, box_of_domain(domain), arithmetic)
    try:
        for record in relations(checker, rng):
            checker.apply(record)
        with np.errstate(all="ignore"):
            bound = checker.differences()
    except (Fails, OverflowError, ValueError):
        return  # bounds that overflow
    gap = difference(exact(network), exact(other))
    try:
        truth = enumerate_patterns(gap, domain)
    except TooLargeError:
        return
    for j in range(len(bound)):
        low, high = truth.range(len(gap.layers) - 1, j)
        assert not np.isfinite(bound[j]) or Fraction(float(bound[j])) >= max(abs(low), abs(high))
