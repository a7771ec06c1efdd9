"""Make the sample models beside this file, each with the bounds of its inputs.

    python sample_models/make.py [NAME ...]

Needs the extra "samples" (scikit-learn, skl2onnx, torch, onnxscript). Seeds are fixed and one
thread is used; other versions of the libraries may still give other weights.
"""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from leo_cli.train import Run, TrainOptions, bounds_text, make_dataset, model_bytes, run

HERE = Path(__file__).resolve().parent
SEED = 20
Made = tuple[onnx.ModelProto, dict[str, Any]]


def trained(name: str, x: np.ndarray, y: np.ndarray, options: TrainOptions) -> Run:
    """What `leo train` makes of x: (n, features) and y: (n,) or (n, 1)."""
    content = np.ascontiguousarray(x).tobytes() + np.ascontiguousarray(y).tobytes()
    digest = hashlib.sha256(content).hexdigest()
    source = f"scikit-learn's {name}"
    return run(make_dataset(x, y, source=source, sha256=digest), None, options)


def dense_relu(*widths: int) -> list[torch.nn.Module]:
    """Linear layers of these widths with a ReLU between any two."""
    layers: list[torch.nn.Module] = []
    for narrow, wide in pairwise(widths):
        layers += [torch.nn.Linear(narrow, wide), torch.nn.ReLU()]
    return layers[:-1]


def exported(
    model: torch.nn.Module, example: torch.Tensor, names: tuple[str, str]
) -> onnx.ModelProto:
    """What PyTorch's own exporter writes, for any batch size."""
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        model.eval(),
        (example,),
        input_names=[names[0]],
        output_names=[names[1]],
        dynamic_shapes=({0: batch},),
        dynamo=True,
        verbose=False,
    )
    proto = program.model_proto
    for node in proto.graph.node:  # the exporter's metadata names files of the machine it ran on
        del node.metadata_props[:]
    del proto.metadata_props[:]
    return proto


def digits() -> Made:
    """Handwritten digits, 8 x 8 pixels: a classifier trained by `leo train`, exported by PyTorch.

    Every fifth image is held out and stored as digits.samples.npz (pixels and label).
    """
    x, y = load_digits(return_X_y=True)
    images = (x / 16).astype(np.float32).reshape(-1, 8, 8)
    held_out = np.arange(len(y)) % 5 == 0
    np.savez_compressed(HERE / "digits.samples.npz", pixels=images[held_out], label=y[held_out])
    options = TrainOptions(hidden=(64, 48), l1=1e-3, epochs=60, seed=SEED, val_split=0.0)
    found = trained("digits", images[~held_out], y[~held_out], options).trained.model
    model = torch.nn.Sequential(torch.nn.Flatten(), *dense_relu(64, 64, 48, 10))
    with torch.no_grad():
        for k, linear in enumerate(m for m in model if isinstance(m, torch.nn.Linear)):
            linear.weight.copy_(torch.from_numpy(found.weights[k]))
            linear.bias.copy_(torch.from_numpy(found.biases[k]))
    proto = exported(model, torch.from_numpy(images[:2]), ("pixels", "logits"))
    return proto, {"pixels": {"lower": 0, "upper": 1}}


def cancer() -> Made:
    """Breast cancer, 30 measurements: a scikit-learn pipeline with scaler, labels and ZipMap."""
    x, y = load_breast_cancer(return_X_y=True)
    x = x.astype(np.float32)
    network = MLPClassifier((24, 16), alpha=1.0, max_iter=400, random_state=SEED)
    pipeline = make_pipeline(MinMaxScaler(), network).fit(x, y)
    proto = to_onnx(pipeline, x[:1], name="cancer", options={id(pipeline): {"zipmap": True}})
    box = {"lower": x.min(axis=0).tolist(), "upper": x.max(axis=0).tolist()}
    return proto, {proto.graph.input[0].name: box}


