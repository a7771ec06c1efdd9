"""Transformations of networks that keep what they compute on the domain, up to a proved
deviation."""

from leo_cli.rewrite.passes import REWRITES, RewriteOptions, Shrunk, shrink
from leo_cli.rewrite.subject import Refusal, Rewrite
from leo_cli.rewrite.tolerance import Tolerance, parse_tolerance

__all__ = [
    "REWRITES",
    "Refusal",
    "Rewrite",
    "RewriteOptions",
    "Shrunk",
    "Tolerance",
    "parse_tolerance",
    "shrink",
]
