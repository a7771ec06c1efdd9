"""Names for the array types that cross module borders."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Singles: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]


def frozen(array: NDArray[np.generic] | Floats) -> Floats:
    """`array` as float64 that nobody can write to: itself, if it is that already, else a copy."""
    if array.dtype == np.float64 and not _writeable(array):
        return np.asarray(array, dtype=np.float64)
    return sealed(np.array(array, dtype=np.float64))


def sealed(array: Floats) -> Floats:
    """An array that was just made, and that nobody writes to from now on."""
    array.setflags(write=False)
    return array


def _writeable(array: NDArray[np.generic]) -> bool:
    """Whether the numbers of `array` can be changed, through it or through what it looks into."""
    owner: object = array
    while isinstance(owner, np.ndarray):
        if owner.flags.writeable:
            return True
        owner = owner.base
    return not (owner is None or isinstance(owner, bytes))
