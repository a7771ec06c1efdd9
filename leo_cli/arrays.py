"""Names for the array types that cross module borders."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]


def frozen(array: NDArray[np.generic] | Floats) -> Floats:
    """A float64 copy of `array` that nobody can write to."""
    copy = np.array(array, dtype=np.float64)
    copy.setflags(write=False)
    return copy
