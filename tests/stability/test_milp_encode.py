"""The program contains every input of the domain, and its solutions are inputs.

The laws: the true activations of any input satisfy every row and bound (so "infeasible" can be
true), and a solution's input features, evaluated, have the pre-activation that the program says.
"""

import itertools
import warnings

import numpy as np
import pulp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import examples
from support.strategies import TAME, domains, networks_on

from leo_cli.domain import Domain, LinearConstraint, OneHot
from leo_cli.network import Dense, Layer, Network, Scaled, Term
from leo_cli.stability.bounding import Intervals
from leo_cli.stability.budget import Budget
from leo_cli.stability.knowledge import Knowledge
from leo_cli.stability.milp.encode import Encoding, Refused, encode, finite_bounds
from leo_cli.stability.milp.model import Builder, MilpModel, Question
from leo_cli.stability.milp.mps import MpsText


def bounded(network: Network, domain: Domain) -> Knowledge:
    knowledge = Knowledge.start(network, domain)
    for k in range(len(network.layers)):
        for findings in Intervals().decide(knowledge, (k,), Budget()):
            knowledge = knowledge.learn(findings, None, "interval")
    return knowledge


def truth(encoding: Encoding, x: np.ndarray) -> np.ndarray:
    """The values of all columns at one input."""
    knowledge = encoding.knowledge
    network, domain = knowledge.network, knowledge.domain
    values = np.full(encoding.model.columns, np.nan)
    live = encoding.nodes[0].live
    values[encoding.nodes[0].column[live]] = x[live]
    for k, z in enumerate(z[0] for z in network.pre_activations(x[None])):
        if k + 1 not in encoding.nodes:
            continue
        h = network.layers[k].activate(z)
        column = encoding.nodes[k + 1].column
        values[column[column >= 0]] = h[column >= 0]
        if k in encoding.phase:
            s, hbar = encoding.phase[k], encoding.negative_part[k]
            values[s[s >= 0]] = (z > 0)[s >= 0]
            values[hbar[hbar >= 0]] = np.maximum(-z, 0.0)[hbar >= 0]
    # what is left are the binaries of one-hot groups, in their order
    hot = [
        x[group.members[position]] == group.hot[position]
        for group, choices in domain.groups
        for position in choices
    ]
    values[np.isnan(values)] = hot
    return values


def violation(model: MilpModel, values: np.ndarray) -> float:
    """The largest violation of a row or bound, relative to the row's size."""
    row = np.repeat(np.arange(model.rows), np.diff(model.start))
    products = model.coefficient * values[model.column]
    activity, size = (np.bincount(row, p, model.rows) for p in (products, np.abs(products)))
    ends = np.nan_to_num(model.row_lower, neginf=0.0) + np.nan_to_num(model.row_upper, posinf=0.0)
    worst = np.maximum(activity - model.row_upper, model.row_lower - activity)
    outside = np.maximum(values - model.upper, model.lower - values)
    return max(
        float(np.max(worst / (1.0 + size + np.abs(ends)), initial=0.0)),
        float(np.max(outside / (1.0 + np.abs(values)), initial=0.0)),
    )


@examples(150)
@given(st.data())
def test_every_input_is_a_feasible_point(data: st.DataObject) -> None:
    domain = data.draw(domains())
    network = data.draw(networks_on(domain, palettes=TAME))
    rng = np.random.default_rng(0)
    points = np.vstack([domain.sample(5, rng), domain.corners(5, rng)])
    points = points[domain.contains(points)]
    for knowledge in (bounded(network, domain), Knowledge.start(network, domain)):
        asked = data.draw(st.sampled_from(range(len(network.layers))))
        encoding = encode(knowledge, (asked,), own_phases=data.draw(st.booleans()))
        assert isinstance(encoding, Encoding)
        for x in points:
            values = truth(encoding, x)
            assert violation(encoding.model, values) < 1e-12
            z = network.pre_activations(x[None])[asked][0]
            for j in range(len(z)):
                columns, coefficients, constant = encoding.pre_activation(asked, j)
                form = coefficients @ values[columns] + constant
                assert form == pytest.approx(z[j], rel=1e-9, abs=1e-9)
            assert np.array_equal(encoding.point(values), x)


def relu_layer(matrix: list[list[float]], bias: list[float], source: int = 0) -> Layer:
    return Layer("r", (Term(source, Dense(np.array(matrix))),), np.array(bias), relu=True)


def test_fixed_phases_cost_no_binaries() -> None:
    # over [0, 1]: -1 - x is never positive, 1 + x always, x - 0.5 both
    first = relu_layer([[-1.0], [1.0], [1.0]], [-1.0, 1.0, -0.5])
    second = relu_layer([[1.0, 1.0, 1.0]], [0.0], source=1)
    network = Network(1, (first, second), (2,))
    encoding = encode(bounded(network, Domain(np.zeros(1), np.ones(1))), (1,), own_phases=False)
    assert isinstance(encoding, Encoding)
    assert encoding.phase[0].tolist()[:2] == [-1, -1] and encoding.model.integer.sum() == 1
    assert encoding.nodes[1].column[0] == -1 and (encoding.nodes[1].column[1:] >= 0).all()
    assert encoding.model.columns == 1 + 2 + 2  # x; two h; hbar and s of the unstable unit


def test_only_what_the_question_reads_is_in_the_program() -> None:
    network = Network(
        1,
        (
            relu_layer([[1.0]], [-0.5]),
            relu_layer([[2.0]], [-0.5]),
            relu_layer([[1.0]], [0.0], source=1),
        ),
        (3,),
    )
    encoding = encode(bounded(network, Domain(np.zeros(1), np.ones(1))), (2,), own_phases=False)
    assert isinstance(encoding, Encoding) and set(encoding.nodes) == {0, 1}


