"""Guards: clipped inputs are inputs of the box; the flag is never true outside the domain."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_graphs import Graph, dense_relu, feeds, run
from support import examples

from leo_cli.domain import Domain, LinearConstraint, OneHot
from leo_cli.errors import InputError
from leo_cli.onnx_io import Model, add_guard, read_model, render


def guarded(model: Model, domain: Domain, kind: Any) -> tuple[bytes, str | None]:
    made = add_guard(render(model, model.network, {}), model, domain, kind)
    onnx.checker.check_model(made.rendered.proto, full_check=True)
    return made.rendered.to_bytes(), made.output


@pytest.mark.parametrize("ir", [3, 8])
def test_clip_projects_onto_the_box(ir: int) -> None:
    model = read_model(dense_relu([3, 8, 2], ir=ir).SerializeToString())
    lower, upper = np.array([-1.0, 0.0, 0.5]), np.array([1.0, 0.25, 0.5])
    content, output = guarded(model, Domain(lower, upper), "clip")
    assert output is None
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 3)).astype(np.float32).astype(np.float64) * 2
    inside = np.clip(points, lower, upper)
    expected = run(model.source, feeds(model, inside))[0]
    assert np.array_equal(run(content, feeds(model, points))[0], expected)


def test_clip_keeps_an_input_that_is_passed_through() -> None:
    graph = Graph()
    x = graph.input("x", ["N", 2])
    graph.op("Relu", graph.op("MatMul", x, graph.constant(np.ones((2, 3)))), out="y")
    proto = graph.model("y")
    proto.graph.output.append(proto.graph.input[0])
    model = read_model(proto.SerializeToString())
    content, _ = guarded(model, Domain(np.zeros(2), np.ones(2)), "clip")
    y, passed = run(content, {"x": np.array([[5, -5]], dtype=np.float32)})
    assert passed.tolist() == [[5, -5]] and y.tolist() == [[1, 1, 1]]


def test_clip_is_for_boxes() -> None:
    model = read_model(dense_relu([3, 8, 2]).SerializeToString())
    domain = Domain(np.zeros(3), np.ones(3), integer=np.array([True, False, False]))
    with pytest.raises(InputError, match="boxes only"):
        guarded(model, domain, "clip")


def flags(model: Model, domain: Domain, points: np.ndarray) -> np.ndarray:
    content, output = guarded(model, domain, "flag")
    assert output is not None
    values = run(content, feeds(model, points), [output])[0]
    assert values.dtype == bool and values.shape == (len(points),)
    return np.asarray(values)


def near(domain: Domain, rng: np.random.Generator, dtype: str) -> np.ndarray:
    """Points at, just inside and just outside of the bounds, whole numbers, NaN and infinity."""
    count = 300
    points = rng.uniform(-2, 2, size=(count, domain.inputs))
    edges = np.where(rng.random(points.shape) < 0.5, domain.lower, domain.upper).astype(dtype)
    toward = np.where(rng.random(points.shape) < 0.5, -np.inf, np.inf).astype(dtype)
    beside = np.where(rng.random(points.shape) < 0.5, np.nextafter(edges, toward), edges)
    points = np.where(rng.random(points.shape) < 0.5, beside, points)
    points = np.where(rng.random(points.shape) < 0.3, np.rint(points), points)
    strange = rng.choice([np.nan, np.inf, -np.inf], size=points.shape)
    points = np.where(rng.random(points.shape) < 0.02, strange, points)
    inside = domain.sample(count, rng)
    return (
        np.concatenate([points, inside, domain.corners(50, rng)]).astype(dtype).astype(np.float64)
    )


@given(st.integers(0, 10**6))
@examples(40)
def test_the_flag_is_never_true_outside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dtype = str(rng.choice(["float16", "float32", "float64"]))
    opset = int(rng.choice([9, 13, 18]))
    graph = Graph(dtype, opset)
    shape = [[None, 5], [None, 5, 1], [1, 5]][int(rng.integers(0, 2))]
    graph.op("Relu", graph.op("Flatten", graph.input("x", shape)), out="y")
    model = read_model(graph.bytes("y"))
    lower = (rng.integers(-8, 1, size=5) / 8).astype(dtype).astype(np.float64)
    upper = lower + rng.integers(0, 9, size=5) / 4
    integer = np.zeros(5, dtype=bool)
    one_hot: tuple[OneHot, ...] = ()
    if rng.random() < 0.5:
        integer[0], lower[0], upper[0] = True, -2, 2
    if rng.random() < 0.5:
        lower[3:], upper[3:] = 0, 1
        one_hot = (OneHot(np.array([3, 4]), np.zeros(2), np.ones(2)),)
    constraints = []
    if rng.random() < 0.5:
        coefficients = rng.normal(size=5) * (rng.random(5) < 0.7)
        constraints.append(
            LinearConstraint(coefficients, "<=", float(coefficients @ (lower + upper) / 2))
        )
    if one_hot and integer[0]:
        coefficients = np.array([1.0, 0, 0, 2, 0])
        constraints.append(LinearConstraint(coefficients, str(rng.choice(["==", "<="])), 2.0))
    domain = Domain(lower, upper, dtype, integer, one_hot, tuple(constraints))
    points = near(domain, rng, dtype)
    said, true = flags(model, domain, points), domain.contains(points)
    assert not np.any(said & ~true)
    if all(np.array_equal(c.coefficients, np.rint(c.coefficients)) for c in constraints):
        assert np.array_equal(said, true)  # exact where no sum rounds


def test_the_flag_is_true_inside_away_from_a_linear_boundary() -> None:
    model = read_model(dense_relu([3, 8, 2]).SerializeToString())
    plane = LinearConstraint(np.array([0.1, 0.2, 0.3]), "<=", 0.3)
    domain = Domain(np.zeros(3), np.ones(3), constraints=(plane,))
    points = np.array([[0.25, 0.25, 0.25], [1, 1, 1], [1, 1, 0], [0, 0, 0.9990234375]])
    assert flags(model, domain, points).tolist() == [True, False, False, True]


def test_equations_over_real_features_are_refused() -> None:
    model = read_model(dense_relu([3, 8, 2]).SerializeToString())
    line = LinearConstraint(np.ones(3), "==", 1.0)
    with pytest.raises(InputError, match="linear constraint 1 is an equation over real features"):
        guarded(model, Domain(np.zeros(3), np.ones(3), constraints=(line,)), "flag")


def test_several_inputs_and_integers() -> None:
    graph = Graph()
    x, n = graph.input("x", ["N", 2]), graph.input("n", ["N", 1], "int64")
    real = graph.op("Cast", n, to=onnx.TensorProto.FLOAT)
    joined = graph.op("Concat", x, real, axis=1)
    graph.op("Relu", graph.op("MatMul", joined, graph.constant(np.ones((3, 2)))), out="y")
    model = read_model(graph.bytes("y"))
    domain = Domain(np.array([0.0, 0.0, -3.0]), np.array([1.0, 1.0, 3.0]), "float32")
    points = np.array([[0.5, 1, 3], [0.5, 1, 4], [0.5, 1.5, 0], [0, 0, -3]])
    assert flags(model, domain, points).tolist() == [True, False, False, True]


def test_a_taken_name_is_left_alone() -> None:
    graph = Graph()
    x = graph.input("in_domain", ["N", 2])
    graph.op("Relu", graph.op("MatMul", x, graph.constant(np.ones((2, 2)))), out="y")
    model = read_model(graph.bytes("y"))
    _, output = guarded(model, Domain(np.zeros(2), np.ones(2)), "flag")
    assert output == "in_domain_1"
