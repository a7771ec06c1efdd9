"""Search for inputs at which two networks differ.

Projected sign-gradient ascent on +(f_c - g_c) and -(f_c - g_c) for each output component c: the
step that is steepest in the maximum norm (Madry et al., arXiv 1706.06083, section 2), its length
shrinking from a quarter of each feature's range. Where a unit was removed that is off at the start,
the difference is flat; so each question is asked twice, the second time with a small slope in place
of 0 for units that are off, which leads towards inputs that switch them on. Nothing is concluded
from a search that finds nothing; its points are compared like all others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.network import Network

FIRST_STEP = 0.25  # of a feature's range
SHRINK = 0.8  # of the step, each time
LEAK = 0.05  # slope of a unit that is off, in the second ascent of each question


@dataclass(frozen=True)
class SearchOptions:
    """steps: of each ascent. ascents: at most so many at once; the components that differ most go
    first."""

    steps: int = 20
    ascents: int = 32


def search_difference(
    first: Network,
    second: Network,
    domain: Domain,
    starts: Floats,
    difference: Floats,
    options: SearchOptions | None = None,
) -> Floats:
    """Points of the domain at which the networks differ more than at the starts, for as many
    questions as may be.

    starts: (n, inputs) points of the domain; difference: (n, components) f - g there, in float64,
    the networks' outputs concatenated. Each question starts from the row where it is answered best.
    Returns (m, inputs).
    """
    chosen = options or SearchOptions()
    components = difference.shape[1]
    if len(starts) == 0 or components == 0 or chosen.ascents == 0:
        return np.zeros((0, domain.inputs))
    signed = np.concatenate([difference, -difference], axis=1)
    signed = np.where(np.isfinite(signed), signed, -np.inf)
    best = signed.max(axis=0)
    asked = np.argsort(-best, kind="stable")[: (chosen.ascents + 1) // 2]
    leaks = np.repeat([0.0, LEAK], len(asked))[:, None]
    asked = np.concatenate([asked, asked])
    x = starts[signed[:, asked].argmax(axis=0)]
    objective = np.zeros((len(asked), components))
    objective[np.arange(len(asked)), asked % components] = np.where(asked < components, 1.0, -1.0)
    reached, value = x.copy(), best[asked]
    step = FIRST_STEP * (domain.upper - domain.lower)
    for _ in range(chosen.steps):
        f, slope_f = _value_and_gradient(first, x, objective, leaks)
        g, slope_g = _value_and_gradient(second, x, objective, leaks)
        now = f - g
        better = now > value
        reached[better], value[better] = x[better], now[better]
        direction = np.sign(slope_f - slope_g)
        if not direction.any():
            break
        x = domain.project(x + step * direction)
        step = SHRINK * step
    found: Floats = np.concatenate([reached, x])
    return found


def _value_and_gradient(
    network: Network, x: Floats, objective: Floats, leaks: Floats
) -> tuple[Floats, Floats]:
    """(m,) values of objective . outputs at x (m, inputs), and (m, inputs) their gradients.

    leaks: (m, 1) slopes of units that are off."""
    z = network.pre_activations(x)
    pending: list[Floats | None] = [None] * (len(network.layers) + 1)
    value, start = np.zeros(len(x)), 0
    for node in network.outputs:
        width = network.width(node)
        part = objective[:, start : start + width]
        start += width
        h = x if node == 0 else network.layers[node - 1].activate(z[node - 1])
        value = value + np.einsum("ij,ij->i", part, h)
        pending[node] = _sum(pending[node], part)
    for node in range(len(network.layers), 0, -1):
        coefficients = pending[node]
        if coefficients is None:
            continue
        layer = network.layers[node - 1]
        if layer.relu:
            coefficients = coefficients * np.where(z[node - 1] > 0, 1.0, leaks)
        for term in layer.terms:
            moved = term.map.apply_transposed(coefficients)
            pending[term.source] = _sum(pending[term.source], moved)
    gradient = pending[0]
    return value, np.zeros_like(x) if gradient is None else gradient


def _sum(known: Floats | None, more: Floats) -> Floats:
    return more if known is None else known + more
