"""Reading graphs as exporters write them: structure, quirks, refusals."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import Graph, dense_relu, feeds, native, run, sample

from leo_cli.errors import ModelError
from leo_cli.network import Dense, Scaled
from leo_cli.onnx_io import Model, observed_tensors, read_model

RNG = np.random.default_rng(7)
W1, B1, W2 = RNG.normal(size=(8, 4)), RNG.normal(size=8), RNG.normal(size=(3, 8))


def read(graph: Graph, *outputs: str) -> Model:
    return read_model(graph.bytes(*outputs), "m.onnx")


def check_values(model: Model) -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(size=(model.batch_size or 6, model.network.inputs)).astype(np.float32)
    points = points.astype(np.float64)
    for got, expected in zip(native(model, points), model.network.evaluate(points), strict=True):
        assert np.allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_a_chain_of_gemms() -> None:
    model = read_model(dense_relu([4, 8, 8, 3]).SerializeToString(), "m.onnx")
    assert [(la.name, la.width, la.relu) for la in model.network.layers] == [
        ("a1", 8, True),
        ("a2", 8, True),
        ("y", 3, False),
    ]
    assert model.network.outputs == (3,) and model.network.inputs == 4
    assert model.inputs[0].shape == ("N", 4) and model.inputs[0].features == (4,)
    assert model.notes == ()
    check_values(model)


@pytest.mark.parametrize("attributes", [{"alpha": -1.0}, {"alpha": 0.25, "beta": 2.0}])
def test_powers_of_two_in_gemm_fold_into_the_weights(attributes: dict[str, float]) -> None:
    graph = Graph()
    x = graph.input("x", ["N", 4])
    z = graph.op("Gemm", x, graph.constant(W1), graph.constant(B1), transB=1, **attributes)
    model = read(graph, graph.op("Relu", z, out="a"))
    assert len(model.network.layers) == 1
    check_values(model)


def test_other_factors_in_gemm_become_layers_of_their_own() -> None:
    """So that no coefficient of the network is a rounded product."""
    graph = Graph()
    x = graph.input("x", ["N", 4])
    z = graph.op("Gemm", x, graph.constant(W1), graph.constant(B1), transB=1, alpha=0.3, beta=0.7)
    model = read(graph, graph.op("Relu", z, out="a"))
    stored = W1.astype(np.float32).astype(np.float64)
    dense_maps = [
        t.map for la in model.network.layers for t in la.terms if isinstance(t.map, Dense)
    ]
    assert len(dense_maps) == 1 and np.array_equal(dense_maps[0].matrix, stored)
    assert model.network.layers[-1].name == "a"
    check_values(model)


def test_a_weight_on_the_left_makes_columns() -> None:
    graph = Graph()
    x = graph.input("x", [4, 1])
    z = graph.op("Add", graph.op("MatMul", graph.constant(W1), x), graph.constant(B1[:, None]))
    model = read(graph, graph.op("MatMul", graph.constant(W2), graph.op("Relu", z), out="y"))
    assert model.network.inputs == 4 and model.inputs[0].features == (4, 1)
    assert [la.width for la in model.network.layers] == [8, 3]
    check_values(model)


def test_a_square_weight_on_the_left_of_a_batch_is_no_dense_layer() -> None:
    graph = Graph()
    x = graph.input("x", [4, 4])
    a = graph.op("Relu", graph.op("MatMul", graph.constant(np.ones((4, 4))), x))
    graph.op("MatMul", a, graph.constant(np.ones((4, 4))), out="y")
    with pytest.raises(ModelError, match=r"MatMul.*inner axis"):
        read(graph, "y")


def test_data_as_the_second_operand_of_gemm() -> None:
    graph = Graph()
    x = graph.input("x", ["N", 4])
    z = graph.op("Gemm", graph.constant(W1), x, graph.constant(B1[:, None]), transB=1)
    y = graph.op("MatMul", graph.constant(W2), graph.op("Relu", z, out="a"), out="y")
    model = read(graph, y)
    assert [la.width for la in model.network.layers] == [8, 3]
    (spec,) = observed_tensors(model)
    assert spec.shape == (None, 3) and spec.name != "y"  # the file has the samples along axis 1
    check_values(model)


def test_a_fixed_batch_is_a_batch() -> None:
    graph = Graph()
    x = graph.input("x", [5, 2, 2])
    flat = graph.op("Reshape", x, graph.constant(np.array([5, 4])))
    z = graph.op("MatMul", flat, graph.constant(W1.T))
    model = read(graph, graph.op("Relu", z, out="a"))
    assert model.batch_size == 5 and model.network.inputs == 4
    check_values(model)


def test_a_dynamic_batch_through_shape_arithmetic() -> None:
    """What TorchScript writes for x.view(x.size(0), -1)."""
    graph = Graph()
    x = graph.input("x", ["N", 2, 2])
    size = graph.op("Gather", graph.op("Shape", x), graph.constant(np.array(0)), axis=0)
    size = graph.op("Unsqueeze", size, graph.constant(np.array([0])))
    target = graph.op("Concat", size, graph.constant(np.array([-1])), axis=0)
    z = graph.op("MatMul", graph.op("Reshape", x, target), graph.constant(W1.T))
    model = read(graph, graph.op("Relu", z, out="a"))
    assert [la.width for la in model.network.layers] == [8]
    check_values(model)


def test_normalisation_keeps_its_coefficients_apart_from_the_weights() -> None:
    graph = Graph()
    x = graph.input("x", ["N", 4])
    centred = graph.op("Sub", x, graph.constant(RNG.normal(size=4)), out="centred")
    unit = graph.op("Div", centred, graph.constant(RNG.random(4) + 0.5), out="unit")
    z = graph.op("Gemm", unit, graph.constant(W1), graph.constant(B1), transB=1)
    model = read(graph, graph.op("Relu", z, out="a"))
    names = [la.name for la in model.network.layers]
    assert names == ["centred", "unit", "a"]
    assert [isinstance(la.terms[0].map, Scaled) for la in model.network.layers] == [
        True,
        True,
        False,
    ]
    assert [la.weight_error > 0 for la in model.network.layers] == [False, True, False]
    check_values(model)


def test_the_stated_errors_of_a_normalisation_cover_its_real_coefficients() -> None:
    """Against square roots to 60 digits."""
    from decimal import Decimal, getcontext

    getcontext().prec = 60
    graph = Graph()
    x = graph.input("x", ["N", 4])
    parts = [RNG.normal(size=4), RNG.normal(size=4), RNG.normal(size=4) * 100, RNG.random(4) + 1e-3]
    names = [graph.constant(p) for p in parts]
    z = graph.op("BatchNormalization", x, *names, epsilon=1e-3)
    (layer,) = read(graph, graph.op("Relu", z, out="a")).network.layers
    stored = [p.astype(np.float32).astype(np.float64) for p in parts]
    epsilon = Decimal(float(np.float32(1e-3)))
    coefficients = layer.terms[0].map.rows(slice(None)).diagonal()
    assert layer.bias_error is not None
    for j in range(4):
        scale, shift, mean, variance = (Decimal(float(p[j])) for p in stored)
        exact = scale / (variance + epsilon).sqrt()
        assert abs(Decimal(float(coefficients[j])) - exact) <= Decimal(layer.weight_error) * abs(
            exact
        )
        offset = shift - exact * mean
        assert abs(Decimal(float(layer.bias[j])) - offset) <= Decimal(float(layer.bias_error[j]))


@pytest.mark.parametrize(
    "spelling",
    ["Relu", "max", "max_left", "clip", "clip_attribute", "leaky", "prelu", "threshold"],
)
def test_spellings_of_relu(spelling: str) -> None:
    graph = Graph(opset=9 if spelling == "clip_attribute" else 17)
    z = graph.op("MatMul", graph.input("x", ["N", 4]), graph.constant(W1.T))
    zero = graph.constant(np.zeros(()))
    a = {
        "Relu": lambda: graph.op("Relu", z),
        "max": lambda: graph.op("Max", z, zero),
        "max_left": lambda: graph.op("Max", zero, z),
        "clip": lambda: graph.op("Clip", z, zero),
        "clip_attribute": lambda: graph.op("Clip", z, min=0.0, max=float(np.finfo(np.float32).max)),
        "leaky": lambda: graph.op("LeakyRelu", z, alpha=0.0),
        "prelu": lambda: graph.op("PRelu", z, graph.constant(np.zeros(8))),
        "threshold": lambda: graph.op("ThresholdedRelu", z, alpha=0.0),
    }[spelling]()
    model = read(graph, a)
    assert [la.relu for la in model.network.layers] == [True]
    check_values(model)


@pytest.mark.parametrize(
    ("op_type", "attributes", "reason"),
    [
        ("LeakyRelu", {}, "leaky ReLU of slope 0.01"),
        ("Clip", {"min": 0.0, "max": 6.0}, "upper bound of 6"),
        ("Clip", {"min": -1.0}, "lower bound of -1"),
        ("Elu", {}, "operator Elu is not supported"),
        ("ThresholdedRelu", {}, "threshold of 1"),
    ],
)
def test_other_activations_are_refused_by_name(
    op_type: str, attributes: dict[str, float], reason: str
) -> None:
    graph = Graph(opset=10)
    z = graph.op("MatMul", graph.input("x", ["N", 4]), graph.constant(W1.T))
    graph.op(op_type, z, out="a", **attributes)
    with pytest.raises(ModelError, match=rf'm.onnx: node "a" \({op_type}\): .*{reason}'):
        read(graph, "a")


def test_a_second_relu_changes_nothing() -> None:
    graph = Graph()
    z = graph.op("MatMul", graph.input("x", ["N", 4]), graph.constant(W1.T))
    a = graph.op("Relu", graph.op("Flatten", graph.op("Relu", z)))
    model = read(graph, graph.op("MatMul", a, graph.constant(W2.T), out="y"))
    assert [la.relu for la in model.network.layers] == [True, False]


def test_a_sum_of_branches_has_two_terms() -> None:
    graph = Graph()
    x = graph.input("x", ["N", 4])
    a = graph.op("Relu", graph.op("MatMul", x, graph.constant(W1.T)), out="a")
    b = graph.op("Relu", graph.op("MatMul", a, graph.constant(RNG.normal(size=(8, 8)))), out="b")
    both = graph.op("Add", a, b)
    model = read(graph, graph.op("MatMul", both, graph.constant(W2.T), out="y"))
    summed = next(la for la in model.network.layers if len(la.terms) == 2)
    assert {t.source for t in summed.terms} == {1, 2} and not summed.relu
    check_values(model)


def test_a_concatenation_reads_its_branches_with_one_matrix_each() -> None:
    graph = Graph()
    x = graph.input("x", ["N", 4])
    parts = [graph.op("Relu", graph.op("MatMul", x, graph.constant(W1.T[:, :n]))) for n in (5, 3)]
    joined = graph.op("Concat", *parts, axis=-1)
    model = read(graph, graph.op("MatMul", joined, graph.constant(W2.T), out="y"))
    last = model.network.layers[-1]
    assert [t.map.in_features for t in last.terms] == [5, 3]
    assert model.network.connections == 4 * 8 + 8 * 3
    check_values(model)


def test_a_part_of_the_input_costs_no_columns_of_zeros() -> None:
    graph = Graph()
    x = graph.input("x", ["N", 9])
    part = graph.op("Gather", x, graph.constant(np.array([0, 2, 4, 6])), axis=1)
    model = read(graph, graph.op("Relu", graph.op("MatMul", part, graph.constant(W1.T)), out="a"))
    assert model.network.connections == 4 * 8
    check_values(model)


def test_two_inputs_are_joined_in_node_0() -> None:
    graph = Graph()
    x, y = graph.input("first", ["N", 3]), graph.input("second", ["N", 1])
    joined = graph.op("Concat", y, x, axis=1)
    model = read(graph, graph.op("Relu", graph.op("MatMul", joined, graph.constant(W1.T)), out="a"))
    assert [s.name for s in model.inputs] == ["first", "second"] and model.network.inputs == 4
    matrix = model.network.layers[0].terms[0].map.rows(slice(None))
    assert np.array_equal(matrix, W1.astype(np.float32)[:, [1, 2, 3, 0]])
    check_values(model)


def test_conversions_that_round_are_layers() -> None:
    """Their rounding is then part of every bound on native evaluations."""
    graph = Graph("float16")
    x = graph.input("x", ["N", 4], "float32")
    narrow = graph.op("Cast", x, out="narrow", to=TensorProto.FLOAT16)
    a = graph.op("Relu", graph.op("MatMul", narrow, graph.constant(W1.T)), out="a")
    y = graph.op("Cast", a, out="y", to=TensorProto.FLOAT)
    model = read(graph, y)
    assert [la.name for la in model.network.layers] == ["narrow", "a"]
    assert model.network.dtype == "float16"


def test_integers_are_taken_as_numbers() -> None:
    graph = Graph()
    x = graph.input("x", ["N", 4], "int64")
    real = graph.op("Cast", x, out="real", to=TensorProto.FLOAT)
    model = read(graph, graph.op("Relu", graph.op("MatMul", real, graph.constant(W1.T)), out="a"))
    assert model.inputs[0].dtype == "int64"
    points = sample(model, np.random.default_rng(0))
    (got,) = native(model, points)
    assert np.allclose(got, model.network.evaluate(points)[0], rtol=1e-4, atol=1e-4)


# where a network ends


def test_hidden_outputs_are_observed() -> None:
    proto = dense_relu([4, 8, 3])
    proto.graph.output.append(helper.make_tensor_value_info("a1", TensorProto.FLOAT, ["N", 8]))
    model = read_model(proto.SerializeToString())
    assert model.network.outputs == (1, 2)


def test_what_other_operators_read_is_observed() -> None:
    graph = Graph(opset=13)
    x = graph.input("x", ["N", 4])
    a = graph.op("Relu", graph.op("MatMul", x, graph.constant(W1.T)), out="a")
    z = graph.op("MatMul", a, graph.constant(W2.T), out="z")
    y = graph.op("Add", graph.op("Softmax", z), graph.op("ReduceSum", a, keepdims=1), out="y")
    model = read(graph, y)
    assert [model.network.layers[k - 1].name for k in model.network.outputs] == ["a", "z"]
    assert model.notes == ()


def test_a_pre_activation_that_is_read_twice_is_one_layer() -> None:
    graph = Graph()
    x = graph.input("x", ["N", 4])
    z = graph.op("MatMul", x, graph.constant(W1.T), out="z")
    graph.op("Relu", z, out="a")
    model = read(graph, "a", "z")
    assert [(la.name, la.relu) for la in model.network.layers] == [("z", False), ("a", True)]
    assert model.network.connections == 32


def test_an_ordinary_model_without_relu_is_read_without_a_network() -> None:
    graph = Graph()
    z = graph.op("MatMul", graph.input("x", ["N", 4]), graph.constant(W1.T))
    s = graph.op("Sigmoid", z, out="s")
    model = read(graph, graph.op("MatMul", graph.op("Relu", s), graph.constant(W2.T), out="y"))
    assert model.network.layers == () and model.network.units == 0
    assert model.notes == (
        'no ReLU units: node "s" (Sigmoid) comes before any ReLU; the model is kept as it is',
    )


def test_later_layers_that_are_not_read_are_noted() -> None:
    graph = Graph()
    a = graph.op("Relu", graph.op("MatMul", graph.input("x", ["N", 4]), graph.constant(W1.T)))
    cube = graph.op("Reshape", a, graph.constant(np.array([-1, 2, 4])))
    graph.op("MatMul", cube, graph.constant(np.ones((4, 2))), out="y")
    model = read(graph, "y")
    assert [la.width for la in model.network.layers] == [8]
    assert 'node "y" (MatMul)' in model.notes[0] and "inner axis" in model.notes[0]


# refusals


def broken(**changes: object) -> bytes:
    proto = dense_relu([4, 8, 3])
    for name, array in changes.items():
        tensor = next(t for t in proto.graph.initializer if t.name == name)
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.asarray(array, dtype=np.float32), name))
    return proto.SerializeToString()


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (-np.inf, "an infinite number")])
def test_weights_that_are_no_numbers(value: float, word: str) -> None:
    with pytest.raises(
        ModelError, match=f'm.onnx: weight "b1" of node "z1" .Gemm. contains {word}'
    ):
        read_model(broken(b1=[value] * 8), "m.onnx")


def test_numbers_that_are_not_finite_behind_the_network_are_no_concern() -> None:
    graph = Graph()
    a = graph.op("Relu", graph.op("MatMul", graph.input("x", ["N", 4]), graph.constant(W1.T)))
    s = graph.op("Softmax", a)
    model = read(graph, graph.op("Add", s, graph.constant(np.full(8, -np.inf)), out="y"))
    assert [la.width for la in model.network.layers] == [8]


@pytest.mark.parametrize("op_type", ["If", "Loop"])
def test_control_flow(op_type: str) -> None:
    proto = dense_relu([4, 8, 3])
    branch = helper.make_graph([], "branch", [], [])
    node = helper.make_node(op_type, ["y"], ["late"], name="flow", body=branch)
    proto.graph.node.append(node)
    with pytest.raises(ModelError, match=rf'node "flow" \({op_type}\): control flow'):
        read_model(proto.SerializeToString())


@pytest.mark.parametrize(
    ("op_type", "domain", "reason"),
    [
        ("RandomNormalLike", "", "not deterministic"),
        ("Frobnicate", "", "unknown operator Frobnicate"),
        ("Relu", "my.domain", "unknown operator my.domain.Relu"),
        ("NoSuchOp", "com.microsoft", "unknown operator com.microsoft.NoSuchOp"),
    ],
)
def test_operators_that_cannot_be_trusted_are_refused_wherever_they_stand(
    op_type: str, domain: str, reason: str
) -> None:
    proto = dense_relu([4, 8, 3])
    proto.graph.node.append(helper.make_node(op_type, ["y"], ["late"], domain=domain))
    with pytest.raises(ModelError, match=f'node "late" .*{reason}'):
        read_model(proto.SerializeToString())


def test_a_fused_gemm_of_onnxruntime_is_read() -> None:
    proto = dense_relu([4, 8, 3])
    fused = helper.make_node(
        "FusedGemm", ["x", "W1", "b1"], ["a1"], domain="com.microsoft", activation="Relu", transB=1
    )
    rest = [proto.graph.node[2]]
    del proto.graph.node[:]
    proto.graph.node.extend([fused, *rest])
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model = read_model(proto.SerializeToString())
    assert [(la.name, la.relu) for la in model.network.layers] == [("a1", True), ("y", False)]
    check_values(model)


def test_functions_are_inlined() -> None:
    proto = dense_relu([4, 8, 3])
    layer = helper.make_function(
        "local",
        "Layer",
        ["x", "w", "b"],
        ["a"],
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["z"], transB=1),
            helper.make_node("Relu", ["z"], ["a"]),
        ],
        [helper.make_opsetid("", 17)],
    )
    last = proto.graph.node[2]
    del proto.graph.node[:]
    call = helper.make_node("Layer", ["x", "W1", "b1"], ["a1"], domain="local")
    proto.graph.node.extend([call, last])
    proto.functions.append(layer)
    proto.opset_import.append(helper.make_opsetid("local", 1))
    model = read_model(proto.SerializeToString())
    assert [la.width for la in model.network.layers] == [8, 3]
    assert model.notes == ("model-local functions inlined: Layer",)
    points = np.ones((2, 4))
    (got,) = run(proto.SerializeToString(), feeds(model, points))
    assert np.allclose(got, model.network.evaluate(points)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (["N", "features", 2], r"input \"x\" has shape \['N', 'features', 2\]"),
        (["N", 1 << 40], "features; the most is"),
    ],
)
def test_inputs_of_unusable_shapes(shape: list[int | str], message: str) -> None:
    graph = Graph()
    graph.op("Relu", graph.input("x", shape), out="a")
    with pytest.raises(ModelError, match=message):
        read(graph, "a")


def test_an_open_width_comes_from_the_matrix_that_reads_it() -> None:
    graph = Graph()
    z = graph.op("MatMul", graph.input("x", ["N", "F"]), graph.constant(W1.T))
    model = read(graph, graph.op("Relu", z, out="a"))
    assert model.network.inputs == 4 and model.inputs[0].features == (4,)


def test_inputs_that_are_no_numbers() -> None:
    proto = dense_relu([4, 8, 3])
    text = helper.make_tensor_value_info("words", TensorProto.STRING, ["N", 1])
    proto.graph.input.append(text)
    with pytest.raises(ModelError, match='input "words" is STRING'):
        read_model(proto.SerializeToString())


def test_overridable_weights_are_noted() -> None:
    proto = dense_relu([4, 8, 3])
    proto.graph.input.append(helper.make_tensor_value_info("W1", TensorProto.FLOAT, [8, 4]))
    model = read_model(proto.SerializeToString())
    assert [s.name for s in model.inputs] == ["x"]
    assert model.notes == ("weights that are also graph inputs are taken as constants: W1",)


def test_a_layer_without_units() -> None:
    graph = Graph()
    z = graph.op("MatMul", graph.input("x", ["N", 4]), graph.constant(np.zeros((4, 0))))
    a = graph.op("Relu", z)
    graph.op("MatMul", a, graph.constant(np.zeros((0, 3))), out="y")
    with pytest.raises(ModelError, match="without rows or columns"):
        read(graph, "y")


def test_shapes_that_do_not_fit() -> None:
    proto = dense_relu([4, 8, 3])
    tensor = next(t for t in proto.graph.initializer if t.name == "W2")
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.ones((3, 9), dtype=np.float32), "W2"))
    with pytest.raises(ModelError, match=r"m\.onnx: not a valid ONNX model"):
        read_model(proto.SerializeToString(), "m.onnx")
