"""A built model computes what its arrays say, and equal arrays give equal bytes."""

from itertools import pairwise

import numpy as np
import onnx
import onnxruntime
import pytest

from leo_cli.onnx_io.build import build_mlp, build_mlp_bytes

FLOAT32 = np.float32


def arrays(widths: tuple[int, ...], seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    pairs = list(pairwise(widths))
    weights = [rng.normal(size=(b, a)).astype(FLOAT32) for a, b in pairs]
    return weights, [rng.normal(size=b).astype(FLOAT32) for _, b in pairs]


@pytest.mark.parametrize("widths", [(3, 2), (4, 5, 1), (5, 7, 6, 3)])
@pytest.mark.parametrize("scaled", [False, True])
def test_it_computes_what_the_arrays_say(widths: tuple[int, ...], scaled: bool) -> None:
    weights, biases = arrays(widths, 1)
    rng = np.random.default_rng(2)
    offset = rng.normal(size=widths[0]).astype(FLOAT32) if scaled else None
    scale = rng.uniform(0.5, 2, size=widths[0]).astype(FLOAT32) if scaled else None
    content = build_mlp_bytes(weights, biases, offset=offset, scale=scale)
    x = rng.normal(size=(20, widths[0])).astype(FLOAT32)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"x": x})
    h = x.astype(np.float64)
    if offset is not None and scale is not None:
        h = (h - offset) * scale
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        h = np.maximum(h @ weight.T + bias, 0)
    want = h @ weights[-1].T + biases[-1]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_weights_are_stored_as_they_are_and_bytes_repeat() -> None:
    weights, biases = arrays((4, 5, 2), 3)
    metadata = {"b": "2", "a": "1"}
    content = build_mlp_bytes(weights, biases, metadata=metadata)
    assert content == build_mlp_bytes(weights, biases, metadata=dict(reversed(metadata.items())))
    model = onnx.load_from_string(content)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        np.testing.assert_array_equal(stored[f"layer{k}.weight"], weight)
        np.testing.assert_array_equal(stored[f"layer{k}.bias"], bias)
    assert {p.key: p.value for p in model.metadata_props} == metadata
    assert [n.op_type for n in model.graph.node] == ["Gemm", "Relu", "Gemm"]


def test_shapes_that_do_not_fit_are_refused() -> None:
    weights, biases = arrays((4, 5, 2), 3)
    with pytest.raises(ValueError, match=r"layer1\.weight has shape \(5, 4\), not \(2, 5\)"):
        build_mlp([weights[0], weights[0]], biases)
