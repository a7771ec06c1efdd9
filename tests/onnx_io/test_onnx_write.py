"""Writing: what is kept, what is replaced, and forms a network may take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import Graph, dense_relu, feeds, native, run, sample, with_dead_units

from leo_cli.errors import InternalFault
from leo_cli.network import Dense, Layer, Network, Scaled, Term
from leo_cli.onnx_io import Model, Rendered, observed_tensors, read_model, render, with_outputs


def read(proto: onnx.ModelProto) -> Model:
    return read_model(proto.SerializeToString(), "m.onnx")


def without(network: Network, k: int, keep: list[int]) -> Network:
    """Layer k reduced to the units `keep`."""
    rows = np.array(keep, dtype=np.int64)
    layers = list(network.layers)
    layer = layers[k]
    layers[k] = replace(
        layer,
        terms=tuple(Term(t.source, t.map.take(rows=rows)) for t in layer.terms),
        bias=layer.bias[rows],
        origin=layer.origin[rows],
        bias_error=None if layer.bias_error is None else layer.bias_error[rows],
    )
    for c in network.consumers(k + 1):
        layers[c] = replace(
            layers[c],
            terms=tuple(
                Term(t.source, t.map.take(columns=rows)) if t.source == k + 1 else t
                for t in layers[c].terms
            ),
        )
    return replace(network, layers=tuple(layers))


def initializers(rendered: Rendered) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in rendered.proto.graph.initializer}


def used(proto: onnx.ModelProto) -> set[str]:
    return {i for n in proto.graph.node for i in n.input} | {o.name for o in proto.graph.output}


def written_values(model: Model, rendered: Rendered) -> None:
    """The rendered file computes at its outputs what the network read from it says."""
    onnx.checker.check_model(rendered.proto, full_check=True)
    again = read_model(rendered.to_bytes())
    assert again.inputs == model.inputs and again.outputs == model.outputs
    points = sample(again, np.random.default_rng(0))
    for got, expected in zip(native(again, points), again.network.evaluate(points), strict=True):
        assert np.allclose(got, expected, rtol=1e-4, atol=1e-3)


def test_a_dropped_unit_leaves_everything_else_as_it_was() -> None:
    proto = dense_relu([4, 8, 6, 3], value_info=True)
    proto.doc_string, proto.producer_name = "mine", "somebody"
    proto.graph.doc_string = "a graph"
    proto.metadata_props.add(key="author", value="me")
    for number, node in enumerate(proto.graph.node):
        node.name, node.doc_string = f"node{number}", f"doc{number}"
        node.metadata_props.add(key="n", value=str(number))
    model = read(proto)
    rendered = render(model, without(model.network, 0, [0, 2, 3, 5, 6, 7]), {"leo.version": "1"})
    after = rendered.proto
    assert [(n.name, n.op_type, n.doc_string) for n in after.graph.node] == [
        (n.name, n.op_type, n.doc_string) for n in proto.graph.node
    ]
    assert [n.metadata_props[0].value for n in after.graph.node] == list("01234")
    assert [list(n.output) for n in after.graph.node] == [list(n.output) for n in proto.graph.node]
    assert (after.doc_string, after.producer_name, after.ir_version) == ("mine", "somebody", 8)
    assert after.graph.doc_string == "a graph" and after.opset_import == proto.opset_import
    assert after.graph.input == proto.graph.input and after.graph.output == proto.graph.output
    properties = {p.key: p.value for p in after.metadata_props}
    assert properties["author"] == "me" and properties["leo.version"] == "1"
    shapes = {k: v.shape for k, v in initializers(rendered).items()}
    assert shapes == {"W1": (6, 4), "b1": (6,), "W2": (6, 6), "b2": (6,), "W3": (3, 6), "b3": (3,)}
    widths = {v.name: v.type.tensor_type.shape.dim[1].dim_value for v in after.graph.value_info}
    assert widths == {"z1": 6, "a1": 6, "z2": 6, "a2": 6, "y": 3}
    written_values(model, rendered)


def test_untouched_layers_keep_their_operators() -> None:
    proto = dense_relu([4, 8, 6, 5, 3])
    model = read(proto)
    rendered = render(model, without(model.network, 2, [0, 1, 4]), {})
    before = [n.SerializeToString() for n in proto.graph.node]
    after = [n.SerializeToString() for n in rendered.proto.graph.node]
    assert after[:4] == before[:4]


def test_shared_constants_stay_for_those_who_still_read_them() -> None:
    graph = Graph()
    bias = graph.constant(np.arange(4.0), "b")
    x = graph.input("x", ["N", 4])
    rng = np.random.default_rng(0)
    first = graph.op("Gemm", x, graph.constant(rng.normal(size=(4, 4)), "W"), bias)
    a = graph.op("Relu", first)
    graph.op("Gemm", a, graph.constant(rng.normal(size=(4, 4)), "V"), bias, out="y")
    model = read(graph.model("y"))
    rendered = render(model, without(model.network, 0, [1, 3]), {})
    found = initializers(rendered)
    assert sorted(a.tolist() for a in found.values() if a.ndim == 1) == [[0, 1, 2, 3], [1, 3]]
    assert set(found) <= used(rendered.proto)
    written_values(model, rendered)


def test_names_in_use_are_not_taken() -> None:
    """Layers, weights and operators of the new network that are called like what is kept."""
    proto = dense_relu([4, 8, 6, 3])
    proto.graph.node[3].output[0] = "W1/new"
    proto.graph.node[4].input[0] = "W1/new"
    model = read(proto)
    small = without(model.network, 0, [0, 1, 2])
    extra = Layer("b3", (Term(1, Dense(np.eye(3))),), np.zeros(3), False, np.full(3, -1))
    layers = list(small.layers)
    layers[1] = replace(layers[1], terms=(Term(2, layers[1].terms[0].map),))
    moved = [
        layers[0],
        extra,
        layers[1],
        replace(layers[2], terms=(Term(3, layers[2].terms[0].map),)),
    ]
    rendered = render(model, replace(small, layers=tuple(moved), outputs=(4,)), {})
    names = [t.name for t in rendered.proto.graph.initializer]
    tensors = [o for n in rendered.proto.graph.node for o in n.output]
    assert len(set(names + tensors)) == len(names) + len(tensors)
    written_values(model, rendered)


@pytest.mark.parametrize("batch", ["N", 1, 3])
@pytest.mark.parametrize("opset", [7, 13])
def test_a_network_may_end_as_an_affine_layer(batch: str | int, opset: int) -> None:
    graph = Graph(opset=opset)
    x = graph.input("x", [batch, 2, 2])
    a = graph.op(
        "Relu", graph.op("MatMul", graph.op("Flatten", x), graph.constant(np.ones((4, 8))))
    )
    graph.op("Softmax", graph.op("MatMul", a, graph.constant(np.ones((8, 3))), out="z"), out="y")
    model = read(graph.model("y"))
    matrix = np.arange(12.0).reshape(3, 4)
    last = Layer("z", (Term(0, Dense(matrix)),), np.array([1.0, 2, 3]), False)
    rendered = render(model, replace(model.network, layers=(last,), outputs=(1,)), {})
    again = read_model(rendered.to_bytes())
    assert [s.name for s in observed_tensors(again)] == ["z"] and again.network.units == 0
    points = sample(again, np.random.default_rng(0))
    assert np.array_equal(native(again, points)[0], points @ matrix.T + [1, 2, 3])
    written_values(model, rendered)


@pytest.mark.parametrize("batch", ["N", 1, 3])
@pytest.mark.parametrize("opset", [7, 13])
def test_a_network_may_end_as_a_constant(batch: str | int, opset: int) -> None:
    graph = Graph(opset=opset)
    x = graph.input("x", [batch, 4])
    a = graph.op("Relu", graph.op("MatMul", x, graph.constant(np.ones((4, 8)))))
    graph.op("MatMul", a, graph.constant(np.ones((8, 3))), out="y")
    model = read(graph.model("y"))
    last = Layer("y", (), np.array([1.0, 2, 3]), False)
    rendered = render(model, replace(model.network, layers=(last,), outputs=(1,)), {})
    again = read_model(rendered.to_bytes())
    points = sample(again, np.random.default_rng(0), 4)
    (got,) = run(rendered.to_bytes(), feeds(again, points))
    assert got.shape == (len(points), 3) and np.array_equal(
        got, np.tile([1.0, 2, 3], (len(points), 1))
    )
    assert np.array_equal(native(again, points)[0], got)
    assert np.array_equal(again.network.evaluate(points)[0], got)
    written_values(model, rendered)


def test_a_hidden_layer_may_become_constant() -> None:
    """A width of 0, no live term, or no term at all."""
    model = read(dense_relu([4, 8, 6, 3]))
    first, second, last = model.network.layers
    empty = without(model.network, 0, []).layers
    none = replace(second, terms=())
    zero = replace(second, terms=(Term(1, Dense(np.zeros((6, 8)))),))
    points = sample(model, np.random.default_rng(1))
    for layers in (empty, (first, none, last), (first, zero, last)):
        network = replace(model.network, layers=layers)
        rendered = render(model, network, {})
        written_values(model, rendered)
        (got,) = run(rendered.to_bytes(), feeds(model, points))
        assert np.allclose(got, network.evaluate(points)[0], atol=1e-4)


def test_new_layers_pick_units() -> None:
    """A Gather in front, as for unused inputs."""
    model = read(dense_relu([6, 8, 3]))
    first, last = model.network.layers
    keep = np.array([5, 0, 2])
    front = Layer(
        "picked", (Term(0, Scaled(keep, np.ones(3), 6)),), np.zeros(3), False, np.full(3, -1)
    )
    narrow = replace(first, terms=(Term(1, first.terms[0].map.take(columns=keep)),))
    moved = replace(last, terms=(Term(2, last.terms[0].map),))
    network = replace(model.network, layers=(front, narrow, moved), outputs=(3,))
    rendered = render(model, network, {})
    assert [n.op_type for n in rendered.proto.graph.node] == ["Gather", "Gemm", "Relu", "Gemm"]
    points = sample(model, np.random.default_rng(1))
    got = np.asarray(run(rendered.to_bytes(), feeds(model, points))[0], dtype=np.float64)
    assert np.allclose(got, network.evaluate(points)[0], atol=1e-4)
    written_values(model, rendered)


def test_an_output_may_be_another_node() -> None:
    """The k-th output keeps its tensor, whichever node holds its value now."""
    proto = dense_relu([4, 8, 3])
    proto.graph.output.append(helper.make_tensor_value_info("a1", TensorProto.FLOAT, ["N", 8]))
    model = read(proto)
    first = replace(model.network.layers[0], name="renamed", origin=np.full(8, -1))
    network = replace(model.network, layers=(first, model.network.layers[1]))
    rendered = render(model, network, {})
    points = sample(model, np.random.default_rng(1))
    for a, b in zip(
        run(model.source, feeds(model, points)),
        run(rendered.to_bytes(), feeds(model, points)),
        strict=True,
    ):
        assert np.array_equal(a, b)


def test_weights_that_the_type_cannot_hold_are_a_fault() -> None:
    model = read(dense_relu([4, 8, 3]))
    last = replace(model.network.layers[1], bias=np.full(3, 0.1))
    network = replace(model.network, layers=(model.network.layers[0], last))
    with pytest.raises(InternalFault, match="no number of type float32"):
        render(model, network, {})


def test_the_network_must_fit_the_model() -> None:
    model = read(dense_relu([4, 8, 3]))
    with pytest.raises(InternalFault, match="another interface"):
        render(model, replace(model.network, outputs=()), {})


@pytest.mark.parametrize("style", ["MatMul", "Gemm0", "Gemm1"])
def test_layers_are_written_in_the_style_of_the_original(style: str) -> None:
    graph = Graph()
    rng = np.random.default_rng(0)
    tensor = graph.input("x", ["N", 4])
    for n, m in ((4, 8), (8, 3)):
        w, b = rng.normal(size=(n, m)), rng.normal(size=m)
        if style == "MatMul":
            made = graph.op("MatMul", tensor, graph.constant(w))
            tensor = graph.op("Add", made, graph.constant(b))
        else:
            turned = int(style[-1])
            w = w.T if turned else w
            tensor = graph.op("Gemm", tensor, graph.constant(w), graph.constant(b), transB=turned)
        tensor = graph.op("Relu", tensor)
    proto = graph.model(tensor)
    model = read(proto)
    rendered = render(model, without(model.network, 0, [1, 2, 7]), {})
    assert [n.op_type for n in rendered.proto.graph.node] == [n.op_type for n in proto.graph.node]
    before = [n.attribute for n in proto.graph.node]
    assert [list(n.attribute) for n in rendered.proto.graph.node] == [
        [a for a in b if a.i] for b in before
    ]
    written_values(model, rendered)


def test_dropping_a_unit_of_a_normalisation_changes_no_coefficient() -> None:
    """The stored numbers of BatchNormalization and Div are cut, not recomputed."""
    graph = Graph()
    rng = np.random.default_rng(0)
    x = graph.input("x", ["N", 4])
    unit = graph.op("Div", x, graph.constant([3.0, 0.7, 1.1, 9.0], "std"))
    z = graph.op("MatMul", unit, graph.constant(rng.normal(size=(4, 8))))
    parts = [rng.normal(size=8), rng.normal(size=8), rng.normal(size=8), rng.random(8) + 0.5]
    names = [graph.constant(p, f"bn{k}") for k, p in enumerate(parts)]
    a = graph.op("Relu", graph.op("BatchNormalization", z, *names))
    graph.op("MatMul", a, graph.constant(rng.normal(size=(8, 3))), out="y")
    model = read(graph.model("y"))
    network = model.network
    position = next(k for k, la in enumerate(network.layers) if la.relu)
    keep = [0, 3, 4]
    small = without(without(network, position, keep), position - 1, keep)
    rendered = render(model, small, {})
    found = initializers(rendered)
    for k, part in enumerate(parts):
        assert np.array_equal(found[f"bn{k}"], part.astype(np.float32)[keep])
    again = read_model(rendered.to_bytes()).network
    for before, after in zip(small.layers, again.layers, strict=True):
        assert np.array_equal(
            before.terms[0].map.rows(slice(None)), after.terms[0].map.rows(slice(None))
        )
        assert np.array_equal(before.bias, after.bias)


def test_a_normalisation_of_a_lost_unit_is_still_exact() -> None:
    """The unit is gone, its normalised 0 is not: a constant that no stored number holds."""
    graph = Graph()
    rng = np.random.default_rng(0)
    z = graph.op("MatMul", graph.input("x", ["N", 4]), graph.constant(rng.normal(size=(4, 5))))
    parts = [rng.normal(size=5), rng.normal(size=5), rng.normal(size=5), rng.random(5) + 0.5]
    a = graph.op("BatchNormalization", z, *[graph.constant(p) for p in parts])
    graph.op("Relu", a, out="y")
    model = read(graph.model("y"))
    small = without(model.network, 0, [1, 4])
    rendered = render(model, small, {})
    points = sample(model, np.random.default_rng(1))
    got = np.asarray(run(rendered.to_bytes(), feeds(model, points))[0], dtype=np.float64)
    assert np.allclose(got, small.evaluate(points)[0], atol=1e-4)
    written_values(model, rendered)


def test_new_and_kept_rows_of_a_normalisation_may_stand_side_by_side() -> None:
    graph = Graph()
    rng = np.random.default_rng(0)
    z = graph.op("MatMul", graph.input("x", ["N", 4]), graph.constant(rng.normal(size=(4, 5))))
    parts = [rng.normal(size=5), rng.normal(size=5), rng.normal(size=5), rng.random(5) + 0.5]
    names = [graph.constant(p) for p in parts]
    a = graph.op("BatchNormalization", z, *names)
    graph.op("MatMul", graph.op("Relu", a), graph.constant(rng.normal(size=(5, 2))), out="y")
    model = read(graph.model("y"))
    layer = model.network.layers[1]
    matrix = layer.terms[0].map.rows(slice(None)).copy()
    matrix[2] = [1.0, 2.0, 0.5, 0.0, 0.0]
    bias, origin = layer.bias.copy(), layer.origin.copy()
    bias[2], origin[2] = 0.25, -1
    dense = replace(layer, terms=(Term(1, Dense(matrix)),), bias=bias, origin=origin)
    layers = (model.network.layers[0], dense, model.network.layers[2])
    network = replace(model.network, layers=layers)
    rendered = render(model, network, {})
    points = sample(model, np.random.default_rng(1))
    got = np.asarray(run(rendered.to_bytes(), feeds(model, points))[0], dtype=np.float64)
    assert np.allclose(got, network.evaluate(points)[0], atol=1e-3)
    kept = next(v for k, v in initializers(rendered).items() if k == names[0])
    assert np.array_equal(kept, parts[0].astype(np.float32)[[0, 1, 3, 4]])
    written_values(model, rendered)


def test_a_tensor_that_is_needed_whole_may_be_computed_twice() -> None:
    """A shifted input goes to a dense layer and, through a Reshape, to an operator that stays."""
    graph = Graph()
    x = graph.input("x", ["N", 4])
    centred = graph.op("Sub", x, graph.constant(np.ones(4)), out="centred")
    side = graph.op("Reshape", centred, graph.constant(np.array([-1, 4])))
    wave = graph.op("Sin", side)
    unit = graph.op("Div", centred, graph.constant(np.full(4, 3.0)))
    a = graph.op("Relu", graph.op("MatMul", unit, graph.constant(np.ones((4, 6)))))
    z = graph.op("MatMul", a, graph.constant(np.ones((6, 4))), out="z")
    graph.op("Add", z, wave, out="y")
    model = read(graph.model("y"))
    rng = np.random.default_rng(0)
    zeroed, dropped = with_dead_units(model.network, rng)
    points = sample(model, rng)
    first, second = (
        run(render(model, n, {}).to_bytes(), feeds(model, points))[0] for n in (zeroed, dropped)
    )
    assert np.allclose(first, second, atol=1e-5)


def test_overridable_weights_are_no_inputs_any_more() -> None:
    proto = dense_relu([4, 8, 3])
    proto.graph.input.append(helper.make_tensor_value_info("W1", TensorProto.FLOAT, [8, 4]))
    model = read(proto)
    rendered = render(model, without(model.network, 0, [0, 1]), {})
    assert [i.name for i in rendered.proto.graph.input] == ["x"]


def test_old_files_list_their_weights_as_inputs() -> None:
    model = read(dense_relu([4, 8, 3], ir=3))
    rendered = render(model, without(model.network, 0, [0, 1]), {})
    listed = {i.name for i in rendered.proto.graph.input}
    assert {"x", *initializers(rendered)} == listed
    written_values(model, rendered)


def test_compressing_twice_changes_nothing() -> None:
    model = read(dense_relu([4, 8, 6, 3]))
    once = render(model, without(model.network, 0, [0, 1]), {"k": "v"})
    again = read_model(once.to_bytes())
    twice = render(again, again.network, {"k": "v"})
    assert twice.to_bytes() == once.to_bytes()


def test_observed_tensors_become_outputs() -> None:
    graph = Graph(opset=13)
    a = graph.op(
        "Relu",
        graph.op("MatMul", graph.input("x", ["N", 4]), graph.constant(np.ones((4, 2)))),
        out="a",
    )
    graph.op("Softmax", graph.op("Identity", a), out="y")
    model = read(graph.model("y"))
    (spec,) = observed_tensors(model)
    assert (spec.name, spec.shape, spec.features, spec.dtype) == ("a", (None, 2), (2,), "float32")
    proto = onnx.ModelProto.FromString(with_outputs(model, ["a", "a"]))
    onnx.checker.check_model(proto, full_check=True)
    assert [o.name for o in proto.graph.output] == ["y", "a"]
