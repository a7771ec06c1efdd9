"""The only part of leo that knows ONNX graphs: reading them, writing them, nothing in between."""

from leo_cli.onnx_io.model import Model
from leo_cli.onnx_io.read import read_model

__all__ = ["Model", "read_model"]
