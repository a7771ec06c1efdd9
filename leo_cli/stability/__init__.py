"""Classification of units: verdicts, and the deciders that reach them."""

from leo_cli.stability.budget import Budget
from leo_cli.stability.ladder import classify
from leo_cli.stability.options import DECIDERS, ClassifyOptions
from leo_cli.stability.search import Progress
from leo_cli.stability.verdict import LayerStability, StabilityMap, State, Verdict

__all__ = [
    "DECIDERS",
    "Budget",
    "ClassifyOptions",
    "LayerStability",
    "Progress",
    "StabilityMap",
    "State",
    "Verdict",
    "classify",
]
