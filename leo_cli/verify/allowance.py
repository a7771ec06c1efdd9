"""How far apart the outputs of two dense parts may be: both rounding bounds plus the deviation.

With real values f and g, |f - g| <= deviation on D, and native values f', g':
    |f' - g'| <= |f' - f| + |f - g| + |g - g'| <= bound_f + deviation + bound_g.
At one point x of D the rounding bounds of the domain {x} serve as well, and are far smaller: nearly
all phases are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.network import Network
from leo_cli.rounding import up
from leo_cli.verify.ranges import value_ranges
from leo_cli.verify.rounding import bounds_for
from leo_cli.verify.subject import SharedPart, Subject


@dataclass(frozen=True)
class ProvedBounds:
    """lower, upper: for each layer, (width,) proved bounds of its pre-activation over the
    domain."""

    lower: Sequence[Floats]
    upper: Sequence[Floats]


@dataclass(frozen=True)
class Allowance:
    """(components,) each, in the order of the shared part. native, float64: allowed differences of
    native and of float64 evaluations. before, after: the native rounding bounds of the two
    models."""

    native: Floats
    float64: Floats
    before: Floats
    after: Floats


def allowance(
    a: Subject,
    b: Subject,
    shared: SharedPart,
    domain: Domain,
    deviation: Floats,
    proved: ProvedBounds | None = None,
    point: bool = False,
) -> Allowance:
    """deviation: (components,) in the shared order. proved: bounds of the first model's
    pre-activations, where known. point: the domain is a single point."""
    before, before64 = _bounds(a.network, domain, proved, point)
    after, after64 = _bounds(b.network, domain, None, point)
    first, second = shared.first, shared.second
    return Allowance(
        native=up(up(before[first] + after[second]) + deviation),
        float64=up(up(before64[first] + after64[second]) + deviation),
        before=before[first],
        after=after[second],
    )


def at_point(
    a: Subject, b: Subject, shared: SharedPart, domain: Domain, deviation: Floats, x: Floats
) -> Allowance:
    """The allowance for the single point x: (inputs,)."""
    return allowance(a, b, shared, Domain(x, x, domain.dtype), deviation, point=True)


def _bounds(
    network: Network, domain: Domain, proved: ProvedBounds | None, point: bool
) -> tuple[Floats, Floats]:
    lower, upper = (None, None) if proved is None else (proved.lower, proved.upper)
    ranges = value_ranges(network, domain, lower, upper, linear=not point)
    both = bounds_for(network, domain, (network.dtype, "float64"), ranges)
    return both[network.dtype], np.fmax(both["float64"], 0.0)
