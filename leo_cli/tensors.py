"""Description of a model's input and output tensors, free of any file format."""

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class TensorSpec:
    """shape: as in the file, with the batch axis (int, symbol name, or None where unknown).
    features: the shape without the batch axis. dtype: "float16", "float32", "float64", "int64", ...
    """

    name: str
    shape: tuple[int | str | None, ...]
    features: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Number of features."""
        return prod(self.features)
