"""How far a run may move the outputs: `--tolerance`, and what it means for a given network.

    half-ulp  half an ulp, in the output's type, of the largest magnitude that the component attains
    at a replayed
              point of D: at most what storing that output once costs
    0         only what is exact in the stored type
    X         absolute
    Xr        X times the largest magnitude attained

Magnitudes are attained ones (rewrite/attained.py), never upper bounds: looser bounds must not buy
tolerance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.errors import InputError
from leo_cli.network import Network
from leo_cli.rewrite.arithmetic import stored, ulp
from leo_cli.rewrite.attained import attained_magnitude

HALF_ULP = "half-ulp"


@dataclass(frozen=True)
class Tolerance:
    """kind: "half-ulp", "absolute" or "relative" (of the largest magnitude attained). value: of the
    last two."""

    kind: str = HALF_ULP
    value: float = 0.0

    @property
    def is_zero(self) -> bool:
        return self.kind != HALF_ULP and self.value == 0.0

    def __str__(self) -> str:
        if self.kind == HALF_ULP:
            return HALF_ULP
        return f"{self.value:g}" + ("r" if self.kind == "relative" else "")


def parse_tolerance(text: str) -> Tolerance:
    """ "half-ulp", "0", "1e-6", "1e-5r". Raises InputError."""
    word = text.strip().lower()
    if word == HALF_ULP:
        return Tolerance()
    relative = word.endswith("r")
    try:
        value = float(word[:-1] if relative else word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise InputError(
            f'--tolerance: "{text}" is not "half-ulp", a number >= 0 such as 1e-6, or one with r '
            "(relative) such as 1e-5r"
        )
    return Tolerance("relative" if relative else "absolute", value)


def allowance(
    tolerance: Tolerance,
    network: Network,
    domain: Domain,
    points: Floats | None = None,
    seed: int = 0,
) -> Floats:
    """The allowed deviation of each output component of the network. points: (m, inputs) known
    points of D."""
    components = sum(network.width(node) for node in network.outputs)
    if tolerance.kind == "absolute":
        return np.full(components, tolerance.value)
    if tolerance.kind == "relative" and tolerance.value == 0.0:
        return np.zeros(components)
    size = attained_magnitude(network, domain, points, seed)
    # an output beyond its type has no magnitude to speak of: nothing is allowed there
    size = np.where(np.isfinite(stored(size, network.dtype)), size, 0.0)
    if tolerance.kind == "relative":
        return np.asarray(np.nextafter(size * tolerance.value, 0.0))
    return np.where(size > 0, 0.5 * ulp(size, network.dtype), 0.0)