def test_two_terms_on_one_node_are_added() -> None:
    both = Layer(
        "sum",
        (
            Term(0, Dense(np.array([[1.0, 2.0]]))),
            Term(0, Scaled(np.array([1]), np.array([-2.0]), 2)),
        ),
        np.array([0.25]),
        relu=True,
    )
    network = Network(2, (both,), (1,))
    encoding = encode(bounded(network, Domain(np.zeros(2), np.ones(2))), (0,), own_phases=False)
    assert isinstance(encoding, Encoding)
    columns, coefficients, constant = encoding.pre_activation(0, 0)
    assert columns.tolist() == [0] and coefficients.tolist() == [1.0] and constant == 0.25


def test_domains_are_encoded_as_they_are() -> None:
    """The program's solutions over the inputs are those of the domain, on a grid."""
    domain = Domain(
        np.zeros(4),
        np.array([1.0, 1.0, 1.0, 2.0]),
        integer=np.array([False, False, False, True]),
        one_hot=(OneHot(np.arange(3), np.zeros(3), np.ones(3)),),
        constraints=(LinearConstraint(np.array([0.0, 1.0, 0.0, 1.0]), "<=", 2.0),),
    )
    network = Network(4, (relu_layer([[1.0] * 4], [0.0]),), (1,))
    encoding = encode(bounded(network, domain), (0,), own_phases=False)
    assert isinstance(encoding, Encoding)
    model, binaries = encoding.model, 3
    feasible = set()
    grid = itertools.product([0.0, 0.5, 1.0], [0.0, 0.5, 1.0], [0.0, 0.5, 1.0], [0.0, 1.0, 2.0])
    for x in grid:
        for t in itertools.product([0.0, 1.0], repeat=binaries):
            if violation(model, np.array([*x, *t])) < 1e-12:
                feasible.add(x)
    points = np.array(sorted(feasible))
    assert domain.contains(points).all()
    everything = np.array(list(itertools.product([0.0, 0.5, 1.0], repeat=3)))
    everything = np.hstack(
        [np.repeat(everything, 3, axis=0), np.tile([[0.0], [1.0], [2.0]], (27, 1))]
    )
    assert len(points) == domain.contains(everything).sum() == 8
    assert model.integer.sum() == 4


def test_numbers_beyond_a_solver_are_not_modelled() -> None:
    network = Network(1, (relu_layer([[1e200]], [0.0]), relu_layer([[1.0]], [0.0], 1)), (2,))
    knowledge = bounded(network, Domain(np.zeros(1), np.ones(1)))
    refused = encode(knowledge, (1,), own_phases=False)
    assert isinstance(refused, Refused) and "numbers" in refused.why


def test_networks_beyond_a_solver_are_not_modelled() -> None:
    wide = Layer("w", (Term(0, Dense(np.ones((2100, 2000)))),), np.zeros(2100), relu=True)
    network = Network(2000, (wide, relu_layer([[1.0] * 2100], [0.0], 1)), (2,))
    knowledge = bounded(network, Domain(np.zeros(2000), np.ones(2000)))
    refused = encode(knowledge, (1,), own_phases=False)
    assert isinstance(refused, Refused) and "weights" in refused.why
    # its first layer reads the domain alone
    assert isinstance(encode(knowledge, (0,), own_phases=False), Encoding)


def test_unknown_bounds_become_intervals() -> None:
    network = Network(1, (relu_layer([[2.0], [-1.0]], [0.0, 0.0]),), (1,))
    domain = Domain(np.zeros(1), np.ones(1))
    lower, upper = finite_bounds(Knowledge.start(network, domain), 1)
    proved = bounded(network, domain)
    assert np.array_equal(lower[0], proved.lower[0]) and np.array_equal(upper[0], proved.upper[0])


def test_the_file_is_what_pulp_would_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    builder = Builder()
    first = builder.add_columns(np.array([0.0, -1.5]), np.array([1.0, 2.0]))
    binary = builder.add_columns(np.zeros(1), np.ones(1), True)
    unused = builder.add_columns(np.zeros(1), np.ones(1))
    builder.add_row(np.append(first, binary), np.array([0.1, -1.0, 1 / 3]), -np.inf, 0.7)
    builder.add_row(first, np.array([1.0, 1.0]), 0.25, 0.25)
    builder.add_row(first, np.zeros(2), 1.0, 1.0)  # says nothing: left out
    question = Question(np.array([1, 2]), np.array([2.0, -0.1]), 1e-6)
    path = tmp_path / "m.mps"
    path.write_text(MpsText(builder.build()).render(question))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names, problem = pulp.LpProblem.fromMPS(str(path))
        rows = dict(problem.constraints.items())  # a method from PuLP 4 on
    assert {n for n, v in names.items() if v.cat == "Integer"} == {f"C{binary[0]}"}
    assert set(names) == {"C0", "C1", "C2", f"C{unused[0]}"}
    assert (names["C1"].lowBound, names["C1"].upBound) == (-1.5, 2.0)
    coefficients = {v.name: c for v, c in rows["R0"].items()}
    assert coefficients == {"C0": 0.1, "C1": -1.0, "C2": 1 / 3}
    assert (rows["R0"].sense, -rows["R0"].constant) == (pulp.LpConstraintLE, 0.7)
    assert (rows["R1"].sense, -rows["R1"].constant) == (pulp.LpConstraintEQ, 0.25)
    assert (rows["Q"].sense, -rows["Q"].constant) == (pulp.LpConstraintGE, 1e-6)
    objective = {v.name: c for v, c in problem.objective.items() if c}
    assert objective == {"C1": -2.0, "C2": 0.1} and set(rows) == {"R0", "R1", "Q"}
