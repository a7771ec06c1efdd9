"""What tests of single rewrites share: subjects with exact bounds, and exact comparison."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from support.checks import perfect_stability
from support.exact import difference, exact
from support.oracle import enumerate_patterns

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.rewrite.cost import Cost
from leo_cli.rewrite.subject import Answer, Refusal, Rewrite, Subject, subject_of


def chain(
    *parts: tuple[list[list[float]], list[float]], relu_last: bool = False, dtype: str = "float32"
) -> Network:
    """A chain of dense ReLU layers named a, b, ...; the last one without a ReLU."""
    layers = []
    for k, (matrix, bias) in enumerate(parts):
        relu = relu_last or k < len(parts) - 1
        layers.append(Layer("abcdef"[k], (Term(k, Dense(np.array(matrix))),), np.array(bias), relu))
    return Network(len(parts[0][0][0]), tuple(layers), (len(layers),), dtype)


def unit_box(inputs: int) -> Domain:
    return Domain(np.zeros(inputs), np.ones(inputs))


def subject(
    network: Network,
    domain: Domain | None = None,
    allowed: float = 0.0,
    minimize: str = "connections",
) -> Subject:
    """With the exact bounds of all layers."""
    domain = unit_box(network.inputs) if domain is None else domain
    truth = enumerate_patterns(network, domain)
    components = sum(network.width(node) for node in network.outputs)
    return subject_of(
        network,
        perfect_stability(network, truth),
        domain,
        np.full(components, allowed),
        Cost(minimize),
    )


def taken(answer: Answer) -> Rewrite:
    assert isinstance(answer, Rewrite), answer
    return answer


def refused(answer: Answer) -> str:
    assert isinstance(answer, Refusal), answer
    return answer.reason


def distance(before: Network, after: Network, domain: Domain) -> list[Fraction]:
    """The largest |before - after| of each output component over the domain, exactly."""
    gap = difference(exact(before), exact(after))
    found = enumerate_patterns(gap, domain)
    last = len(gap.layers) - 1
    ranges = [found.range(last, j) for j in range(gap.layers[-1].width)]
    return [max(-low, high) for low, high in ranges]


def holds(step: Rewrite, before: Subject) -> bool:
    """Whether a rewrite keeps what it claims: its deviation, and bounds of the new network."""
    moved = distance(before.network, step.network, before.domain)
    if any(gap > claimed for gap, claimed in zip(moved, step.deviation.tolist(), strict=True)):
        return False
    truth = enumerate_patterns(exact(step.network), before.domain)
    for k, (low, high) in enumerate(zip(step.lower, step.upper, strict=True)):
        for j in range(len(low)):
            least, most = truth.range(k, j)
            if not low[j] <= least <= most <= high[j]:
                return False
    return True


def check(rewrite: Callable[[Subject, int], Answer], before: Subject, k: int) -> Rewrite:
    """The rewrite, taken and right."""
    step = taken(rewrite(before, k))
    assert holds(step, before)
    return step


def planted(seed: int) -> tuple[Network, Domain]:
    """Small dyadic weights in which everything occurs that a rewrite looks for: dependent,
    repeated, opposite and zero rows, unread and constant units, always active and inactive ones."""
    rng = np.random.default_rng(seed)
    inputs, first, second = (
        int(rng.integers(1, 4)),
        int(rng.integers(3, 7)),
        int(rng.integers(2, 6)),
    )
    domain = Domain(np.zeros(inputs), rng.choice([0.0, 0.5, 1.0, 1.0], inputs))
    one = _rows(rng, first, inputs)
    two = _rows(rng, second, first)
    three = _rows(rng, 2, second)
    for matrix in (two, three):
        if rng.random() < 0.4:
            matrix[:, rng.integers(matrix.shape[1])] = 0.0  # nobody reads this unit
    layers = []
    for k, matrix in enumerate((one, two, three)):
        layers.append(
            Layer(f"layer{k}", (Term(k, Dense(matrix)),), _biases(rng, matrix), relu=k < 2)
        )
    if rng.random() < 0.3:  # the last layer reads the first one as well
        extra = Term(1, Dense(_rows(rng, 2, first)))
        layers[2] = Layer("layer2", (*layers[2].terms, extra), layers[2].bias, relu=False)
    return Network(inputs, tuple(layers), (3,)), domain


def paired(seed: int) -> tuple[Network, Domain]:
    """Units in opposite pairs, more of them than there are readers or inputs."""
    rng = np.random.default_rng(seed)
    inputs, pairs, readers = 2, int(rng.integers(3, 6)), int(rng.integers(1, 3))
    half = rng.choice([-1.0, -0.5, 0.5, 1.0, 2.0], (pairs, inputs))
    bias = rng.choice([-0.5, 0.0, 0.25], pairs)
    reader = rng.choice([-1.0, 0.5, 1.0, 2.0], (readers, 2 * pairs))
    if rng.random() < 0.5:  # the kinks cancel: a relu(z) - a relu(-z) = a z
        reader[:, pairs:] = -reader[:, :pairs]
    network = chain(
        (np.concatenate([half, -half]).tolist(), np.concatenate([bias, -bias]).tolist()),
        (reader.tolist(), [0.0] * readers),
    )
    return network, unit_box(inputs)


def _rows(rng: np.random.Generator, rows: int, columns: int) -> Floats:
    matrix = rng.choice([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0], (rows, columns))
    for i in range(1, rows):
        kind, other = rng.random(), int(rng.integers(i))
        if kind < 0.1:
            matrix[i] = 0.0
        elif kind < 0.25:
            matrix[i] = matrix[other] * rng.choice([1.0, 0.5, 2.0])
        elif kind < 0.35:
            matrix[i] = -matrix[other]
        elif kind < 0.5:
            matrix[i] = matrix[other] + matrix[int(rng.integers(i))]
    return matrix


def _biases(rng: np.random.Generator, matrix: Floats) -> Floats:
    reach = np.abs(matrix).sum(axis=1)
    kind = rng.random(len(matrix))
    free = rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], len(matrix))
    active = 8.0 * reach + 0.5
    bias = np.where(kind < 0.45, active, np.where(kind < 0.6, -active, free))
    for i in range(1, len(matrix)):  # rows of one direction agree in their biases now and then
        for j in range(i):
            if rng.random() < 0.7 and np.array_equal(np.abs(matrix[i]), np.abs(matrix[j])):
                same = np.array_equal(matrix[i], matrix[j])
                bias[i] = bias[j] if same else -bias[j]
    return bias
