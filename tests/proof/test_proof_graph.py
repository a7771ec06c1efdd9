"""The checker's reading of ONNX files: what is not the same function is not accepted as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from leo_cli.arrays import Floats
from leo_cli.proof.bounding import Arithmetic, Box
from leo_cli.proof.checker import Checker, Fails
from leo_cli.proof.graph import WIDE, Unreadable, read_net

node = helper.make_node
FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE


def file(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Any] | None = None,
    shape: Sequence[int | str] = ("N", 2),
    kind: int = FLOAT,
    sets: Sequence[tuple[str, int]] = (("", 21),),
    functions: Sequence[onnx.FunctionProto] = (),
) -> bytes:
    """A model from "x" to "y". constants: arrays of float32, or other ones, or tensors."""
    tensors = [
        value
        if isinstance(value, onnx.TensorProto)
        else numpy_helper.from_array(np.asarray(value), name)
        for name, value in (constants or {}).items()
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_empty_tensor_value_info("y")],
        tensors,
    )
    imports = [helper.make_opsetid(*one) for one in sets]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=10, functions=functions)
    content: bytes = proto.SerializeToString()
    return content


def differences(one: bytes, other: bytes, radius: float = 1.0, exact: bool = False) -> Floats:
    """What the checker finds of two models on a box. Raises Fails, Unreadable."""
    old = read_net(one)
    inputs = len(old.nodes[0].bias)
    box = Box(np.full(inputs, -radius), np.full(inputs, radius), np.zeros(inputs, bool))
    found: Floats = Checker(old, read_net(other, old), box, Arithmetic(exact)).differences()
    return found


def single(values: Sequence[float]) -> Floats:
    return np.array(values, np.float32)


COPY = file([node("Identity", ["x"], ["y"])])
RELU = file([node("Relu", ["x"], ["y"])])


def called(body: str, version: int) -> bytes:
    """A local function that is a single operator."""
    function = helper.make_function(
        "here", "F", ["a"], ["b"], [node(body, ["a"], ["b"])], [helper.make_opsetid("", version)]
    )
    call = node("F", ["x"], ["y"], domain="here")
    return file([call], sets=[("", 21), ("here", 1)], functions=[function])


def softmax(domain: str, version: int) -> bytes:
    """Of a tensor of rank 3: from opset 13 on along the last axis, before over all but one."""
    nodes = [node("Reshape", ["x", "shape"], ["r"]), node("Softmax", ["r"], ["y"])]
    return file(nodes, {"shape": np.array([0, 2, 1])}, sets=[(domain, version)])


def choice(factor: float) -> bytes:
    """An If both of whose branches are a tensor of the outer graph."""
    branch = helper.make_graph([], "branch", [], [helper.make_empty_tensor_value_info("u")])
    nodes = [
        node("Mul", ["x", "factor"], ["u"]),
        node("If", ["condition"], ["y"], then_branch=branch, else_branch=branch),
    ]
    return file(nodes, {"factor": np.float32(factor), "condition": np.array(True)})


def added(version: int, **attributes: int) -> bytes:
    """A sum with a vector: along axis 1 up to opset 6, along the last one from then on."""
    nodes = [
        node("Reshape", ["x", "shape"], ["r"]),
        node("Add", ["r", "vector"], ["y"], **attributes),
    ]
    constants = {"shape": np.array([1, 2, 2]), "vector": single([1, 5])}
    return file(nodes, constants, (1, 4), sets=[("", version)])


def normalised(outputs: Sequence[str]) -> bytes:
    """A batch normalisation; one with more outputs takes the statistics of the batch."""
    names = ["scale", "shift", "mean", "variance"]
    operator = node("BatchNormalization", ["x", *names], outputs)
    return file([operator], dict.fromkeys(names, single([1, 2])), sets=[("", 9)])


def stored(kind: int, content: int) -> bytes:
    """Numbers of a small type, which only their reader interprets."""
    tensor = helper.make_tensor("stored", kind, [2], bytes([content]), raw=True)
    nodes = [node("DequantizeLinear", ["stored", "one"], ["d"]), node("Add", ["x", "d"], ["y"])]
    return file(nodes, {"stored": tensor, "one": np.float32(1)})


def labelled(labels: Sequence[str]) -> bytes:
    nodes = [node("ArgMax", ["x"], ["i"], axis=1), node("Gather", ["labels", "i"], ["y"])]
    return file(nodes, {"labels": np.array(labels, object)})


def halved(early: bool) -> bytes:
    """Half of an integer: before it is made a float it loses its fraction."""
    cast = {"to": FLOAT}
    if early:
        nodes = [node("Cast", ["x"], ["f"], **cast), node("Mul", ["f", "half"], ["y"])]
    else:
        nodes = [node("Div", ["x", "two"], ["d"]), node("Cast", ["d"], ["y"], **cast)]
    constants = {"half": single([0.5]), "two": np.array([2])}
    return file(nodes, constants, kind=TensorProto.INT64)


def mean_of_integers(early: bool) -> bytes:
    casts = [node("Cast", ["x"], ["f"], to=FLOAT)] if early else []
    mean = node("ReduceMean", ["f" if early else "x"], ["m"])
    return file([*casts, mean, node("Cast", ["m"], ["y"], to=FLOAT)], kind=TensorProto.INT64)


def clipped(top: float, dtype: type) -> bytes:
    return file([node("Clip", ["x", "0", "top"], ["y"])], {"0": dtype(0), "top": dtype(top)})


def swapped(samples: int, at: int) -> bytes:
    """A batch of fixed size with two samples in each other's place."""
    order = np.arange(samples)
    order[[0, at]] = order[[at, 0]]
    return file([node("Gather", ["x", "order"], ["y"])], {"order": order}, (samples, 1))


