"""Sessions return one row for each point, whatever shapes, batches and containers a model has."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from verify_cases import mlp, parameters

from leo_cli.errors import InputError, ModelError
from leo_cli.tensors import TensorSpec
from leo_cli.verify.runtime import BLOCK, Session, open_session


def session_of(layers, tail: str, batch: int | str, outputs: list[str]) -> Session:
    model = mlp(layers, tail, batch)
    return open_session(model.source, model.inputs, outputs, model.name)


@pytest.mark.parametrize("batch", ["n", 1, 4, 7])
@pytest.mark.parametrize("count", [1, 5, 8])
def test_a_fixed_batch_gives_the_same_rows(batch: int | str, count: int) -> None:
    layers = parameters([3, 5, 2], np.random.default_rng(0))
    points = np.random.default_rng(1).normal(size=(count, 3)).astype("float32").astype(float)
    expected = points
    for k, (weights, bias) in enumerate(layers):
        expected = expected @ weights.T.astype(float) + bias
        expected = np.maximum(expected, 0) if k == 0 else expected
    values = session_of(layers, "none", batch, ["y"]).run(points)["y"]
    assert values.shape == (count, 2)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_more_points_than_one_block() -> None:
    layers = parameters([2, 3, 1], np.random.default_rng(0))
    points = np.random.default_rng(1).normal(size=(BLOCK + 3, 2))
    session = session_of(layers, "none", "n", ["y"])
    values = session.run(points)["y"]
    assert values.shape == (BLOCK + 3, 1)
    np.testing.assert_allclose(values[-1], session.run(points[-1:])["y"][0], atol=1e-6)


@pytest.mark.parametrize("batch", ["n", 3])
def test_strings_and_dictionaries(batch: int | str) -> None:
    layers = parameters([3, 5, 4], np.random.default_rng(2))
    points = np.random.default_rng(3).normal(size=(5, 3))
    values = session_of(layers, "strings", batch, ["label", "p"]).run(points)
    assert values["label"].shape == (5, 1)
    assert values["p"].shape == (5, 4)
    named = [f"class {k}" for k in values["p"].argmax(axis=1)]
    assert values["label"][:, 0].tolist() == named
    np.testing.assert_allclose(values["p"].sum(axis=1), 1, atol=1e-5)


def made(nodes, inputs, outputs, constants=()) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, t, s) for n, t, s in inputs],
        [helper.make_tensor_value_info(n, t, s) for n, t, s in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def test_several_inputs_are_cut_from_each_point_in_their_own_types() -> None:
    content = made(
        [
            helper.make_node("Cast", ["b"], ["c"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["a"], ["f"]),
            helper.make_node("Concat", ["f", "c"], ["y"], axis=1),
        ],
        [("a", TensorProto.FLOAT, ["n", 2, 2]), ("b", TensorProto.INT64, ["n", 1])],
        [("y", TensorProto.FLOAT, ["n", 5])],
    )
    specs = (
        TensorSpec("a", ("n", 2, 2), (2, 2), "float32"),
        TensorSpec("b", ("n", 1), (1,), "int64"),
    )
    points = np.arange(10.0).reshape(2, 5)
    assert open_session(content, specs, ["y"], "m").run(points)["y"].tolist() == points.tolist()


@pytest.mark.parametrize("shape", [[3], []])
def test_inputs_without_a_batch_axis_are_run_one_by_one(shape: list[int]) -> None:
    content = made(
        [helper.make_node("Neg", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, shape)],
        [("y", TensorProto.FLOAT, shape)],
    )
    spec = TensorSpec("x", tuple(shape), tuple(shape), "float32")
    points = np.arange(6.0).reshape(-1, max(1, len(shape) * 3))
    values = open_session(content, (spec,), ["y"], "m").run(points)["y"]
    assert values.tolist() == (-points).tolist()


def test_outputs_with_the_samples_elsewhere_or_nowhere() -> None:
    content = made(
        [
            helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0]),
            helper.make_node("Identity", ["k"], ["z"]),
        ],
        [("x", TensorProto.FLOAT, ["n", 2])],
        [("y", TensorProto.FLOAT, [2, "n"]), ("z", TensorProto.FLOAT, [3])],
        [("k", np.array([1, 2, 3], dtype="float32"))],
    )
    spec = TensorSpec("x", ("n", 2), (2,), "float32")
    points = np.arange(10.0).reshape(5, 2)
    values = open_session(content, (spec,), ["y", "z"], "m").run(points)
    assert values["y"].tolist() == points.tolist()
    assert values["z"].tolist() == [[1, 2, 3]] * 5


def test_refusals_name_the_model() -> None:
    with pytest.raises(ModelError, match=r"bad\.onnx: onnxruntime cannot load it"):
        open_session(b"nonsense", (), ["y"], "bad.onnx")
    layers = parameters([3, 5, 2], np.random.default_rng(0))
    session = session_of(layers, "none", "n", ["nowhere"])
    with pytest.raises(ModelError, match="model: onnxruntime cannot run it"):
        session.run(np.zeros((1, 3)))
    with pytest.raises(InputError, match="disabled, basic, extended, all"):
        open_session(b"", (), (), "m", "fast")


def test_inputs_with_different_batches_are_refused() -> None:
    content = made(
        [helper.make_node("Identity", ["a"], ["y"]), helper.make_node("Identity", ["b"], ["z"])],
        [("a", TensorProto.FLOAT, [2, 1]), ("b", TensorProto.FLOAT, [3, 1])],
        [("y", TensorProto.FLOAT, [2, 1]), ("z", TensorProto.FLOAT, [3, 1])],
    )
    specs = [TensorSpec(n, (k, 1), (1,), "float32") for n, k in (("a", 2), ("b", 3))]
    with pytest.raises(ModelError, match=r"batch sizes \[2, 3\]"):
        open_session(content, specs, ["y"], "m")


def test_nothing_is_logged(capfd: pytest.CaptureFixture[str]) -> None:
    model = mlp(parameters([3, 5, 2], np.random.default_rng(0)))
    proto = onnx.load_model_from_string(model.source)
    proto.graph.node[0].input[0] = "missing"
    with pytest.raises(ModelError):
        open_session(proto.SerializeToString(), model.inputs, ["y"], "m")
    assert capfd.readouterr().err == ""
