"""Rewritten networks against the originals, as exact functions over the whole domain.

The difference of two small networks is a small network: the oracle gives its exact range over the
domain, so that "equal" and "within the deviation" are decided, not sampled. Verdicts come from
the oracle, which knows every tie, so that all that can be rewritten is; and from `classify`, as
in a real run.
"""

import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples
from support.checks import check_bounds, perfect_stability
from support.exact import ExactNetwork, difference, exact
from support.oracle import Exact, enumerate_patterns
from support.strategies import FINITE, TAME, domains, networks_on, networks_with_domain

from leo_cli.domain import Domain
from leo_cli.network import Network
from leo_cli.rewrite import REWRITES, RewriteOptions, Shrunk, Tolerance, shrink
from leo_cli.stability import Budget, ClassifyOptions, classify

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflow is meant to happen

TOLERANCES = (
    Tolerance("absolute", 0.0),
    Tolerance(),
    Tolerance("absolute", 1e-3),
    Tolerance("relative", 1e-2),
    Tolerance("absolute", 10.0),
)


def check_distance(
    first: ExactNetwork, second: ExactNetwork, domain: Domain, deviation: list[float]
) -> None:
    """The exact distance of the outputs over the domain is within the deviation."""
    gap = difference(first, second)
    found = enumerate_patterns(gap, domain)
    last = len(gap.layers) - 1
    for component, allowed in enumerate(deviation):
        low, high = found.range(last, component)
        distance = max(-low, high)
        assert distance <= allowed, (
            f"output {component} moves by {float(distance)!r}, not {allowed!r}"
        )


def check_stored(network: Network) -> None:
    """Every coefficient is a number of the type that it will be stored in."""
    for layer in network.layers:
        for values in (layer.bias, *(t.map.rows(slice(None)) for t in layer.terms)):
            with np.errstate(over="ignore"):
                again = values.astype(network.dtype).astype(np.float64)
            assert np.array_equal(again, values), f"{layer.name}: not in {network.dtype}"


def check_shrunk(
    network: Network, domain: Domain, tolerance: Tolerance, result: Shrunk, truth: Exact
) -> None:
    stored = exact(network)
    widths = [network.width(node) for node in network.outputs]
    assert [result.network.width(node) for node in result.network.outputs] == widths
    assert result.network.inputs == network.inputs
    check_stored(result.network)
    assert (result.deviation >= 0).all()
    assert (result.deviation <= result.allowance).all()
    if tolerance.is_zero:
        assert not result.deviation.any()
    check_distance(stored, exact(result.network), domain, result.deviation.tolist())
    check_allowance(network, tolerance, result, truth)
    before = stored
    for step in result.steps:
        after = exact(step.network)
        check_distance(before, after, domain, step.deviation.tolist())
        ranges = enumerate_patterns(after, domain)
        for k, (low, high) in enumerate(zip(step.lower, step.upper, strict=True)):
            check_bounds(low.tolist(), high.tolist(), ranges, k)
        before = after


def check_allowance(network: Network, tolerance: Tolerance, result: Shrunk, truth: Exact) -> None:
    """What is allowed never exceeds what the exact magnitude of the outputs gives."""
    component = 0
    for node in network.outputs:
        layer = network.layers[node - 1]
        for j in range(layer.width):
            low, high = truth.range(node - 1, j)
            size = max(high, Fraction(0) if layer.relu else -low)
            allowed = result.allowance[component]
            if tolerance.kind == "relative":
                assert allowed <= size * Fraction(tolerance.value)
            elif tolerance.kind != "absolute" and size < 2**100:
                rounded = np.dtype(network.dtype).type(float(size))
                assert allowed <= 0.5 * float(np.spacing(rounded))
            component += 1


@examples(50)
@given(networks_with_domain(palettes=FINITE), st.sampled_from(TOLERANCES))
def test_shrink_stays_within_the_deviation(
    pair: tuple[Network, Domain], tolerance: Tolerance
) -> None:
    network, domain = pair
    truth = enumerate_patterns(network, domain)
    result = shrink(
        network, perfect_stability(network, truth), domain, RewriteOptions(tolerance=tolerance)
    )
    check_shrunk(network, domain, tolerance, result, truth)


@examples(50)
@given(st.data(), st.sampled_from(TOLERANCES))
def test_shrink_of_ordinary_chains(data: st.DataObject, tolerance: Tolerance) -> None:
    domain = data.draw(domains())
    network = data.draw(networks_on(domain, 2, chain=True, palettes=TAME))
    truth = enumerate_patterns(network, domain)
    result = shrink(
        network, perfect_stability(network, truth), domain, RewriteOptions(tolerance=tolerance)
    )
    check_shrunk(network, domain, tolerance, result, truth)


@pytest.mark.parametrize("name", REWRITES)
def test_each_rewrite_alone_stays_within_its_deviation(name: str) -> None:
    @examples(12)
    @given(networks_with_domain(max_layers=2, palettes=FINITE), st.sampled_from(TOLERANCES))
    def holds(pair: tuple[Network, Domain], tolerance: Tolerance) -> None:
        network, domain = pair
        truth = enumerate_patterns(network, domain)
        options = RewriteOptions(tolerance=tolerance, rewrites=(name,))
        result = shrink(network, perfect_stability(network, truth), domain, options)
        assert {step.rewrite for step in result.steps} <= {name}
        check_shrunk(network, domain, tolerance, result, truth)

    holds()


@examples(50)
@given(networks_with_domain(palettes=FINITE), st.sampled_from(TOLERANCES))
def test_classify_and_shrink_keep_the_function(
    pair: tuple[Network, Domain], tolerance: Tolerance
) -> None:
    network, domain = pair
    deciders = ("samples", "interval", "linear", "slopes", "branch")
    options = ClassifyOptions(deciders=deciders)
    stability = classify(network, domain, options, Budget(time.monotonic() + 0.1))
    result = shrink(network, stability, domain, RewriteOptions(tolerance=tolerance))
    check_shrunk(network, domain, tolerance, result, enumerate_patterns(network, domain))
