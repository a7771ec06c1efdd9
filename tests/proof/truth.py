"""Whether a proof's claims are true, decided by exact enumeration; for small networks only."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from proof.mutants import Claims, Mutant, claims_of
from proof.proof_cases import Case, box_domain, chain_file, proved, random_chain
from support.exact import difference, exact
from support.oracle import enumerate_patterns

from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.proof.graph import Net
from leo_cli.stability.options import ClassifyOptions


def network_of(net: Net) -> Network:
    """The checker's reading of a file as a network, with a layer for each cut. Nodes of another
    file, before which it was read, are left out."""
    needed = {0, *net.cuts}
    for k in reversed(range(len(net.nodes))):
        needed |= set(net.nodes[k].terms) if k in needed else set()
    number = {k: i for i, k in enumerate(sorted(needed))}
    layers = []
    for k in sorted(needed - {0}):
        node = net.nodes[k]
        terms = tuple(Term(number[s], Dense(w)) for s, w in sorted(node.terms.items()))
        layers.append(Layer(f"{k}", terms, node.bias, node.relu))
    for at, k in enumerate(net.cuts):
        width = len(net.nodes[k].bias)
        layers.append(
            Layer(f"cut{at}", (Term(number[k], Dense(np.eye(width))),), np.zeros(width), False)
        )
    first = len(layers) - len(net.cuts) + 1
    outputs = tuple(range(first, len(layers) + 1))
    return Network(len(net.nodes[0].bias), tuple(layers), outputs)


def untruth(mutant: Mutant) -> str:
    """The first of the mutant's claims that is false; "" if all are true."""
    claims: Claims = claims_of(mutant.records)
    domain = Domain(claims.box.lower, claims.box.upper, "float64")
    old, new = network_of(mutant.old), network_of(mutant.new)
    truth = enumerate_patterns(old, domain)
    for node, unit in claims.inactive:
        if truth.range(node - 1, unit)[1] > 0:
            return f"unit {unit} of node {node} is not inactive"
    for node, unit in claims.active:
        if truth.range(node - 1, unit)[0] < 0:
            return f"unit {unit} of node {node} is not active"
    for node, unit in claims.unstable:
        low, high = truth.range(node - 1, unit)
        if low >= 0 or high <= 0:
            return f"unit {unit} of node {node} is not unstable"
    gap = difference(exact(old), exact(new))
    ends = enumerate_patterns(gap, domain)
    for j, stated in enumerate(claims.deviation.tolist()):
        low, high = ends.range(len(gap.layers) - 1, j)
        if max(abs(low), abs(high)) > Fraction(stated):
            return f"output {j} differs by more than stated"
    return ""


# deciders that lead to all kinds of evidence
LADDERS = (
    None,
    ("samples", "interval", "split"),
    ("samples", "interval", "branch"),
    ("samples", "interval", "slopes"),
)


def small_cases(count: int, seed: int) -> list[Case]:
    """Small compressed networks whose proofs hold records of all kinds."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        widths = [int(rng.integers(2, 4)), *rng.integers(4, 7, size=2 + i % 2).tolist(), 2]
        weights = random_chain(rng, widths, shift=float(rng.choice([0.3, 1.0])))
        matrix, bias = weights[0]
        if i % 3 == 0:  # units of the same and of the opposite direction, none of them stable
            bias[0] = 0.1
            matrix[1], bias[1] = 2 * matrix[0], 2 * bias[0]
            matrix[2], bias[2] = -matrix[0], -bias[0]
        options = ClassifyOptions(LADDERS[i % len(LADDERS)])
        found.append(proved(chain_file(weights), box_domain(widths[0]), classifying=options))
    return found
