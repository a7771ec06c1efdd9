"""Classification against exact enumeration: no wrong inactive, active or unstable, ever.

Each decider is tried alone and all together, on networks whose ties at 0 are exact or one ulp
off. The time limit of a run is short on purpose: what a limit cuts off must be undecided, never
wrong.
"""

import time
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples
from support.checks import check_stability, nearly_touches_zero, undecided_units
from support.exact import exact
from support.oracle import enumerate_patterns
from support.strategies import (
    TAME,
    inexact_networks,
    networks_on,
    networks_with_domain,
    plain_boxes,
)

from leo_cli.bounds import slopes
from leo_cli.domain import Domain, LinearConstraint
from leo_cli.errors import DomainError
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.stability import (
    Budget,
    ClassifyOptions,
    StabilityMap,
    State,
    box_bounds,
    classify,
    cover,
    ladder,
)
from leo_cli.stability.split import InputSplitting
from leo_cli.stability.verdict import Verdict

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflow is meant to happen

SECONDS = 0.1  # of one classification; enough for most that is not a tie
OWN = ("samples", "interval", "linear", "ascent", "slopes", "split", "branch")


def run(
    network: Network,
    domain: Domain,
    deciders: tuple[str, ...] | None,
    seconds: float = SECONDS,
    jobs: int = 1,
    trust: bool = False,
    seed: int = 0,
) -> StabilityMap:
    options = ClassifyOptions(deciders=deciders, trust_solver=trust, seed=seed)
    return classify(network, domain, options, Budget(time.monotonic() + seconds, jobs=jobs))


@pytest.mark.parametrize("decider", OWN)
def test_each_decider_alone_is_never_wrong(decider: str) -> None:
    @examples(40)
    @given(networks_with_domain())
    def holds(pair: tuple[Network, Domain]) -> None:
        network, domain = pair
        found = run(network, domain, (decider,))
        check_stability(network, domain, found, enumerate_patterns(network, domain))

    holds()


@examples(80)
@given(networks_with_domain())
def test_all_deciders_together_are_never_wrong(pair: tuple[Network, Domain]) -> None:
    network, domain = pair
    found = run(network, domain, OWN)
    check_stability(network, domain, found, enumerate_patterns(network, domain))


@examples(60)
@given(networks_with_domain(max_layers=2), st.integers(0, 2**31 - 1))
def test_the_default_ladder_is_never_wrong(pair: tuple[Network, Domain], seed: int) -> None:
    network, domain = pair
    found = run(network, domain, None, seed=seed)
    check_stability(network, domain, found, enumerate_patterns(network, domain))


@examples(5)
@given(networks_with_domain(max_layers=2))
def test_the_solver_alone_is_never_wrong(pair: tuple[Network, Domain]) -> None:
    network, domain = pair
    truth = enumerate_patterns(network, domain)
    check_stability(network, domain, run(network, domain, ("milp",), seconds=0.8), truth)
    # A trusted claim may be wrong; whatever is not marked as trusted may not.
    trusting = run(network, domain, ("milp",), seconds=0.8, trust=True)
    check_stability(network, domain, trusting, truth, trusting=True)


@examples(40)
@given(inexact_networks(), st.randoms(use_true_random=False))
def test_verdicts_hold_for_all_that_declared_errors_allow(
    pair: tuple[Network, Domain], errors: object
) -> None:
    network, domain = pair
    real = exact(network, errors)  # type: ignore[arg-type]
    found = run(network, domain, OWN)
    check_stability(network, domain, found, enumerate_patterns(real, domain), real)


@examples(20)
@given(networks_with_domain())
def test_deciders_do_not_contradict_each_other(pair: tuple[Network, Domain]) -> None:
    network, domain = pair
    known: dict[tuple[int, int], Verdict] = {}
    for deciders in (("interval",), ("samples", "linear"), ("split",), ("slopes", "branch"), OWN):
        found = run(network, domain, deciders)
        for k, layer in enumerate(found.layers):
            for j, verdict in enumerate(layer.verdicts):
                if verdict.state is not State.UNDECIDED:
                    first = known.setdefault((k, j), verdict)
                    assert first.state is verdict.state, f"{first.by} against {verdict.by}"


def settled(found: StabilityMap) -> list[list[str]]:
    return [[verdict.state.value for verdict in layer.verdicts] for layer in found.layers]


@examples(15)
@given(networks_with_domain(max_layers=2, palettes=TAME))
def test_verdicts_do_not_depend_on_jobs(pair: tuple[Network, Domain]) -> None:
    network, domain = pair
    with pytest.MonkeyPatch.context() as patch:
        # blocks so small that threads share the work, and an end that does not depend on time
        patch.setattr(slopes, "BLOCK", 2)
        patch.setattr(box_bounds, "ROWS", 3)
        patch.setattr(cover, "CHUNK", 2)
        patch.setattr(ladder, "InputSplitting", partial(InputSplitting, most_boxes=300))
        one, three = (run(network, domain, OWN, np.inf, jobs) for jobs in (1, 3))
    assert settled(one) == settled(three)
    for first, second in zip(one.layers, three.layers, strict=True):
        assert np.array_equal(first.lower, second.lower)
        assert np.array_equal(first.upper, second.upper)


def test_only_ties_stay_undecided() -> None:
    """On boxes and magnitudes that float64 can tell apart, time decides all but ties."""
    ties, units = 0, 0

    @examples(60)
    @given(st.data())
    def count(data: st.DataObject) -> None:
        nonlocal ties, units
        domain = data.draw(plain_boxes())
        network = data.draw(networks_on(domain, 2, palettes=TAME))
        truth = enumerate_patterns(network, domain)

        def missing(found: StabilityMap) -> list[tuple[int, int]]:
            open_units = undecided_units(found)
            return [unit for unit in open_units if not nearly_touches_zero(truth, *unit)]

        found = run(network, domain, OWN)
        units += sum(check_stability(network, domain, found, truth).values())
        ties += len(undecided_units(found)) - len(missing(found))
        if missing(found):
            left = missing(run(network, domain, OWN, seconds=20))
            assert not left, f"undecided without a tie, as (layer, unit): {left}"

    count()
    assert 0 < ties < units / 2


def test_a_domain_without_a_point_is_refused() -> None:
    # x + y <= -1 on the unit square: everything would be proved of it.
    layer = Layer("a", (Term(0, Dense(np.ones((1, 2)))),), np.zeros(1), relu=True)
    nowhere = LinearConstraint(np.ones(2), "<=", -1.0)
    with pytest.raises(DomainError):
        run(
            Network(2, (layer,), (1,)),
            Domain(np.zeros(2), np.ones(2), constraints=(nowhere,)),
            OWN,
        )
