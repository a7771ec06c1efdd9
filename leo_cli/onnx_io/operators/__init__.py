"""How each ONNX operator is read: one family a module, all registered in `READERS`.

A reader takes the step (a node) and the scope (what is known so far) and returns the values of the
node's outputs, or raises `Unsupported` with the reason why the network ends there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from leo_cli.onnx_io.operators import (
    activation,
    dense,
    elementwise,
    normalise,
    parts,
    relabel,
    sizes,
)
from leo_cli.onnx_io.step import Step
from leo_cli.onnx_io.values import Value

if TYPE_CHECKING:
    from leo_cli.onnx_io.scope import Scope

Reader = Callable[[Step, "Scope"], Sequence[Value]]

READERS: Mapping[tuple[str, str], Reader] = {
    **activation.READERS,
    **dense.READERS,
    **elementwise.READERS,
    **normalise.READERS,
    **parts.READERS,
    **relabel.READERS,
    **sizes.READERS,
}

# Operators that ordinarily follow a network, or make one that has nothing to do with ReLU: a model
# that consists of them and of affine layers is read as a model without units, not refused.
BOUNDARY = frozenset(
    {
        *("Sigmoid", "Tanh", "Softmax", "LogSoftmax", "Hardmax", "Softplus", "Softsign", "Erf"),
        *("ArgMax", "ArgMin", "TopK", "Exp", "Log", "Sin", "Cos", "Sqrt", "Pow", "Reciprocal"),
        *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2"),
        *("ReduceLogSumExp", "ReduceProd", "ReduceSumSquare", "ReduceLogSum", "CumSum"),
        *("Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal", "Not", "And", "Or"),
        *("Floor", "Ceil", "Round", "Sign", "Abs", "IsNaN", "IsInf", "NonZero"),
        *("ZipMap", "Normalizer", "ArrayFeatureExtractor", "Binarizer", "LabelEncoder"),
        *("LinearRegressor", "LinearClassifier"),
    }
)


WORDS = {
    "Conv": "convolutions are not supported",
    "ConvTranspose": "convolutions are not supported",
    "QuantizeLinear": "quantised layers are not supported",
    "DynamicQuantizeLinear": "quantised layers are not supported",
    "LSTM": "recurrent layers are not supported",
    "GRU": "recurrent layers are not supported",
    "RNN": "recurrent layers are not supported",
}


def reason_of(step: Step) -> str:
    """Why an operator without a reader ends the network."""
    return WORDS.get(step.op_type, f"the operator {step.op_type} is not supported")


def kind_of(step: Step) -> Literal["layer", "boundary"]:
    """What an operator without a reader means for a model without dense ReLU layers."""
    return "boundary" if step.op_type in BOUNDARY else "layer"
