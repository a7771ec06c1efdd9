"""One MILP a unit and direction: right with an honest solver, harmless with any other."""

import random
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pulp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from milp_solvers import (
    Scripted,
    claims_everything,
    in_this_process,
    lower_corner,
    lying,
    nothing_found,
)
from support import examples
from support.checks import inside
from support.exact import exact, rational
from support.oracle import Exact, enumerate_patterns
from support.strategies import TAME, domains, networks_on

from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.stability.bounding import Intervals
from leo_cli.stability.budget import Budget
from leo_cli.stability.knowledge import Findings, Knowledge
from leo_cli.stability.milp import MilpOptions, NetworkDecider, UnitDecider
from leo_cli.stability.milp.model import Answer, MilpModel, Question
from leo_cli.stability.milp.unit import window
from leo_cli.stability.replay import replay

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # overflow is meant to happen
]

CBC = in_this_process()
MODEST = 10.0  # inputs of a million times a solver's tolerance are not known to any useful digit


def bounded(network: Network, domain: Domain) -> Knowledge:
    knowledge = Knowledge.start(network, domain)
    for k in range(len(network.layers)):
        for findings in Intervals().decide(knowledge, (k,), Budget()):
            knowledge = knowledge.learn(findings, None, "interval")
    return knowledge


def learn(knowledge: Knowledge, findings: Iterable[Findings]) -> Knowledge:
    for found in findings:
        points = found.points
        replayed = None if points is None else replay(knowledge, points)
        knowledge = knowledge.learn(found, replayed, "milp")
    return knowledge


def check(knowledge: Knowledge, before: Knowledge, truth: Exact) -> int:
    """Every witness is one, every bound is as before; returns the number of questions answered."""
    net, domain = exact(knowledge.network), knowledge.domain
    points = rational(knowledge.witnesses)
    assert all(inside(domain, point) for point in points)
    signs = [net.pre_activations(point) for point in points]
    answered = 0
    for k in knowledge.network.relu_layers:
        assert np.array_equal(knowledge.lower[k], before.lower[k])
        assert np.array_equal(knowledge.upper[k], before.upper[k])
        for j in range(knowledge.network.layers[k].width):
            for above, row in ((True, knowledge.positive[k][j]), (False, knowledge.negative[k][j])):
                if row >= 0:
                    answered += 1
                    assert (signs[row][k][j] > 0) if above else (signs[row][k][j] < 0)
    return answered


def right_and_clear(truth: Exact, k: int, j: int, above: bool) -> Fraction:
    """How far the sign asked for is attained: positive where there is a witness."""
    low, high = truth.range(k, j)
    return high if above else -low


@pytest.mark.parametrize("decider", [UnitDecider, NetworkDecider])
def test_an_honest_solver_answers_every_clear_question(decider: type) -> None:
    asked = 0

    @examples(25)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        nonlocal asked
        domain = data.draw(domains().filter(lambda d: d.magnitude.max() <= MODEST))
        network = data.draw(networks_on(domain, 2, palettes=TAME))
        before = bounded(network, domain)
        truth = enumerate_patterns(network, domain)
        layers = network.relu_layers
        found = list(decider(MilpOptions(open=CBC)).decide(before, layers, Budget()))
        knowledge = learn(before, found)
        check(knowledge, before, truth)
        assert all(not findings.bounds for findings in found)
        for k in layers:
            for j in range(network.layers[k].width):
                for above in (True, False):
                    attained = right_and_clear(truth, k, j, above)
                    is_open = (knowledge.open_above if above else knowledge.open_below)(k)[j]
                    claimed = (k, j, above) in knowledge.claims
                    scale = max(abs(end) for end in truth.range(k, j))
                    asked += 1
                    bound = abs(float((before.upper if above else before.lower)[k][j]))
                    # too near 0 to ask; or a solver may see inputs just outside a linear constraint
                    unclear = bound <= 1e-5 or domain.constraints
                    if is_open and not unclear and attained <= -1e-4 * (1 + scale):
                        # a unit is claimed once: inactive, else active
                        assert claimed or (k, j, True) in knowledge.claims
                    elif attained > 1e-3 * (1 + scale):
                        assert not claimed, f"claims what {float(attained)} refutes"
                        inactive = (k, j, True) in knowledge.claims
                        assert not is_open or inactive

    holds()
    assert asked > 100


