"""Random graphs in many styles: what is read computes what onnxruntime computes, and what is
written computes what was asked for."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx_graphs import RandomGraph, feeds, native, run, sample, with_dead_units
from support import examples

from leo_cli.arrays import Floats
from leo_cli.network import Network
from leo_cli.onnx_io import Model, observed_tensors, read_model, render


def graph(seed: int, inexact: bool) -> Model:
    return read_model(RandomGraph(seed, inexact).build(), "random")


def agree(got: Floats, expected: Floats, inexact: bool) -> bool:
    """Equal; with divisions and normalisations, up to the rounding of float32."""
    if not inexact:
        return np.array_equal(got, expected)
    size = 1 + np.abs(expected).max(initial=0.0)
    return bool(np.all(np.abs(got - expected) <= 1e-3 * size))


@given(st.integers(0, 10**6), st.booleans())
@examples(60)
def test_the_network_computes_what_onnxruntime_computes(seed: int, inexact: bool) -> None:
    model = graph(seed, inexact)
    points = sample(model, np.random.default_rng(seed))
    for got, expected in zip(native(model, points), model.network.evaluate(points), strict=True):
        assert agree(got, expected, inexact)


@given(st.integers(0, 10**6), st.booleans())
@examples(60)
def test_networks_without_dead_units_are_written_as_they_are(seed: int, inexact: bool) -> None:
    """Dropped units and zero coefficients: the file computes the network, keeps its interface, and
    is read as the same network again."""
    model = graph(seed, inexact)
    rng = np.random.default_rng(seed)
    points = sample(model, rng)
    for network in with_dead_units(model.network, rng):
        if not network.layers:
            continue
        rendered = render(model, network, {"key": "value"})
        onnx.checker.check_model(rendered.proto, full_check=True)
        again = read_model(rendered.to_bytes())
        assert again.inputs == model.inputs and again.outputs == model.outputs
        assert [s.name for s in observed_tensors(again)] == [
            s.name for s in observed_tensors(model)
        ]
        written = native(again, points)
        for got, expected in zip(written, network.evaluate(points), strict=True):
            assert agree(got, expected, inexact)
        for got, expected in zip(
            again.network.evaluate(points), network.evaluate(points), strict=True
        ):
            assert np.allclose(got, expected, rtol=1e-12, atol=1e-9)


@given(st.integers(0, 10**6))
@examples(30)
def test_all_outputs_of_the_graph_survive_dropped_units(seed: int) -> None:
    """Also those behind operators that the network does not cover."""
    model = graph(seed, False)
    rng = np.random.default_rng(seed)
    points = sample(model, rng)
    zeroed, dropped = with_dead_units(model.network, rng)
    first, second = (render(model, n, {}).to_bytes() for n in (zeroed, dropped))
    for a, b in zip(
        run(first, feeds(model, points)), run(second, feeds(model, points)), strict=True
    ):
        assert a.shape == b.shape and np.array_equal(a, b)


@given(st.integers(0, 10**6), st.booleans())
@examples(20)
def test_an_unchanged_network_keeps_every_operator_that_is_used(seed: int, inexact: bool) -> None:
    model = graph(seed, inexact)
    if not model.network.layers:
        return
    rendered = render(model, model.network, {})
    kept = [n.SerializeToString() for n in rendered.proto.graph.node]
    original = [n.SerializeToString() for n in model.proto.graph.node]
    assert all(n in original for n in kept)
    points = sample(model, np.random.default_rng(seed))
    before = run(model.source, feeds(model, points))
    after = run(rendered.to_bytes(), feeds(model, points))
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@given(st.integers(0, 10**6))
@examples(10)
def test_rendering_is_deterministic(seed: int) -> None:
    network = with_dead_units(graph(seed, True).network, np.random.default_rng(seed))[1]
    contents = {render(graph(seed, True), network, {"k": "v"}).to_bytes() for _ in range(2)}
    assert len(contents) == 1


def test_the_generator_reaches_what_it_is_for() -> None:
    """Enough graphs have several terms, linear layers and inexact coefficients."""
    networks: list[Network] = [graph(seed, True).network for seed in range(40)]
    layers = [layer for network in networks for layer in network.layers]
    assert sum(len(layer.terms) > 1 for layer in layers) > 5
    assert sum(not layer.relu for layer in layers) > 20
    assert sum(layer.weight_error > 0 for layer in layers) > 5
    assert sum(len(network.outputs) > 1 for network in networks) > 3
    assert sum(bool(network.layers) for network in networks) > 30
