"""Replace units by constants where the outputs hardly feel the difference; unused inputs are a case of it.

Every unit, stable or not, has h_j in [l_j, u_j] on D: with v_j in the middle, taking v_j for h_j changes the outputs by at most
sensitivity x (u_j - l_j) / 2. Units whose whole effect is within the allowance go (rewrite/constants.py): the nearly
constant, the nearly inactive, those that hardly anybody reads. The order is by effect, taken one by one; the certificate is
for all that go together, in which signed effects of one unit on several readers are combined first.
"""

from __future__ import annotations

import numpy as np

from leo_cli.arrays import Floats, Ints
from leo_cli.rewrite.constants import replace_by_constants, representable_middle
from leo_cli.rewrite.deviation import sensitivity
from leo_cli.rewrite.prefix import longest_prefix
from leo_cli.rewrite.subject import Answer, Refusal, Rewrite, Subject
from leo_cli.rewrite.surgery import has_double_source, term_matrix

NAME = "negligible_units"


def negligible_units(subject: Subject, k: int) -> Answer:
    """Layer k without units whose effect on the outputs is within the allowance."""
    layer = subject.network.layers[k]
    if subject.is_output(k):
        return Refusal(NAME, layer.name, "its values are read outside the network")
    if not subject.allowance.any():
        return Refusal(NAME, layer.name, "no deviation is allowed")
    if any(has_double_source(subject.network.layers[c]) for c in subject.network.consumers(k + 1)):
        return Refusal(NAME, layer.name, "a reader reads it twice")
    order = by_effect(subject, k)
    values, radius = representable_middle(*subject.box(k + 1), subject.network.dtype)

    def attempt(count: int) -> Rewrite | None:
        units = np.sort(order[:count])
        note = "replaced by constants"
        step = replace_by_constants(subject, k, units, values[units], radius[units], NAME, note)
        if step is None or not subject.allows(step.deviation):
            return None
        return step

    step = longest_prefix(len(order), attempt)
    if step is None:
        return Refusal(NAME, layer.name, "every unit moves the outputs by more than is allowed")
    return step


def by_effect(subject: Subject, k: int) -> Ints:
    """Units of layer k whose single effect seems to fit into the allowance, the smallest effect first."""
    network = subject.network
    into = {c: _columns(subject, c, k) for c in network.consumers(k + 1)}
    if not into:
        return np.zeros(0, dtype=np.int64)
    low, high = subject.box(k + 1)
    felt = sensitivity(subject, into) * (0.5 * (high - low))
    allowed = subject.allowance[:, None]
    share = np.divide(felt, allowed, out=np.where(felt > 0, np.inf, 0.0), where=allowed > 0)
    worst = share.max(axis=0, initial=0.0)
    order = np.argsort(worst, kind="stable")
    return np.asarray(order[worst[order] <= 1.0])


def _columns(subject: Subject, c: int, k: int) -> Floats:
    return term_matrix(subject.network.layers[c], k + 1)[0][1]