NUMBERS = random.Random(5)
LIES = {
    "infeasible": (pulp.LpStatusInfeasible, pulp.LpSolutionInfeasible, lambda: None),
    "infeasible with values": (pulp.LpStatusInfeasible, pulp.LpSolutionInfeasible, lambda: 0.5),
    "optimal without values": (pulp.LpStatusOptimal, pulp.LpSolutionOptimal, lambda: None),
    "optimal at 0": (pulp.LpStatusOptimal, pulp.LpSolutionOptimal, lambda: 0.0),
    "optimal far outside": (pulp.LpStatusOptimal, pulp.LpSolutionOptimal, lambda: 1e300),
    "optimal NaN": (pulp.LpStatusOptimal, pulp.LpSolutionOptimal, lambda: float("nan")),
    "optimal text": (pulp.LpStatusOptimal, pulp.LpSolutionOptimal, lambda: "0.5"),
    "timed out": (
        pulp.LpStatusOptimal,
        pulp.LpSolutionIntegerFeasible,
        lambda: NUMBERS.uniform(-3, 3),
    ),
    "unbounded": (pulp.LpStatusUnbounded, pulp.LpSolutionUnbounded, lambda: 1.0),
    "not solved": (pulp.LpStatusNotSolved, pulp.LpSolutionNoSolutionFound, lambda: 1.0),
    "undefined": (pulp.LpStatusUndefined, pulp.LpSolutionNoSolutionFound, lambda: -1.0),
}


@pytest.mark.parametrize("decider", [UnitDecider, NetworkDecider])
@pytest.mark.parametrize("lie", LIES)
def test_a_lying_solver_leads_to_claims_at_most(lie: str, decider: type) -> None:
    @examples(8)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        domain = data.draw(domains())
        network = data.draw(networks_on(domain, 2))
        before = bounded(network, domain)
        options = MilpOptions(open=lying(*LIES[lie]))
        found = list(decider(options).decide(before, network.relu_layers, Budget()))
        check(learn(before, found), before, enumerate_patterns(network, domain))
        assert all(not findings.bounds for findings in found)
        if not lie.startswith("infeasible"):
            assert all(not findings.claims for findings in found)

    holds()


def chain(matrices: list[list[list[float]]], biases: list[list[float]]) -> Network:
    layers = tuple(
        Layer(f"l{k}", (Term(k, Dense(np.array(m))),), np.array(b), relu=True)
        for k, (m, b) in enumerate(zip(matrices, biases, strict=True))
    )
    return Network(len(matrices[0][0]), layers, (len(layers),))


# over [0, 1]^2 intervals leave these units of the second layer open: |x0 - x1| + {-1.5, 0.1, -0.5}
GAP = chain([[[1.0, -1.0], [-1.0, 1.0]], [[1.0, 1.0]] * 3], [[0.0, 0.0], [-1.5, 0.1, -0.5]])
SQUARE = Domain(np.zeros(2), np.ones(2))


def test_claims_and_points_of_a_known_network() -> None:
    before = bounded(GAP, SQUARE)
    found = list(UnitDecider(MilpOptions(open=CBC)).decide(before, (1,), Budget()))
    assert [len(f.claims) for f in found] == [1, 0, 0]
    claim = found[0].claims[0]
    assert (claim.layer, claim.unit, claim.above) == (1, 0, True) and "CBC" in claim.solver
    after = learn(before, found)
    assert after.open(1).tolist() == [True, False, False]
    assert after.positive[1].tolist()[0] == -1 and (after.negative[1] >= 0).tolist()[2]
    assert all(key in f.seconds for key, f in zip([(1, 0), (1, 1), (1, 2)], found, strict=True))


