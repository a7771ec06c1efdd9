"""onnxruntime sessions that evaluate a model natively at points of the domain.

Sessions are pinned so that the same file gives the same bits on the same machine: the CPU provider,
one thread, and the graph optimisation level "disabled" unless the caller asks for another. At that
level every node is computed as the file says, which is the evaluation that rounding bounds speak
of; onnxruntime's default in deployment is "all".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from leo_cli.arrays import Floats
from leo_cli.errors import InputError, ModelError
from leo_cli.tensors import TensorSpec

Column: TypeAlias = NDArray[Any]
LEVELS = {  # to the names of onnxruntime.GraphOptimizationLevel
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
BLOCK = 2048  # rows of one run, to bound the memory of hidden tensors
_FATAL_ONLY = 4  # errors arrive as exceptions; the log would only repeat them on stderr


@dataclass(frozen=True)
class Block:
    """One run: tensors by name. fed: samples that went in; the first `rows` of them count, the
    others fill a fixed batch."""

    feed: Mapping[str, Column]
    outputs: Mapping[str, Any]
    rows: int
    fed: int


def stacked(blocks: Sequence[Block]) -> dict[str, Column]:
    """The outputs of several runs as arrays of (rows, components)."""
    if not blocks:
        return {}
    return {name: _stacked(name, blocks) for name in blocks[0].outputs}


@dataclass(frozen=True)
class Session:
    """A loaded model. inputs: its inputs in order, as node 0 of its network concatenates them.
    outputs: names of what `run` returns. batch: rows of one run; 0 where any number goes."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    batch: int
    native: Any

    def run(self, points: Floats) -> dict[str, Column]:
        """Evaluate at points (n, inputs), each a number of the input's type.

        Returns for each output an array with n rows: (n, components) for tensors and (n, keys) for
        dictionaries (ZipMap), keys ascending. Raises ModelError naming the model.
        """
        return stacked(self.blocks(points))

    def blocks(self, points: Floats) -> list[Block]:
        """The same, run by run, with what went in and came out as onnxruntime has it."""
        step = self.batch or BLOCK
        surplus = -len(points) % self.batch if self.batch else 0
        tensors = self._tensors(points, surplus)
        out = []
        for start in range(0, len(points), step):
            rows = min(step, len(points) - start)
            part = slice(start, start + step)
            feed = {
                spec.name: (values[start, ...] if _batchless(spec) else values[part])
                for spec, values in zip(self.inputs, tensors, strict=True)
            }
            made = dict(zip(self.outputs, self.fetch(feed), strict=True))
            out.append(Block(feed, made, rows, self.batch or rows))
        return out

    def _tensors(self, points: Floats, surplus: int) -> list[Column]:
        """For each input, (n + surplus, *features) in its own type; the last point fills the
        surplus."""
        tensors, start = [], 0
        for spec in self.inputs:
            part = points[:, start : start + spec.size].astype(spec.dtype)
            start += spec.size
            if surplus:
                part = np.concatenate([part, np.repeat(part[-1:], surplus, axis=0)])
            tensors.append(part.reshape(len(points) + surplus, *spec.features))
        return tensors

    def fetch(self, feed: Mapping[str, Column]) -> list[Any]:
        """One run of the session. Raises ModelError naming the model."""
        try:
            return list(self.native.run(self.outputs, feed))
        except _runtime_errors() as error:
            raise ModelError(
                f"{self.name}: onnxruntime cannot run it: {_first_line(error)}"
            ) from error


@cache
def _runtime_errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises: its classes derive from RuntimeError or directly from Exception, by
    version."""
    from onnxruntime.capi import onnxruntime_pybind11_state

    own = [
        value
        for value in vars(onnxruntime_pybind11_state).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    return (RuntimeError, ValueError, TypeError, *own)


def open_session(
    content: bytes | str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[str],
    name: str,
    level: str = "disabled",
) -> Session:
    """Load a model from its bytes or path.

    outputs: names of the tensors to return. name: what messages call the model. level: one of
    LEVELS. Raises ModelError where onnxruntime refuses it, InputError for an unknown level.
    """
    if level not in LEVELS:
        raise InputError(f"optimisation level {level!r}: choose one of {', '.join(LEVELS)}")
    import onnxruntime  # starts a thread of its own, and not every command evaluates a model

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[level])
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    try:
        native = onnxruntime.InferenceSession(
            content, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except _runtime_errors() as error:
        raise ModelError(f"{name}: onnxruntime cannot load it: {_first_line(error)}") from error
    return Session(name, tuple(inputs), tuple(outputs), _fixed_batch(inputs, name), native)


def _batchless(spec: TensorSpec) -> bool:
    return len(spec.shape) == len(spec.features)


def _fixed_batch(inputs: Sequence[TensorSpec], name: str) -> int:
    """Rows of one run where the file fixes them (1 where an input has no batch axis), else 0."""
    sizes: set[int] = set()
    for spec in inputs:
        if _batchless(spec):
            sizes.add(1)
        elif isinstance(first := spec.shape[0], int) and first > 0:
            sizes.add(first)
    if len(sizes) > 1:
        raise ModelError(
            f"{name}: its inputs have different batch sizes {sorted(sizes)}; give them one"
        )
    return sizes.pop() if sizes else 0


def _stacked(name: str, blocks: Sequence[Block]) -> Column:
    values = [block.outputs[name] for block in blocks]
    if all(block.fed == 1 for block in blocks) and isinstance(values[0], np.ndarray):
        return np.stack(values).reshape(len(blocks), -1)  # thousands of runs of one sample each
    return np.concatenate(
        [_rows(value, block) for value, block in zip(values, blocks, strict=True)]
    )


def _rows(value: Any, block: Block) -> Column:
    """One output of one run as an array of (rows, components).

    The samples lie along the first axis as long as the batch; what has no such axis belongs to the
    whole run, and so to each of its rows."""
    if isinstance(value, dict):  # a map: one row
        value = [value]
    if isinstance(value, list):
        if value and isinstance(value[0], dict):
            value = np.array([[row[key] for key in sorted(row)] for row in value])
        else:
            value = np.array([np.ravel(item) for item in value])
    array = np.asarray(value)
    along = next((axis for axis, size in enumerate(array.shape) if size == block.fed), None)
    if along is None or (block.fed == 1 and along > 0):
        return np.repeat(array.reshape(1, -1), block.rows, axis=0)
    return np.moveaxis(array, along, 0).reshape(block.fed, -1)[: block.rows]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
