"""Records by hand that no writer would make: whatever is accepted of them is true."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from leo_cli.arrays import Floats
from leo_cli.proof.bounding import Arithmetic, Box
from leo_cli.proof.checker import Checker, Fails, Record, check_records
from leo_cli.proof.graph import Array, Net, Node, Unreadable


def chain(*layers: tuple[Sequence[Sequence[float]], Sequence[float]]) -> Net:
    """Layers with a ReLU, and the sum of the last one's units."""
    nodes = [Node("input", {}, np.zeros(len(layers[0][0][0])), False)]
    for k, (rows, bias) in enumerate(layers):
        nodes.append(Node(f"layer{k}", {k: np.array(rows, float)}, np.array(bias, float), True))
    ones = np.ones((1, len(nodes[-1].bias)))
    nodes.append(Node("sum", {len(layers): ones}, np.zeros(1), False))
    return Net(nodes, [len(layers) + 1], (), "hash")


def beginning(
    lower: Array,
    upper: Array,
    integer: Array | None = None,
    groups: Sequence[tuple[Array, Array]] = (),
) -> Record:
    arrays = {"lower": lower, "upper": upper}
    arrays["integer"] = np.zeros(len(lower)) if integer is None else integer
    for g, (members, values) in enumerate(groups):
        arrays |= {f"members{g}": members, f"values{g}": values}
    values = {"version": 4, "in": "hash", "out": "hash", "groups": len(groups)}
    return Record("begin", values, arrays)


def ending(net: Net, *states: Sequence[int]) -> list[Record]:
    """Verdicts of each node with a ReLU, without points; and the outputs."""
    points = {"points": np.zeros((0, len(net.nodes[0].bias)))}
    given = {f"states{k}": np.array(state) for k, state in enumerate(states, 1)}
    outputs = Record("outputs", {}, {"deviation": np.zeros(1)})
    return [Record("verdicts", {}, points | given), outputs]


def checked(net: Net, *records: Record, box: Box | None = None) -> Checker:
    return check_records(net, net, iter(records), box)


ONE = chain(([[1.0]], [-1.5]))


@pytest.mark.parametrize(
    "groups",
    [
        [(np.array([0]), np.ones((1, 1))), (np.array([0]), np.ones((1, 1)))],
        [(np.array([0, 0]), np.ones((1, 2)))],
    ],
)
def test_a_feature_belongs_to_one_group_once(groups: list[tuple[Array, Array]]) -> None:
    begin = beginning(np.zeros(1), np.ones(1), groups=groups)
    with pytest.raises(Fails, match="group"):  # or x would count twice, and x - 1.5 be active
        checked(ONE, begin, *ending(ONE, [1]))


def test_a_proof_without_points_can_be_about_groups() -> None:
    begin = beginning(np.zeros(1), np.ones(1), groups=[(np.array([0]), np.array([[0.0], [1.0]]))])
    assert checked(ONE, begin, *ending(ONE, [0])).counts["inactive"] == 1


@pytest.mark.parametrize(("dtype", "big"), [("f2", 2.0**11), ("f4", 2.0**24), ("f8", 2.0**52)])
def test_a_cut_between_integers_loses_none_of_them(dtype: str, big: float) -> None:
    # a hat over big + 1, which the numbers of a short type do not have
    net = chain(([[1.0]] * 3, [-big, -big - 1, -big - 2]), ([[1.0, -2.0, 1.0]], [-0.5]))
    ends = np.array([big], dtype), np.array([big + 2], dtype)
    begin = beginning(*ends, integer=np.ones(1))
    nothing = np.zeros((0, 4), np.int64)
    cut = {"parts": np.array([[0, 0, 0]]), "cut": np.array([big + 1]), "rows": nothing}
    leaves = {"parts": np.array([[-1, 0, 3]] * 2), "cut": np.zeros(2), "rows": nothing}
    tree = Record("tree", {"node": 2, "hints": 0}, cut), Record("tree", {"hints": 0}, leaves)
    with pytest.raises(Fails, match="layer1"):
        checked(net, begin, *tree, *ending(net, [3, 3, 3], [0]))


@pytest.mark.parametrize("turned", [False, True])
def test_rounding_counts_where_its_bound_is_too_small_for_a_float(turned: bool) -> None:
    """p W rounds to 0, and is not; sizes of z are so small that gamma m vanishes."""
    eps = 2.0**-52
    p = np.array([[2.0**1000 * (1 + eps), -(2.0**1000)]])
    w = np.array([[2.0**-450 * (1 + eps)], [2.0**-450 * (1 + 2 * eps)]])
    p, w = (p[:, ::-1], w[::-1]) if turned else (p, w)
    net = chain(([[2.0**-600]], [0.0]), (w.tolist(), [0.0, 0.0]), (p.tolist(), [-(2.0**-160)]))
    rows = zip(p[0].tolist(), w[:, 0].tolist(), strict=True)
    slope = sum(Fraction(a) * Fraction(b) for a, b in rows)
    assert slope * Fraction(2) ** -600 > Fraction(2) ** -160  # it is not inactive
    checker = Checker(net, None, Box(np.zeros(1), np.ones(1), np.zeros(1, bool)), Arithmetic())
    checker.advance(4)
    assert checker.upper[3][0] > 0


def odd_domains() -> list[tuple[Floats, Floats, Array]]:
    low, high, whole = np.zeros(1), np.ones(1), np.zeros(1)
    return [
        (np.array(0.0), high, whole),
        (low, np.array(1.0), whole),
        (np.zeros(2), high, whole),
        (low[:, None], high, whole),
        (low, high, np.zeros(3)),
        (low, high, np.array(0.0)),
        (np.array([np.nan]), high, whole),
        (low, np.array([np.inf]), whole),
        (np.array(["a"]), high, whole),
        (np.array([None]), high, whole),
    ]


@pytest.mark.parametrize("at", range(len(odd_domains())))
def test_odd_domains_are_refused(at: int) -> None:
    low, high, whole = odd_domains()[at]
    arrays = {"lower": low, "upper": high, "integer": whole}
    begin = Record("begin", {"version": 4, "in": "hash", "out": "hash", "groups": 0}, arrays)
    for box in (None, Box(np.zeros(1), np.ones(1), np.zeros(1, bool))):
        with pytest.raises((Fails, Unreadable)):
            checked(ONE, begin, *ending(ONE, [3]), box=box)


def test_no_records_are_no_proof() -> None:
    with pytest.raises((Fails, Unreadable)):
        checked(ONE)