def test_a_closed_question_is_not_asked_and_a_point_answers_others() -> None:
    knowledge = bounded(GAP, SQUARE)
    scripted = Scripted(lower_corner)  # x = (0, 0): shows the negative side of units 0 and 2
    options = MilpOptions(open=scripted.open)
    found = list(UnitDecider(options).decide(knowledge, (1,), Budget()))
    after = learn(knowledge, found)
    again = Scripted(nothing_found)
    options = replace(options, open=again.open)
    list(UnitDecider(options).decide(after, (1,), Budget()))
    still = int(after.open_above(1).sum() + after.open_below(1).sum())
    assert 0 < len(again.asked) == still < 5
    assert scripted.closed == again.closed == 1


def test_every_unit_asks_what_is_known_already() -> None:
    knowledge = bounded(GAP, SQUARE)
    scripted = Scripted(nothing_found)
    options = MilpOptions(every_unit=True, open=scripted.open)
    list(UnitDecider(options).decide(knowledge, (0, 1), Budget()))
    assert len(scripted.asked) == 2 * GAP.units


def test_no_second_question_after_a_claim_of_inactivity() -> None:
    scripted = Scripted(claims_everything)
    options = MilpOptions(open=scripted.open)
    found = list(UnitDecider(options).decide(bounded(GAP, SQUARE), (1,), Budget()))
    assert len(scripted.asked) == 3 and all(f.claims[0].above for f in found)


def test_a_solution_that_shows_nothing_is_followed_by_more_effort() -> None:
    def useless(model: MilpModel, question: Question, effort: int) -> Answer:
        return Answer(values=np.full(model.columns, 0.5))  # x0 = x1: nothing but negative signs

    scripted = Scripted(useless, efforts=3)
    options = MilpOptions(open=scripted.open, share=False)
    found = list(UnitDecider(options).decide(bounded(GAP, SQUARE), (1,), Budget()))
    efforts = [effort for _, effort in scripted.asked]
    assert efforts[:3] == [0, 1, 2] and sum(f.milps for f in found) == len(efforts)
    assert not any(f.claims for f in found)


@examples(6)
@given(st.data())
def test_findings_do_not_depend_on_jobs(data: st.DataObject) -> None:
    domain = data.draw(domains())
    network = data.draw(networks_on(domain, 2, palettes=TAME))
    before = bounded(network, domain)
    decider = UnitDecider(MilpOptions(open=CBC))
    runs = [
        list(decider.decide(before, network.relu_layers, Budget(jobs=jobs))) for jobs in (1, 2, 5)
    ]
    for run in runs[1:]:
        assert [f.claims for f in run] == [f.claims for f in runs[0]]
        assert [f.milps for f in run] == [f.milps for f in runs[0]]
        for one, other in zip(runs[0], run, strict=True):
            assert (one.points is None) == (other.points is None)
            assert one.points is None or np.array_equal(one.points, other.points)


def test_the_window_leaves_room_for_jobs_and_lets_points_through() -> None:
    assert [window(i) for i in (0, 1, 2, 4, 100)] == [1, 1, 2, 3, 32]


WIDE = chain(
    [np.eye(2).tolist(), np.ones((40, 2)).tolist()], [[-0.5, -0.5], np.full(40, -0.6).tolist()]
)


def test_a_stop_ends_the_decider_and_closes_every_solver() -> None:
    stop, asked = threading.Event(), []

    def slow(model: MilpModel, question: Question, effort: int) -> Answer:
        asked.append(effort)
        if len(asked) == 3:
            stop.set()
        return Answer()

    scripted = Scripted(slow)
    budget = Budget(stop=stop, jobs=2)
    options = MilpOptions(open=scripted.open)
    list(UnitDecider(options).decide(bounded(WIDE, SQUARE), (1,), budget))
    assert 3 <= len(asked) <= 5 and scripted.closed >= 1
    assert list(UnitDecider(options).decide(bounded(WIDE, SQUARE), (1,), budget)) == []


def test_a_caller_that_loses_interest_closes_every_solver() -> None:
    scripted = Scripted(nothing_found)
    options = MilpOptions(open=scripted.open)
    findings = UnitDecider(options).decide(bounded(WIDE, SQUARE), (1,), Budget(jobs=2))
    next(iter(findings))
    findings.close()
    assert scripted.closed >= 1 and len(scripted.asked) < 80


