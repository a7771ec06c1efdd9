"""The oracle against cases done by hand, dense samples, and the area that regions must cover."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leo_cli.domain import Domain, LinearConstraint, OneHot
from leo_cli.network import Dense, Layer, Network, Scaled, Term
from support import examples
from support.exact import Point, difference, exact, rational
from support.oracle import TooLargeError, enumerate_patterns
from support.strategies import domains, networks_on, networks_with_domain, small_networks


def chain(*layers: tuple[list[list[float]], list[float]]) -> Network:
    """ReLU layers and a linear last one, from (matrix, bias)."""
    built = tuple(
        Layer(f"l{k}", (Term(k, Dense(np.array(w))),), np.array(b), relu=k < len(layers) - 1)
        for k, (w, b) in enumerate(layers)
    )
    return Network(len(layers[0][0][0]), built, (len(built),))


def box(*sides: tuple[float, float]) -> Domain:
    return Domain(np.array([a for a, _ in sides]), np.array([b for _, b in sides]), "float64")


def test_absolute_value_is_known_exactly() -> None:
    # z = relu(x) + relu(-x) - 1/3 as stored: its minimum is inside the box.
    third = 1 / 3
    net = chain(([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [-third]), ([[1.0]], [0.0]))
    net = Network(
        1, (net.layers[0], Layer("l1", net.layers[1].terms, net.layers[1].bias, True)), (2,)
    )
    found = enumerate_patterns(net, box((-1, 2)))
    assert found.range(1, 0) == (-Fraction(third), 2 - Fraction(third))
    assert found.lower[1][0].point == (Fraction(0),)
    assert found.upper[1][0].point == (Fraction(2),)
    assert [found.state(0, j) for j in range(2)] == ["unstable", "unstable"]


@pytest.mark.parametrize(
    ("bias", "state"),
    [(-2.0, "inactive"), (2.0, "active"), (0.0, "unstable"), (np.nextafter(-2, 0), "unstable"),
     (np.nextafter(-2, -3), "inactive"), (np.nextafter(2, 0), "unstable")],
)  # fmt: skip
def test_ties_at_zero_and_one_ulp_beside(bias: float, state: str) -> None:
    net = chain(([[1.0, -1.0]], [bias]), ([[1.0]], [0.0]))
    assert enumerate_patterns(net, box((-1, 1), (-1, 1))).state(0, 0) == state


def test_a_unit_that_is_zero_everywhere_is_inactive() -> None:
    net = chain(([[0.0]], [0.0]), ([[1.0]], [0.0]))
    assert enumerate_patterns(net, box((-1, 1))).state(0, 0) == "inactive"


def test_a_point_has_one_region_and_one_value() -> None:
    net = chain(([[1.0, 2.0]], [0.5]), ([[3.0]], [0.0]))
    found = enumerate_patterns(net, box((1, 1), (-1, -1)))
    assert found.regions == (((Fraction(1), Fraction(-1)),),)
    assert found.range(0, 0) == (Fraction(-1, 2), Fraction(-1, 2))


def test_discrete_features_and_constraints_shrink_the_range() -> None:
    net = chain(([[1.0, 1.0, 1.0]], [0.0]), ([[1.0]], [0.0]))
    one_hot = OneHot(np.array([0, 1]), np.array([0.0, -1.0]), np.array([2.0, 3.0]))
    grouped = Domain(
        np.array([0.0, -1, -1]), np.array([2.0, 3, 1]), "float64", np.zeros(3, bool), (one_hot,)
    )
    assert enumerate_patterns(net, grouped).range(0, 0) == (Fraction(0), Fraction(4))
    half = LinearConstraint(np.array([0.0, 0, 2]), "==", 1.0)
    tied = Domain(grouped.lower, grouped.upper, "float64", grouped.integer, (one_hot,), (half,))
    assert enumerate_patterns(net, tied).range(0, 0) == (Fraction(3, 2), Fraction(7, 2))
    whole = Domain(
        grouped.lower, grouped.upper, "float64", np.array([False, False, True]), (one_hot,), (half,)
    )
    assert enumerate_patterns(net, whole).empty


def test_a_constraint_cuts_a_corner_off() -> None:
    net = chain(([[1.0, 1.0]], [-1.5]), ([[1.0]], [0.0]))
    cut = LinearConstraint(np.array([1.0, 1.0]), "<=", 1.5)
    square = box((0, 1), (0, 1))
    assert enumerate_patterns(net, square).state(0, 0) == "unstable"
    domain = Domain(square.lower, square.upper, "float64", constraints=(cut,))
    assert enumerate_patterns(net, domain).state(0, 0) == "inactive"


def test_a_graph_with_a_sum_a_branch_and_a_selection() -> None:
    first = Layer("a", (Term(0, Dense(np.array([[1.0], [-1.0]]))),), np.zeros(2), relu=True)
    second = Layer(
        "b",
        (Term(1, Scaled(np.array([0]), np.array([2.0]), 2)), Term(0, Dense(np.array([[-3.0]])))),
        np.zeros(1),
        relu=False,
    )  # 2 relu(x) - 3 x: from 3 at -1 down to -1 at 1
    net = Network(1, (first, second), (1, 2))
    found = enumerate_patterns(net, box((-1, 1)))
    assert found.range(1, 0) == (Fraction(-1), Fraction(3))
    assert exact(net).evaluate((Fraction(1, 2),)) == [Fraction(1, 2), 0, Fraction(-1, 2)]


def test_difference_of_two_networks_is_exact() -> None:
    one = chain(([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, -1.0]], [0.0]))  # relu(x) - relu(-x) = x
    two = chain(([[1.0]], [1.0]), ([[1.0]], [-1.0]))  # relu(x + 1) - 1 = x from -1 on
    gap = difference(exact(one), exact(two))
    assert enumerate_patterns(gap, box((-1, 5))).range(len(gap.layers) - 1, 0) == (
        Fraction(0),
        Fraction(0),
    )
    assert enumerate_patterns(gap, box((-3, 5))).range(len(gap.layers) - 1, 0) == (
        Fraction(-2),
        Fraction(0),
    )


def test_too_many_regions_are_refused() -> None:
    net = chain(([[1.0], [1.0], [1.0]], [0.0, -1.0, 1.0]), ([[1.0, 1.0, 1.0]], [0.0]))
    with pytest.raises(TooLargeError):
        enumerate_patterns(net, box((-2, 2)), max_regions=3)


@examples(40)
@given(networks_with_domain(), st.integers(0, 2**32))
def test_extremes_are_attained_and_samples_stay_within(
    pair: tuple[Network, Domain], seed: int
) -> None:
    network, domain = pair
    net, found = exact(network), enumerate_patterns(network, domain)
    assert not found.empty
    for k, layer in enumerate(network.layers):
        for j in range(layer.width):
            for end in (found.lower[k][j], found.upper[k][j]):
                assert net.pre_activations(end.point)[k][j] == end.value
    rng = np.random.default_rng(seed)
    for point in [*mixtures(found.regions, rng), *found.vertices[:10]]:
        for k, z in enumerate(net.pre_activations(point)):
            for j, value in enumerate(z):
                low, high = found.range(k, j)
                assert low <= value <= high


@examples(50)
@given(networks_with_domain(discrete=False), st.integers(0, 2**32))
def test_random_points_of_a_box_stay_within(pair: tuple[Network, Domain], seed: int) -> None:
    network, domain = pair
    net, found = exact(network), enumerate_patterns(network, domain)
    at = np.random.default_rng(seed).random((20, domain.inputs))
    for share in rational(at):
        low, high = rational(np.array([domain.lower, domain.upper]))
        point = [a + s * (b - a) for a, b, s in zip(low, high, share, strict=True)]
        for k, z in enumerate(net.pre_activations(point)):
            for j, value in enumerate(z):
                assert found.range(k, j)[0] <= value <= found.range(k, j)[1]


@examples(50)
@given(st.data())
def test_regions_cover_the_box_and_hold_one_pattern_each(data: st.DataObject) -> None:
    domain = data.draw(domains(inputs=2, discrete=False))
    network = data.draw(networks_on(domain))
    net, found = exact(network), enumerate_patterns(network, domain)
    sides = [Fraction(b) - Fraction(a) for a, b in zip(domain.lower, domain.upper, strict=True)]
    assert sum(area(region) for region in found.regions) == sides[0] * sides[1]
    for region in found.regions:
        values = [net.pre_activations(v) for v in region]
        for k, layer in enumerate(network.layers):
            for j in range(layer.width if layer.relu else 0):
                signs = {(z[k][j] > 0) - (z[k][j] < 0) for z in values}
                assert not {-1, 1} <= signs


@examples(40)
@given(small_networks(), st.integers(0, 2**32))
def test_float_evaluation_agrees_where_it_is_exact(network: Network, seed: int) -> None:
    # Small integers: no rounding happens, so any disagreement is one of structure.
    rounded = Network(
        network.inputs, tuple(map(_integral, network.layers)), network.outputs, network.dtype
    )
    x = np.random.default_rng(seed).integers(-3, 4, (5, network.inputs)).astype(float)
    outputs = np.concatenate(rounded.evaluate(x), axis=1)
    for point, expected in zip(rational(x), outputs.tolist(), strict=True):
        assert exact(rounded).evaluate(point) == expected


def _integral(layer: Layer) -> Layer:
    terms = tuple(
        Term(t.source, Dense(np.sign(np.array(t.map.rows(slice(None)))))) for t in layer.terms
    )
    return Layer(layer.name, terms, np.sign(layer.bias), layer.relu)


def mixtures(regions: tuple[tuple[Point, ...], ...], rng: np.random.Generator) -> list[Point]:
    """A random convex combination of the vertices of each of up to 20 regions."""
    result = []
    for region in regions[:20]:
        shares = [Fraction(int(v)) for v in rng.integers(1, 10, len(region))]
        coordinates = zip(*region, strict=True)
        result.append(
            tuple(
                sum(s * x for s, x in zip(shares, c, strict=True)) / sum(shares)
                for c in coordinates
            )
        )
    return result


def area(region: tuple[Point, ...]) -> Fraction:
    """Of the convex hull of points in the plane (monotone chain, exact)."""
    points = sorted(set(region))
    hull: list[Point] = []
    for path in (points, points[::-1]):
        start = len(hull)
        for p in path:
            while len(hull) >= start + 2 and _turn(hull[-2], hull[-1], p) <= 0:
                hull.pop()
            hull.append(p)
        hull.pop()
    pairs = zip(hull, hull[1:] + hull[:1], strict=True)
    return abs(sum((a[0] * b[1] - a[1] * b[0] for a, b in pairs), start=Fraction(0))) / 2


def _turn(a: Point, b: Point, c: Point) -> Fraction:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