DIFFERENT = {
    "zeros, as wide as the input": (
        COPY,
        file(
            [node("Shape", ["x"], ["s"]), node("Expand", ["zeros", "s"], ["y"])],
            {"zeros": single([[0, 0]])},
        ),
    ),
    "functions of another operator set": (called("Neg", 13), called("Sin", 13)),
    "the default domain by its other name": (softmax("ai.onnx", 11), softmax("ai.onnx", 13)),
    "outer tensors that a subgraph returns": (choice(2), choice(3)),
    "sums along another axis": (added(6, broadcast=1, axis=1), added(21)),
    "a normalisation in training": (normalised(["y"]), normalised(["y", "m", "v", "sm", "sv"])),
    "an operator set in two versions": (
        file([node("Relu", ["x"], ["y"])], sets=[("", 21), ("ai.onnx", 20)]),
        RELU,
    ),
    "types of four bits": (stored(TensorProto.INT4, 0x9F), stored(TensorProto.UINT4, 0x9F)),
    "labels": (labelled(["cat", "dog"]), labelled(["dog", "cat"])),
    "integers that are divided": (halved(False), halved(True)),
    "integers that an operator sees": (mean_of_integers(False), mean_of_integers(True)),
    "an upper end within the domain": (clipped(3.5e38, np.float64), RELU),
    "an operator of another domain": (
        file([node("Relu", ["x"], ["y"], domain=":")], sets=[("", 21), (":", 1)]),
        RELU,
    ),
    "an output that is computed twice": (
        file([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])]),
        file([node("Neg", ["x"], ["y"])]),
    ),
    "divisors whose quotients round alike": (
        file(
            [node("Reshape", ["x", "shape"], ["r"]), node("Div", ["r", "d"], ["y"])],
            {"shape": np.array([0, 2, 2]), "d": np.array([[2 - 2.0**-52], [2 - 2.0**-51]])},
            ("N", 4),
            DOUBLE,
        ),
        file(
            [node("Reshape", ["x", "shape"], ["r"]), node("Div", ["r", "d"], ["y"])],
            {"shape": np.array([0, 2, 2]), "d": np.array([[2 - 2.0**-52, 2 - 2.0**-51]])},
            ("N", 4),
            DOUBLE,
        ),
    ),
}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", DIFFERENT)
def test_different_functions_are_told_apart(name: str, exact: bool) -> None:
    try:
        found = differences(*DIFFERENT[name], radius=1e39, exact=exact)
    except (Fails, Unreadable):
        return
    assert found.any()


def test_samples_that_change_places_are_told_apart() -> None:
    samples = 1 + (1 << 20)  # ids of samples wrap around after as many
    same = file([node("Identity", ["x"], ["y"])], shape=(samples, 1))
    with pytest.raises((Fails, Unreadable)):
        differences(same, swapped(samples, samples - 1))


def test_inputs_beyond_the_ids_of_a_node_are_refused() -> None:
    one = np.zeros(1, np.int64)
    nodes = [node("Gather", ["x", "last"], ["g"], axis=1), node("Relu", ["g"], ["y"])]
    with pytest.raises(Unreadable, match="too large"):
        read_net(file(nodes, {"last": one + WIDE}, ("N", WIDE + 1)))


EQUAL = {
    "labels": (labelled(["cat", "dog"]), labelled(["cat", "dog"])),
    "a scalar that is taken off": (
        file([node("Sub", ["x", "c"], ["y"])], {"c": np.float32(0.5)}),
        file([node("Add", ["x", "c"], ["y"])], {"c": single([-0.5, -0.5])}),
    ),
    "a division by a scalar": (
        file([node("Div", ["x", "c"], ["y"])], {"c": np.float32(2)}),
        file([node("Mul", ["x", "c"], ["y"])], {"c": single([0.5, 0.5])}),
    ),
    "an upper end that nothing reaches": (
        file(
            [node("Clip", ["x", "0", "top"], ["y"])],
            {"0": np.float32(0), "top": np.finfo(np.float32).max},
        ),
        RELU,
    ),
    "operators in another order": (
        file(
            [node("Relu", ["t"], ["y"]), node("Neg", ["x"], ["u"]), node("Identity", ["x"], ["t"])]
        ),
        RELU,
    ),
    "an operator set that is imported twice": (
        file([node("Relu", ["x"], ["y"])], sets=[("", 21), ("ai.onnx", 21)]),
        RELU,
    ),
    "an output without a name": (
        file([node("Dropout", ["x"], ["d", ""]), node("Relu", ["d"], ["y"])]),
        RELU,
    ),
}


@pytest.mark.parametrize("name", EQUAL)
def test_equal_functions_are_recognised(name: str) -> None:
    assert not differences(*EQUAL[name]).any()
