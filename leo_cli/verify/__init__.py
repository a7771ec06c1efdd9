"""Verification: native and exact evaluation, rounding bounds, comparison of two models, latency."""

from leo_cli.verify.allowance import ProvedBounds
from leo_cli.verify.compare import VerifyOptions, verify_models
from leo_cli.verify.exact import Dyadic, exact_outputs, exact_pre_activations
from leo_cli.verify.latency import Latency, measure_latency
from leo_cli.verify.outcome import Labels, NearTie, OutputDifference, Verification, WorstPoint
from leo_cli.verify.rounding import rounding_bound
from leo_cli.verify.search import SearchOptions

__all__ = [
    "Dyadic",
    "Labels",
    "Latency",
    "NearTie",
    "OutputDifference",
    "ProvedBounds",
    "SearchOptions",
    "Verification",
    "VerifyOptions",
    "WorstPoint",
    "exact_outputs",
    "exact_pre_activations",
    "measure_latency",
    "rounding_bound",
    "verify_models",
]
