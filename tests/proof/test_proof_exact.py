"""The checker alone against exact enumeration: whatever a record contains, what it proves is
true."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from proof.proof_cases import net_of
from support import SCALE, examples
from support.exact import difference, exact
from support.oracle import TooLargeError, enumerate_patterns
from support.strategies import BIG_M, DECIMAL, DYADIC, WIDE, networks_with_domain

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.proof.bounding import Arithmetic
from leo_cli.proof.checker import Checker, Fails, Record
from leo_cli.proof.graph import Net
from leo_cli.proof.translate import box_of_domain
from leo_cli.proof.trees import Rows, tree_record


def single_source(network: Network) -> bool:
    """Whether no layer reads one node twice (sums of coefficients would be rounded)."""
    return all(len({t.source for t in x.terms}) == len(x.terms) for x in network.layers)


def hidden(net: Net, end: int) -> list[tuple[int, int]]:
    """The units of ReLUs before a node."""
    return [
        (s, j) for s in range(1, end) if net.nodes[s].relu for j in range(len(net.nodes[s].bias))
    ]


def numbers(
    net: Net, k: int, name: str, draw: Callable[[int], Floats], rng: np.random.Generator
) -> dict[str, Floats]:
    """Numbers for most nodes with a ReLU before node k."""
    widths = {s: len(net.nodes[s].bias) for s in range(1, k) if net.nodes[s].relu}
    return {f"{name}{s}": draw(width) for s, width in widths.items() if rng.random() < 0.75}


def random_cut(checker: Checker, k: int, rng: np.random.Generator) -> tuple[int, int, float]:
    """A cut along an input, anywhere, or by a phase before node k."""
    box, choices = checker.box, hidden(checker.old, k)
    if choices and rng.random() < 0.5:
        return (*choices[int(rng.integers(len(choices)))], 0.0)
    i = int(rng.integers(len(box.lower)))
    low, high = box.lower[i], box.upper[i]
    return (0, i, float(low + rng.uniform(-0.2, 1.2) * (high - low)))


def random_tree(checker: Checker, k: int, rng: np.random.Generator) -> Iterator[Record]:
    """A random tree of parts for bounds up to node k, with random slopes and multipliers, in the
    batches in which a checker takes its parts."""
    net, depths, first = checker.old, [0], True
    end = min(k + 1, checker.end)
    while depths:
        taken = [depths.pop() for _ in range(1 + int(rng.integers(len(depths))))]
        cuts = []
        for depth in taken:
            leaf = depth == 3 or rng.random() < 0.3
            cuts.append((-1, 0, 0.0) if leaf else random_cut(checker, k, rng))
            depths += [depth + 1] * 2 * (not leaf)
        count = int(rng.integers(8))
        node = rng.integers(1, end, count)
        rows = Rows(
            part=rng.integers(0, len(cuts), count),
            node=node,
            unit=rng.integers(0, checker.widths[node]),
            above=rng.integers(0, 2, count),
        )
        hints = int(rng.integers(count + 1))

        def slopes(width: int, hints: int = hints) -> Floats:
            few = np.array([0, 1, 64, 200, 255], np.uint8)
            return (
                rng.choice(few, (hints, width))
                if rng.random() < 0.5
                else rng.random((hints, width))
            )

        def multipliers(width: int, hints: int = hints) -> Floats:
            return rng.choice([0.0, 0.1, 1.0, 5.0], (hints, width))

        given = {
            **numbers(net, end, "slopes", slopes, rng),
            **numbers(net, end, "multipliers", multipliers, rng),
        }
        deep = rng.integers(0, end + 1, len(cuts)) * (rng.random() < 0.5)
        record = tree_record(cuts, rows, given, deep, k if first else None)
        yield replace(record, values={**record.values, "hints": hints})
        first = False


def assert_what_random_trees_prove(
    network: Network,
    domain: Domain,
    arithmetic: Arithmetic,
    rng: np.random.Generator,
    most: int = 9,
) -> None:
    """Bounds that random trees, `most` of them, lead to contain the exact ranges. Raises Fails,
    OverflowError or ValueError where there are no bounds: in exact arithmetic none overflow."""
    truth = enumerate_patterns(network, domain)
    checker = Checker(net_of(network), None, box_of_domain(domain), arithmetic)
    relus = [k for k, node in enumerate(checker.old.nodes) if node.relu]
    nodes = ([checker.end] if rng.random() < 0.5 else []) + [k for k in relus for _ in range(2)]
    for k in nodes[:most]:
        for record in random_tree(checker, k, rng):
            checker.apply(record)
    with np.errstate(all="ignore"):
        checker.advance(len(checker.nodes))
    for k, layer in enumerate(network.layers):
        for j in range(layer.width):
            low, high = truth.range(k, j)
            found = float(checker.lower[k + 1][j]), float(checker.upper[k + 1][j])
            assert not np.isfinite(found[0]) or Fraction(found[0]) <= low
            assert not np.isfinite(found[1]) or Fraction(found[1]) >= high


@pytest.mark.parametrize("arithmetic", [Arithmetic(), Arithmetic(exact=True)])
@examples(100)
@given(networks_with_domain(), st.integers(0, 2**32))
def test_bounds_of_random_records_contain_the_exact_ranges(
    arithmetic: Arithmetic, pair: tuple[Network, Domain], seed: int
) -> None:
    assume(single_source(pair[0]) and any(layer.relu for layer in pair[0].layers))
    try:
        assert_what_random_trees_prove(*pair, arithmetic, np.random.default_rng(seed))
    except (Fails, OverflowError, ValueError) as failure:
        cause = failure.__cause__ or failure
        assume(not (arithmetic.exact and isinstance(cause, (OverflowError, ValueError))))
        raise


def small_chain(rng: np.random.Generator) -> tuple[Network, Domain]:
    """One or two inputs, two hidden layers of two or three units, in numbers of one kind: many
    ties, or sizes far apart."""
    numbers = np.array((DYADIC, DYADIC, DECIMAL, BIG_M, WIDE)[int(rng.integers(5))])
    widths = [int(rng.integers(1, 3)), *rng.integers(2, 4, size=2).tolist(), 1]
    layers = []
    for k, (before, after) in enumerate(itertools.pairwise(widths)):
        rows, bias = rng.choice(numbers, (after, before)), rng.choice(numbers, after)
        layers.append(Layer(f"layer{k}", (Term(k, Dense(rows)),), bias, k < 2))
    low = rng.choice([-1.0, 0.0, -0.1], widths[0])
    domain = Domain(low, low + rng.choice([0.0, 1.0, 2.0], widths[0]), "float64")
    return Network(widths[0], tuple(layers), (3,), "float64"), domain


@pytest.mark.parametrize("seed", range(8))
def test_bounds_of_thousands_of_small_networks_contain_the_exact_ranges(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for i in range(max(1, round(250 * SCALE))):
        assert_what_random_trees_prove(*small_chain(rng), Arithmetic(exact=i % 2 > 0), rng, 1)


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
        factors = rng.choice([1.0, 1.0, 1.0, 0.5, 3.0], len(taken))
        factors[rng.random(len(taken)) < 0.1] *= -1.0
        arrays: dict[str, Floats] = {
            "pairs": np.stack([taken, partners], axis=1),
            "factors": factors,
        }
        records.append(Record("match", {"node": k, "of": of[0]}, arrays))
    return records


@pytest.mark.parametrize("arithmetic", [Arithmetic(), Arithmetic(exact=True)])
@examples(100)
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