def test_a_unit_gets_no_more_than_its_time() -> None:
    times: list[float] = []

    class Timed(Scripted):
        def ask(self, question: Question, effort: int, seconds: float) -> Answer:
            times.append(seconds)
            time.sleep(0.03)
            return Answer()

    scripted = Timed(nothing_found, efforts=100)
    options = MilpOptions(open=scripted.open)
    list(UnitDecider(options).decide(bounded(GAP, SQUARE), (1,), Budget(unit_seconds=0.1)))
    assert len(times) <= 3 * 5 and max(times) <= 0.1


def test_a_unit_below_the_solvers_tolerance_is_not_asked() -> None:
    tiny = chain([[[1.0, -1.0], [-1.0, 1.0]], [[1e-13, 0.0]]], [[0.0, 0.0], [-1e-14]])
    scripted = Scripted(claims_everything)
    options = MilpOptions(open=scripted.open)
    found = list(UnitDecider(options).decide(bounded(tiny, SQUARE), (1,), Budget()))
    assert not scripted.asked and not any(f.claims for f in found)


def test_huge_numbers_are_left_alone_with_a_note() -> None:
    huge = chain([[[1e30, -1.0]], [[1.0]]], [[-1.0], [-1.0]])
    for decider in (UnitDecider(), NetworkDecider()):
        found = list(decider.decide(bounded(huge, SQUARE), (1,), Budget()))
        assert len(found) == 1 and "too large" in found[0].notes[0]


def test_the_network_milp_ends_when_solutions_show_nothing() -> None:
    def dishonest(model: MilpModel, question: Question, effort: int) -> Answer:
        values = np.full(model.columns, 0.5)
        values[question.columns] = 1.0
        return Answer(values=values)

    scripted = Scripted(dishonest)
    options = MilpOptions(open=scripted.open)
    found = list(NetworkDecider(options).decide(bounded(GAP, SQUARE), (0, 1), Budget()))
    assert not any(f.claims for f in found)
    assert len(scripted.asked) <= 10 and "given up" in found[-1].notes[0]


def test_the_network_milp_needs_few_solves() -> None:
    rng = np.random.default_rng(3)
    network = chain(
        [rng.normal(size=(8, 3)).tolist(), rng.normal(size=(12, 8)).tolist()],
        [np.zeros(8).tolist(), rng.normal(size=12).tolist()],
    )
    before = bounded(network, Domain(-np.ones(3), np.ones(3)))
    questions = sum(int(before.open_above(k).sum() + before.open_below(k).sum()) for k in (0, 1))
    found = list(NetworkDecider(MilpOptions(open=CBC)).decide(before, (0, 1), Budget()))
    after = learn(before, found)
    truth = enumerate_patterns(network, before.domain)
    check(after, before, truth)
    claimed = {key[:2] for key in after.claims}
    for k in (0, 1):
        assert {(k, int(j)) for j in np.flatnonzero(after.open(k))} <= claimed
    assert sum(f.milps for f in found) < questions / 2


@pytest.mark.shared
def test_the_known_example_where_solvers_are_wrong(shared: Path) -> None:
    """design.md, soundness rule 2: whatever CBC says of this unit, nothing is proved by it."""
    from leo_cli.domain import read_domain
    from leo_cli.onnx_io import read_model

    stem = shared / "models" / "mnist_l1" / "mnist_100x100_l1_0.0001"
    model = read_model(Path(f"{stem}.onnx"))
    domain = read_domain(Path(f"{stem}.bounds.json"), model.inputs, model.sha256)
    before = bounded(model.network, domain)
    known = before.positive[0].copy()
    unit = 64
    known[np.arange(len(known)) != unit] = 0  # ask for this unit's positive side only
    negative = np.zeros_like(known)
    asked = replace(
        before,
        positive=(known, *before.positive[1:]),
        negative=(negative, *before.negative[1:]),
        witnesses=np.zeros((1, domain.inputs)),
    )
    found = list(UnitDecider().decide(asked, (0,), Budget(unit_seconds=20.0)))
    assert len(found) == 1 and not found[0].bounds
    assert found[0].claims or found[0].points is not None