def diabetes_deep() -> Made:
    """Progression of diabetes: a deep, narrow regressor, 6 hidden layers of 16, by `leo train`."""
    x, y = load_diabetes(return_X_y=True)
    options = TrainOptions(
        hidden=(16,) * 6,
        l1=2e-3,
        rate=0.02,
        epochs=200,
        seed=SEED,
        val_split=0.0,
        normalize="standard",
    )
    found = trained("diabetes", x, (y - y.mean()) / y.std(), options)
    proto = onnx.load_from_string(model_bytes(found.trained.model, found.training, options))
    return proto, json.loads(bounds_text(found.data, found.box, 0.0))["inputs"]


def thermostat() -> Made:
    """A controller written by hand, with one unit of every kind that leo removes.

    heat = 2 relu(21 - t) - relu(21 - t - 2), set point 21, for 5 <= t <= 40, 0 <= humidity <= 1.
    Units: 0 and 1 as in the formula; 2 is never on (t > 60); 3 is always on (t + 10) and 4 is twice
    unit 3, their effects cancel; 5 is always on and constant (1).
    """
    first = np.array([[-1, 0], [-1, 0], [1, 0], [1, 0], [2, 0], [0, 0]], dtype=np.float32)
    bias = np.array([21, 19, -60, 10, 20, 1], dtype=np.float32)
    last = np.array([[2, -1, 8, 4, -2, 0.5]], dtype=np.float32)
    last_bias = np.array([-0.5], dtype=np.float32)
    proto = by_hand("thermostat", "state", "heat", [first, last], [bias, last_bias])
    return proto, {"state": {"names": ["t", "humidity"], "lower": [5, 0], "upper": [40, 1]}}


def alarm_constant() -> Made:
    """An alarm that cannot sound within the operating range: constant there, not everywhere."""
    first = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)
    bias = np.array([-90, -8, -100], dtype=np.float32)
    last = np.array([[1, 10, 1]], dtype=np.float32)
    last_bias = np.array([0.25], dtype=np.float32)
    proto = by_hand("alarm", "temperature_pressure", "level", [first, last], [bias, last_bias])
    bounds = {"temperature_pressure": {"lower": [10, 1], "upper": [80, 6]}}
    return proto, bounds


def by_hand(
    name: str, source: str, target: str, matrices: list[np.ndarray], biases: list[np.ndarray]
) -> onnx.ModelProto:
    """A chain of Gemm and Relu nodes, built with onnx.helper."""
    nodes, initializers, value = [], [], source
    for k, (matrix, bias) in enumerate(zip(matrices, biases, strict=True), start=1):
        initializers += [
            numpy_helper.from_array(matrix, f"W{k}"),
            numpy_helper.from_array(bias, f"b{k}"),
        ]
        last = k == len(matrices)
        out = target if last else f"z{k}"
        nodes.append(helper.make_node("Gemm", [value, f"W{k}", f"b{k}"], [out], transB=1))
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"h{k}"]))
            value = f"h{k}"
    shapes = [["batch", matrices[0].shape[1]], ["batch", matrices[-1].shape[0]]]
    tensors = [
        helper.make_tensor_value_info(tensor, TensorProto.FLOAT, shape)
        for tensor, shape in zip((source, target), shapes, strict=True)
    ]
    graph = helper.make_graph(nodes, name, tensors[:1], tensors[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


MODELS: dict[str, Callable[[], Made]] = {
    "digits": digits,
    "cancer": cancer,
    "diabetes_deep": diabetes_deep,
    "thermostat": thermostat,
    "alarm_constant": alarm_constant,
}


def write(name: str) -> None:
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    proto, inputs = MODELS[name]()
    onnx.checker.check_model(proto, full_check=True)
    (HERE / f"{name}.onnx").write_bytes(proto.SerializeToString(deterministic=True))
    bounds = {"leo_bounds": 1, "inputs": inputs}
    (HERE / f"{name}.bounds.json").write_text(json.dumps(bounds, indent=1) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for wanted in sys.argv[1:] or MODELS:
        write(wanted)
