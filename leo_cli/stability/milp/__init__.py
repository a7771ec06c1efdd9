"""Mixed-integer linear programs as a source of witnesses and hints: no answer is a proof."""

from leo_cli.stability.milp.network import NetworkDecider
from leo_cli.stability.milp.process import require_solver
from leo_cli.stability.milp.unit import MilpOptions, UnitDecider

__all__ = ["MilpOptions", "NetworkDecider", "UnitDecider", "require_solver"]
