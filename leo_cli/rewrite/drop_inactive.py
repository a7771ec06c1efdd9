"""Delete units that are stably inactive (LEO, arXiv 2001.00218, section 4.1).

If max over D of z_j <= 0 then h_j = max(z_j, 0) = 0 on D, so nobody sees the row W_j, b_j, and
nobody's result changes when column j goes from every layer that reads the unit. Exact: deviation 0
in every arithmetic that adds 0 exactly. If all units of a layer go, its readers are left with what
else they read, in the extreme with their bias: a constant network. Units of an output node stay,
since their number is part of the interface.
"""

from __future__ import annotations

from leo_cli.rewrite.subject import Answer, Refusal, Rewrite, Subject, indices, no_deviation
from leo_cli.rewrite.surgery import keep_bounds, keep_units, without_unread_layers

NAME = "drop_inactive"


def drop_inactive(subject: Subject, k: int) -> Answer:
    """Layer k without the units that are proved inactive."""
    layer = subject.network.layers[k]
    gone = subject.inactive(k)
    if not layer.relu:
        return Refusal(NAME, layer.name, "the layer has no ReLU")
    if subject.is_output(k):
        return Refusal(NAME, layer.name, "its values are read outside the network")
    if not gone.any():
        return Refusal(NAME, layer.name, "no unit is proved inactive")
    keep = indices(~gone)
    network, lower, upper = without_unread_layers(
        keep_units(subject.network, k, keep),
        keep_bounds(subject.lower, k, keep),
        keep_bounds(subject.upper, k, keep),
    )
    units = tuple(indices(gone).tolist())
    note = "all units are inactive: the layer is gone" if len(keep) == 0 else ""
    return Rewrite(
        NAME, layer.name, units, no_deviation(subject), network, note, lower, upper, neutral=True
    )
