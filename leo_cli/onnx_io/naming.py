"""Names, new initializers and new operators for a graph that is being written.

Names never collide with what stays in use; a name of the original that fell out of use may be taken
over by what replaces it. Equal constants under the same wanted name are stored once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from leo_cli.arrays import Floats
from leo_cli.errors import InternalFault
from leo_cli.onnx_io.affine import representable


class Names:
    """Names in use, of tensors or of operators."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def fresh(self, wanted: str) -> str:
        name, count = wanted, 0
        while not name or name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name


class Sheet:
    """The operators and constants written so far. at: where in the original's order of operators
    the next one belongs (only for the look of the file; the order is made topological in the
    end). named: whether new operators get names."""

    def __init__(self, tensors: Names, operators: Names, opset: int, named: bool = True) -> None:
        self.tensors = tensors
        self.operators = operators
        self.opset = opset
        self.named = named
        self.at = 0
        self.nodes: list[tuple[int, onnx.NodeProto]] = []
        self.initializers: list[onnx.TensorProto] = []
        self._stored: dict[tuple[str, str, tuple[int, ...], bytes], str] = {}

    def constant(self, wanted: str, array: NDArray[Any]) -> str:
        """The name of an initializer that holds `array`."""
        key = (wanted, str(array.dtype), array.shape, array.tobytes())
        if key not in self._stored:
            name = self.tensors.fresh(wanted)
            self._stored[key] = name
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return self._stored[key]

    def stored(self, wanted: str, array: Floats, dtype: str) -> str:
        """The name of an initializer of `dtype`. Raises InternalFault where storing would round."""
        if not representable(array, dtype):
            raise InternalFault(f'"{wanted}": a rewritten weight is no number of type {dtype}')
        return self.constant(wanted, array.astype(dtype))

    def add(
        self,
        op_type: str,
        inputs: Sequence[str],
        output: str,
        like: onnx.NodeProto | None = None,
        **attributes: Any,
    ) -> str:
        """Append an operator that makes `output`; name and notes are those of `like`, the operator
        of the original that it replaces. Returns `output`."""
        node = helper.make_node(op_type, list(inputs), [output], **attributes)
        wanted = like.name if like is not None else f"{output}/{op_type}" if self.named else ""
        if like is not None:
            node.doc_string = like.doc_string
            node.metadata_props.extend(like.metadata_props)
        if wanted:
            node.name = self.operators.fresh(wanted)
        self.nodes.append((self.at, node))
        return output
