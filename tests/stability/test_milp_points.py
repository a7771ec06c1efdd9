"""Points next to a solver's values: always of the domain, exactly, or none."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support import examples
from support.checks import inside as exactly_inside
from support.exact import exact, rational
from support.strategies import domains, networks_with_domain

from leo_cli.domain import Domain, LinearConstraint
from leo_cli.network import Network
from leo_cli.stability.milp.points import inside, shown


@examples(80)
@given(domains(), st.randoms(use_true_random=False))
def test_points_are_of_the_domain(domain: Domain, rng: object) -> None:
    width = domain.upper - domain.lower + 1.0
    for slack in (0.0, 1e-9, 1e-6, 1.0):
        noise = np.array([rng.uniform(-slack, slack) for _ in width])  # type: ignore[attr-defined]
        start = domain.feasible_point() + noise * width
        found = inside(domain, start)
        if found is not None:
            assert exactly_inside(domain, rational(found[None])[0])
        if slack == 0.0 or not domain.constraints:
            assert found is not None


def test_a_constraint_that_is_missed_by_a_tolerance_is_repaired() -> None:
    plane = LinearConstraint(np.ones(3), "<=", 1.5)
    domain = Domain(np.zeros(3), np.ones(3), constraints=(plane,))
    found = inside(domain, np.array([1.0, 0.5, 2e-8]))
    assert found is not None and domain.contains(found[None])[0]
    assert np.abs(found - [1.0, 0.5, 0.0]).max() < 1e-3


@examples(100)
@given(networks_with_domain(discrete=False))
def test_signs_that_are_shown_are_true(pair: tuple[Network, Domain]) -> None:
    network, domain = pair
    with np.errstate(all="ignore"):
        point = domain.feasible_point()
        signs = shown(network, point, tuple(range(len(network.layers))))
    z = exact(network).pre_activations(rational(point[None])[0])
    for k, layer in signs.items():
        for j in range(len(layer.positive)):
            assert not layer.sees(j, True) or z[k][j] > 0
            assert not layer.sees(j, False) or z[k][j] < 0
            if z[k][j] == 0:
                assert not layer.positive[j] and not layer.negative[j]
