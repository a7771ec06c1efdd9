"""A solver that lies never leads to a removal.

Two liars: one stands where the decider "milp" stands and claims of every unit that it is
inactive, or active, or both; the other is a solver behind the real decider, which calls every
question infeasible or answers with inputs that are nonsense. What comes out is checked against
exact enumeration.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples
from support.checks import check_stability
from support.exact import difference, exact
from support.oracle import enumerate_patterns
from support.strategies import TAME, networks_with_domain

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.rewrite import RewriteOptions, Tolerance, shrink
from leo_cli.stability import Budget, ClassifyOptions, StabilityMap, State, classify, ladder
from leo_cli.stability.journal import open_journal
from leo_cli.stability.knowledge import Claim, Decider, Findings, Knowledge
from leo_cli.stability.milp import MilpOptions, UnitDecider
from leo_cli.stability.milp.model import Answer, MilpModel, Question
from leo_cli.stability.optimised import OptimisedSlopes

Rung = Callable[[ClassifyOptions, Floats], Decider]


@dataclass(frozen=True)
class Liar:
    """Claims z <= 0 (True) or z >= 0 (False), or both, of every unit that is still open."""

    claims: tuple[bool, ...]
    name: str = "milp"

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterator[Findings]:
        del budget
        for k in layers:
            units = range(knowledge.network.layers[k].width)
            claims = tuple(Claim(k, j, above, "liar") for j in units for above in self.claims)
            points = knowledge.domain.project(np.full((1, knowledge.domain.inputs), 1e30))
            yield Findings(claims=claims, points=points[knowledge.domain.contains(points)], milps=1)


@dataclass(frozen=True)
class LyingSolver:
    """Answers every question alike. size: of the nonsense; None: "infeasible"."""

    model: MilpModel
    size: float | None
    label: str = "liar 1.0"
    efforts: int = 2

    def ask(self, question: Question, effort: int, seconds: float) -> Answer:
        del question, seconds
        if self.size is None:
            return Answer(infeasible=True)
        signs = np.where(np.arange(self.model.columns) % 2 == effort % 2, 1.0, -1.0)
        return Answer(values=self.size * signs)

    def close(self) -> None: ...


def claims(*above: bool) -> Rung:
    return lambda options, points: Liar(above)


def answers(size: float | None) -> Rung:
    def open_solver(model: MilpModel, stopped: Callable[[], bool]) -> LyingSolver:
        del stopped
        return LyingSolver(model, size)

    return lambda options, points: UnitDecider(MilpOptions(open=open_solver))


LIES: dict[str, Rung] = {
    "inactive": claims(True),
    "active": claims(False),
    "both": claims(True, False),
    "infeasible": answers(None),
    "small points": answers(1e-9),
    "points": answers(0.5),
    "huge points": answers(1e300),
}
CLAIMS = ("inactive", "active", "both", "infeasible")
WITH_LIAR = st.sampled_from([("milp",), ("interval", "milp"), ("samples", "linear", "milp")])


def classified(
    network: Network, domain: Domain, lie: str, trust: bool, deciders: tuple[str, ...]
) -> StabilityMap:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ladder.RUNGS, "milp", LIES[lie])
        options = ClassifyOptions(deciders=deciders, trust_solver=trust)
        return classify(network, domain, options, Budget(time.monotonic() + 60))


@examples(50)
@given(networks_with_domain(), st.sampled_from(sorted(LIES)), WITH_LIAR)
def test_a_claim_settles_nothing(
    pair: tuple[Network, Domain], lie: str, deciders: tuple[str, ...]
) -> None:
    network, domain = pair
    found = classified(network, domain, lie, False, deciders)
    check_stability(network, domain, found, enumerate_patterns(network, domain))
    if lie in ("inactive", "active", "both"):  # these speak of every open unit
        for layer in found.layers:
            for verdict in layer.verdicts:
                if verdict.state is State.UNDECIDED:
                    assert verdict.claim.startswith("solver claims"), "the claim is not reported"


@examples(50)
@given(networks_with_domain(palettes=TAME), st.sampled_from(sorted(LIES)), WITH_LIAR)
def test_a_claim_removes_nothing(
    pair: tuple[Network, Domain], lie: str, deciders: tuple[str, ...]
) -> None:
    network, domain = pair
    found = classified(network, domain, lie, False, deciders)
    options = RewriteOptions(tolerance=Tolerance("absolute", 0.0))
    gap = difference(exact(network), exact(shrink(network, found, domain, options).network))
    ranges = enumerate_patterns(gap, domain)
    last = len(gap.layers) - 1
    assert not any(any(ranges.range(last, j)) for j in range(gap.layers[last].width))


@examples(50)
@given(networks_with_domain(), st.sampled_from(sorted(LIES)), WITH_LIAR)
def test_trust_is_marked_and_never_beats_a_witness(
    pair: tuple[Network, Domain], lie: str, deciders: tuple[str, ...]
) -> None:
    network, domain = pair
    found = classified(network, domain, lie, True, deciders)  # a hint is never a contradiction
    trusted = [v for layer in found.layers for v in layer.verdicts if v.trusted]
    for verdict in trusted:
        assert verdict.state in (State.INACTIVE, State.ACTIVE)
        assert verdict.margin == 0.0
        negative, positive = verdict.witnesses
        assert (positive if verdict.state is State.INACTIVE else negative) < 0
    # bounds behind a trusted layer may rest on the lie: all that is not marked is true
    truth = enumerate_patterns(network, domain)
    for k, layer in enumerate(found.layers):
        for j, verdict in enumerate(layer.verdicts):
            if verdict.state is not State.UNDECIDED and not verdict.trusted:
                assert verdict.state.value == truth.state(k, j)


@pytest.mark.parametrize("lie", CLAIMS)
def test_the_liar_would_do_harm_if_it_were_believed(lie: str) -> None:
    """Under --trust-solver the same lies do reach verdicts: the tests above are not empty."""
    wrong = 0

    @examples(20)
    @given(networks_with_domain(max_layers=1, palettes=TAME))
    def count(pair: tuple[Network, Domain]) -> None:
        nonlocal wrong
        network, domain = pair
        truth = enumerate_patterns(network, domain)
        found = classified(network, domain, lie, True, ("milp",))
        wrong += sum(
            verdict.trusted and verdict.state.value != truth.state(k, j)
            for k, layer in enumerate(found.layers)
            for j, verdict in enumerate(layer.verdicts)
        )

    count()
    assert wrong > 0


@pytest.mark.parametrize("lie", sorted(LIES))
def test_a_domain_of_one_point_has_no_columns(lie: str) -> None:
    # z is about 1e-5 where its terms are about 1e10: intervals leave it open.
    large = 2.0**37
    term = Term(0, Dense(np.array([[1.0, 1.0]])))
    network = Network(2, (Layer("a", (term,), np.array([-0.3 * large]), True),), (1,), "float64")
    point = np.array([0.1, 0.2]) * large
    domain = Domain(point, point, "float64")
    found = classified(network, domain, lie, False, ("milp",))
    check_stability(network, domain, found, enumerate_patterns(network, domain))


class Behind:
    """Bounds of the layers behind the first, without points that would refute the lie."""

    name = "slopes"

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterator[Findings]:
        if layers[0] > 0:
            for findings in OptimisedSlopes().decide(knowledge, layers, budget):
                yield replace(findings, points=None)


def test_a_journal_keeps_no_bound_that_rests_on_trust(tmp_path: Path) -> None:
    # z = relu(-x) + relu(x + 2) - relu(x + 2) - 1/2 is live; with relu(-x) = 0 it would not be
    first = Term(0, Dense(np.array([[-1.0], [1.0], [1.0]])))
    second = Term(1, Dense(np.array([[1.0, 1.0, -1.0]])))
    layers = (
        Layer("a", (first,), np.array([0.0, 2.0, 2.0]), relu=True),
        Layer("b", (second,), np.array([-0.5]), relu=True),
    )
    network, domain = Network(1, layers, (2,)), Domain(-np.ones(1), np.ones(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ladder.RUNGS, "milp", claims(True))
        patch.setitem(ladder.RUNGS, "slopes", lambda options, points: Behind())
        options = ClassifyOptions(deciders=("milp", "slopes"), trust_solver=True)
        with open_journal(tmp_path, "model", "domain") as journal:
            found = classify(network, domain, options, journal=journal)
    assert found.layers[0].verdicts[0].trusted
    assert found.layers[1].verdicts[0].state is State.INACTIVE
    assert found.layers[1].verdicts[0].trusted  # it rests on the lie
    with open_journal(tmp_path, "model", "domain") as journal:
        assert journal.recorded()
        again = classify(network, domain, ClassifyOptions(deciders=("samples",)), journal=journal)
    check_stability(network, domain, again, enumerate_patterns(network, domain))
