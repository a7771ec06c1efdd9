"""The only part of leo that knows ONNX graphs: reading them, writing them, nothing in between."""

from leo_cli.onnx_io.expose import observed_tensors, with_outputs
from leo_cli.onnx_io.guard import Guarded, add_guard
from leo_cli.onnx_io.model import Model
from leo_cli.onnx_io.read import read_model
from leo_cli.onnx_io.save import save
from leo_cli.onnx_io.write import Rendered, render

__all__ = [
    "Guarded",
    "Model",
    "Rendered",
    "add_guard",
    "observed_tensors",
    "read_model",
    "render",
    "save",
    "with_outputs",
]
