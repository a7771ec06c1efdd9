"""A guard that does not do its job is noticed before the file is written."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from leo_cli.domain import Domain
from leo_cli.onnx_io import Model, read_model
from leo_cli.verify import VerifyOptions
from leo_cli.verify.guard import check_guard

BOX = Domain(np.array([0.0, -1.0]), np.array([1.0, 1.0]))
OPTIONS = VerifyOptions(samples=200)


def _proto(extra=(), flag: bool = False, constants: dict | None = None) -> onnx.ModelProto:
    """y = relu(x) @ 1, with more nodes in front of it or beside it; the first reads x."""
    weights = {"one": np.eye(2), "w": np.ones((2, 1)), **(constants or {})}
    source = "clipped" if any("clipped" in node.output for node in extra) else "x"
    nodes = [
        *extra,
        helper.make_node("MatMul", [source, "one"], ["z"]),
        helper.make_node("Relu", ["z"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])]
    if flag:
        outputs.append(helper.make_tensor_value_info("inside", TensorProto.BOOL, ["n", 2]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        outputs,
        [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


PLAIN = read_model(_proto().SerializeToString(), "m.onnx")


def _model(*extra: onnx.NodeProto, **rest) -> Model:
    return replace(PLAIN, proto=_proto(extra, **rest))


def _clip(lower: float, upper: float):
    nodes = [
        helper.make_node("Min", ["x", "high"], ["below"]),
        helper.make_node("Max", ["below", "low"], ["clipped"]),
    ]
    return _model(*nodes, constants={"low": np.array(lower), "high": np.array(upper)})


def test_a_right_clip_passes() -> None:
    assert check_guard(PLAIN, _clip(-1.0, 1.0), BOX, None, OPTIONS) == ""


def test_a_clip_that_is_too_narrow_is_noticed() -> None:
    assert "changes it inside" in check_guard(PLAIN, _clip(0.0, 0.75), BOX, None, OPTIONS)


@pytest.mark.parametrize(("bound", "fault"), [(1.0, ""), (2.0, "true outside")])
def test_a_flag_that_is_true_outside_is_noticed(bound, fault) -> None:
    """The flag says |x_i| <= bound for both features; the box is |x_i| <= 1."""
    box = Domain(np.array([-1.0, -1.0]), np.array([1.0, 1.0]))
    nodes = [
        helper.make_node("Abs", ["x"], ["size"]),
        helper.make_node("LessOrEqual", ["size", "bound"], ["each"]),
        helper.make_node("Cast", ["each"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMin", ["number"], ["all"], axes=[1], keepdims=1),
        helper.make_node("Concat", ["all", "all"], ["twice"], axis=1),
        helper.make_node("Cast", ["twice"], ["inside"], to=TensorProto.BOOL),
    ]
    guarded = _model(*nodes, flag=True, constants={"bound": np.array([bound])})
    assert fault in check_guard(PLAIN, guarded, box, "inside", OPTIONS)
    assert bool(fault) == bool(check_guard(PLAIN, guarded, box, "inside", OPTIONS))
