"""Networks and domains that are small enough to enumerate and nasty enough to fool bounds.

What makes them nasty: weights that are small integers and dyadic fractions, so that
pre-activations touch 0 exactly; biases planted, by the oracle, at minus the exact maximum or
minimum of the rest, and one ulp beside it; zero, repeated, opposite and dependent rows;
magnitudes from denormal to 1e200 in one sum; boxes that are points, one ulp wide, or a million
wide; and graphs instead of chains.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from leo_cli.arrays import Floats
from leo_cli.domain import Domain, LinearConstraint, OneHot
from leo_cli.network import Dense, Layer, LinearMap, Network, Scaled, Term
from support.oracle import enumerate_patterns

Draw = st.DrawFn

# tuples, so that hypothesis makes each strategy once
SMALL = (-2.0, -1.0, -1.0, 0.0, 0.0, 1.0, 1.0, 2.0, 3.0)
DYADIC = (*SMALL, -0.5, 0.5, 0.25, -0.75, 1.5)
DECIMAL = (0.1, -0.1, 0.2, 0.3, -0.3, 0.7, -1.1, 1 / 3, -2 / 3, 1.0, 0.0)
BIG_M = (1e7, -1e7, 1.0, -1.0, 0.5, 0.0, 1e-7, -1e-7)
WIDE = (1e12, -1e12, 1e-12, -1e-12, 1.0, -1.0, 0.1, 0.0)
DENORMAL = (5e-324, -5e-324, 1e-310, -1e-310, 1e-45, -1e-45, 1.0, -1.0, 0.0)
EXTREME = (1e200, -1e200, 1e-200, -1e-200, 1.0, -1.0, 0.0)
PALETTES = (SMALL, DYADIC, DYADIC, DECIMAL, BIG_M, WIDE, DENORMAL, EXTREME)
TAME = (SMALL, DYADIC, DECIMAL)
FINITE = PALETTES[:-1]  # three layers of these stay far from the ends of float64

ROWS = ("free",) * 6 + ("zero", "duplicate", "opposite", "multiple", "sum")
BIASES = ("free",) * 5 + (
    "max",
    "min",
    "above max",
    "below max",
    "above min",
    "below min",
    "inside",
)
PLAIN = ("unit", "symmetric", "decimal", "quarter")
FEATURES = (*PLAIN, "unit", "symmetric", "point", "thin", "thin 0", "wide")


def stored(values: Floats | list[float], dtype: str) -> Floats:
    """The values rounded to what `dtype` can hold."""
    return np.asarray(values, dtype=np.float64).astype(dtype).astype(np.float64)


def beside(value: float, dtype: str, upward: bool) -> float:
    """The next number of `dtype` above or below."""
    kind = np.dtype(dtype).type
    return float(np.nextafter(kind(value), kind(np.inf if upward else -np.inf)))


@st.composite
def boxes(
    draw: Draw, inputs: int, dtype: str, kinds: tuple[str, ...] = FEATURES
) -> tuple[Floats, Floats]:
    """Lower and upper, (inputs,) each, representable in `dtype`."""
    lower, upper = np.zeros(inputs), np.zeros(inputs)
    for i in range(inputs):
        kind = draw(st.sampled_from(kinds))
        start = float(stored([draw(st.sampled_from((0.0, -1.0, 0.5, 1.0, 0.1, -3.0)))], dtype)[0])
        ends: dict[str, tuple[float, float]] = {
            "unit": (0.0, 1.0),
            "symmetric": (-1.0, 1.0),
            "decimal": (-0.1, 0.7),
            "quarter": (start, start + 0.25),
            "point": (start, start),
            "thin": (start, beside(start, dtype, upward=True)),
            "thin 0": (0.0, beside(0.0, dtype, upward=True)),
            "wide": (-1e6, 1e6),
        }
        lower[i], upper[i] = ends[kind]
    return stored(lower, dtype), stored(upper, dtype)


@st.composite
def raw_domains(
    draw: Draw, inputs: int | None = None, dtype: str | None = None, discrete: bool = True
) -> dict[str, Any]:
    """Arguments of Domain: boxes, and with `discrete` also integer features, one-hot groups and
    linear constraints. Never empty: constraints hold at a point that is chosen first."""
    inputs = draw(st.integers(1, 3)) if inputs is None else inputs
    dtype = draw(st.sampled_from(("float32", "float64"))) if dtype is None else dtype
    lower, upper = draw(boxes(inputs, dtype))
    integer = np.zeros(inputs, dtype=bool)
    raw = {"lower": lower, "upper": upper, "dtype": dtype, "integer": integer}
    if not discrete or draw(st.integers(0, 2)) > 0:
        return {**raw, "one_hot": (), "constraints": ()}
    point = np.array([draw(st.sampled_from(ends)) for ends in zip(lower, upper, strict=True)])
    groups: tuple[OneHot, ...] = ()
    if inputs >= 2 and draw(st.booleans()):
        members = np.arange(draw(st.integers(2, inputs)))
        cold = stored([draw(st.sampled_from((0.0, 0.0, -1.0, -0.3))) for _ in members], dtype)
        hot = stored(cold + draw(st.sampled_from((1.0, 1.0, 2.5, -1.0))), dtype)
        groups = (OneHot(members, cold, hot),)
        lower[members], upper[members] = np.minimum(cold, hot), np.maximum(cold, hot)
        chosen = draw(st.sampled_from(members.tolist()))
        point[members] = cold
        point[chosen] = hot[chosen]
        if draw(st.integers(0, 3)) == 0:  # the box forbids one member
            shut = draw(st.sampled_from([i for i in members.tolist() if i != chosen]))
            lower[shut] = upper[shut] = cold[shut]
    for i in range(len(groups[0].members) if groups else 0, inputs):
        if draw(st.booleans()):
            integer[i] = True
            least = draw(st.integers(-2, 1))
            most = least + draw(st.integers(0, 3))
            point[i] = draw(st.integers(least, most))
            loose = draw(st.sampled_from((0.0, 0.0, 0.25, 0.75)))  # bounds need not be integers
            lower[i], upper[i] = least - loose, most + loose
    constraints = []
    for _ in range(draw(st.integers(0, 2))):
        row = [draw(st.sampled_from((-1.0, 0.0, 1.0, 2.0))) for _ in range(inputs)]
        value = sum(Fraction(c) * Fraction(x) for c, x in zip(row, point.tolist(), strict=True))
        # an equation over features one ulp wide may have a single solution in the inputs' type
        widths = (upper - lower)[np.array(row) != 0]
        wide = bool(((widths == 0) | (widths > 2.0**-10)).all())
        op = draw(st.sampled_from(("<=", "<=", "=="))) if wide else "<="
        rhs = float(value) + (draw(st.sampled_from((0.0, 0.5, 1.0))) if op == "<=" else 0.0)
        if rhs == value or (op == "<=" and rhs > value):
            constraints.append(LinearConstraint(np.array(row), op, rhs))
    return {**raw, "one_hot": groups, "constraints": tuple(constraints)}


@st.composite
def plain_boxes(draw: Draw) -> Domain:
    """Boxes of ordinary size."""
    lower, upper = draw(boxes(draw(st.integers(1, 3)), "float32", PLAIN))
    return Domain(lower, upper)


def domains(
    inputs: int | None = None, dtype: str | None = None, discrete: bool = True
) -> st.SearchStrategy[Domain]:
    """Domains made of `raw_domains`."""
    return raw_domains(inputs, dtype, discrete).map(lambda raw: Domain(**raw))


@st.composite
def linear_maps(
    draw: Draw, out: int, into: int, palette: tuple[float, ...], dtype: str
) -> LinearMap:
    """Mostly dense; now and then a scaled selection."""
    if draw(st.integers(0, 7)) == 0:
        index = np.array([draw(st.integers(0, into - 1)) for _ in range(out)], dtype=np.int64)
        scale = [draw(st.sampled_from((1.0, 1.0, -1.0, *palette))) for _ in range(out)]
        return Scaled(index, stored(scale, dtype), into)
    matrix = np.array(
        draw(st.lists(st.sampled_from(palette), min_size=out * into, max_size=out * into))
    ).reshape(out, into)
    for i in range(out):
        kind = draw(st.sampled_from(ROWS))
        other = draw(st.integers(0, i - 1)) if i else 0
        if kind == "zero":
            matrix[i] = 0.0
        elif i and kind == "duplicate":
            matrix[i] = matrix[other]
        elif i and kind == "opposite":
            matrix[i] = -matrix[other]
        elif i and kind == "multiple":
            matrix[i] = matrix[other] * draw(st.sampled_from((0.5, 2.0, 3.0, -2.0)))
        elif i and kind == "sum":
            matrix[i] = matrix[other] + matrix[0]
    return Dense(stored(matrix, dtype))


@st.composite
def layers(
    draw: Draw,
    name: str,
    widths: list[int],
    palette: tuple[float, ...],
    dtype: str,
    relu: bool,
    chain: bool,
) -> Layer:
    """A layer behind nodes of the given widths: reads the last one, or any of them, or several."""
    width = draw(st.integers(1, 4))
    last = len(widths) - 1
    sources = [last]
    if not chain:
        sources = draw(st.lists(st.integers(0, last), min_size=1, max_size=2))
    terms = tuple(Term(s, draw(linear_maps(width, widths[s], palette, dtype))) for s in sources)
    bias = stored([draw(st.sampled_from(palette)) for _ in range(width)], dtype)
    return Layer(name, terms, bias, relu)


def _planted(draw: Draw, network: Network, domain: Domain) -> Network:
    """Biases of the last layer moved so that extremes of z are exactly 0, or one ulp away from
    it.
    """
    *before, layer = network.layers
    kinds = [draw(st.sampled_from(BIASES)) for _ in range(layer.width)]
    if all(kind == "free" for kind in kinds):
        return network
    k = len(before)
    unbiased = replace(layer, bias=np.zeros(layer.width))
    ranges = enumerate_patterns(replace(network, layers=(*before, unbiased)), domain)
    bias = layer.bias.copy()
    for j, kind in enumerate(kinds):
        low, high = ranges.range(k, j)
        if kind == "free" or max(abs(low), abs(high)) > 2**100:
            continue
        target = {"max": -high, "min": -low, "inside": -(low + high) / 2}[kind.split()[-1]]
        value = float(stored([float(target)], network.dtype)[0])
        if kind.startswith(("above", "below")):
            value = beside(value, network.dtype, upward=kind.startswith("above"))
        bias[j] = value
    return replace(network, layers=(*before, replace(layer, bias=bias)))


@st.composite
def networks_on(
    draw: Draw,
    domain: Domain,
    max_layers: int = 3,
    chain: bool | None = None,
    palettes: tuple[tuple[float, ...], ...] = PALETTES,
) -> Network:
    """A network of at most `max_layers` hidden layers and an output layer. chain: True for no
    branches, None for either."""
    palette = draw(st.sampled_from(palettes))
    dtype = "float64" if palette is EXTREME else draw(st.sampled_from(("float32", "float64")))
    is_chain = draw(st.booleans()) if chain is None else chain
    plant = draw(st.booleans())
    hidden = draw(st.integers(1, max_layers))
    network = Network(domain.inputs, (), (0,), dtype)
    for k in range(hidden + 1):
        widths = [network.width(node) for node in range(k + 1)]
        relu = draw(st.integers(0, 7)) > 0 if k < hidden else draw(st.integers(0, 7)) == 0
        layer = draw(layers(f"layer{k}", widths, palette, dtype, relu, is_chain))
        network = replace(network, layers=(*network.layers, layer))
        if plant:
            network = _planted(draw, network, domain)
    outputs: tuple[int, ...] = (hidden + 1,)
    if not is_chain and draw(st.integers(0, 3)) == 0:
        outputs = (draw(st.integers(1, hidden)), hidden + 1)
    return replace(network, outputs=outputs)


@st.composite
def networks_with_domain(
    draw: Draw,
    max_layers: int = 3,
    chain: bool | None = None,
    discrete: bool = True,
    palettes: tuple[tuple[float, ...], ...] = PALETTES,
) -> tuple[Network, Domain]:
    """A network and the domain for which its ties are planted."""
    domain = draw(domains(discrete=discrete))
    return draw(networks_on(domain, max_layers, chain, palettes)), domain


@st.composite
def small_networks(draw: Draw, max_layers: int = 3, chain: bool | None = None) -> Network:
    """A network alone."""
    return draw(networks_with_domain(max_layers, chain))[0]


@st.composite
def inexact_networks(draw: Draw) -> tuple[Network, Domain]:
    """Networks whose coefficients are known only up to declared errors."""
    network, domain = draw(networks_with_domain())
    rough = []
    for layer in network.layers:
        error = draw(st.sampled_from((0.0, 2.0**-53, 1e-7, 1e-2)))
        biases = np.abs(layer.bias) * error if draw(st.booleans()) else None
        rough.append(replace(layer, weight_error=error, bias_error=biases))
    return replace(network, layers=tuple(rough)), domain
