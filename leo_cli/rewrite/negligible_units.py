"""Replace units by constants where the outputs hardly feel the difference; unused inputs are a case
of it.

Every unit, stable or not, has h_j in [l_j, u_j] on D: taking a number v_j of this range for h_j
changes the outputs by at most sensitivity x (u_j - l_j). Units whose whole effect is within the
allowance go (rewrite/constants.py): the nearly constant, the nearly inactive, those that hardly
anybody reads. The order is by effect, taken one by one; the certificate is for all that go
together, in which signed effects of one unit on several readers are combined first.
"""

from __future__ import annotations

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.rewrite.constants import replace_by_constants, stand_in
from leo_cli.rewrite.deviation import sensitivity
from leo_cli.rewrite.prefix import longest_allowed
from leo_cli.rewrite.subject import Answer, Refusal, Rewrite, Subject
from leo_cli.rewrite.surgery import reads

NAME = "negligible_units"


def negligible_units(subject: Subject, k: int) -> Answer:
    """Layer k without units whose effect on the outputs is within the allowance."""
    layer = subject.network.layers[k]
    obstacle = subject.obstacle(k)
    if obstacle is not None:
        return Refusal(NAME, layer.name, obstacle)
    if not subject.allowance.any():
        return Refusal(NAME, layer.name, "no deviation is allowed")
    order = by_effect(subject, k)
    low, high = subject.box(k + 1)
    values = stand_in(low, high, subject.network.dtype)

    def rewrite(count: int) -> Rewrite | None:
        units = np.sort(order[:count])
        note = "replaced by constants"
        box = (low[units], high[units])
        return replace_by_constants(subject, k, units, box, values[units], NAME, note)

    step = longest_allowed(subject, (NAME, k), order, rewrite)
    if step is None:
        return Refusal(NAME, layer.name, "every unit moves the outputs by more than is allowed")
    return step


def by_effect(subject: Subject, k: int) -> Ints:
    """Units of layer k whose single effect seems to fit into the allowance, the smallest effect
    first."""
    network = subject.network
    into = {c: _columns(subject, c, k) for c in network.consumers(k + 1)}
    if not into:
        return np.zeros(0, dtype=np.int64)
    low, high = subject.box(k + 1)
    moved = subject.once(("felt", k), lambda: sensitivity(subject, into))
    felt = moved * (0.5 * (high - low))
    allowed = subject.allowance[:, None]
    share = np.divide(felt, allowed, out=np.where(felt > 0, np.inf, 0.0), where=allowed > 0)
    worst = share.max(axis=0, initial=0.0)
    order = np.argsort(worst, kind="stable")
    return np.asarray(order[worst[order] <= 1.0])


def _columns(subject: Subject, c: int, k: int) -> Floats:
    return reads(subject.network.layers[c], k + 1)
