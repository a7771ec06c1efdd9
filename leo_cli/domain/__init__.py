"""Domains: the value, its questions, and the file formats it is read from."""

from leo_cli.domain.domain import Domain, LinearConstraint, OneHot

__all__ = ["Domain", "LinearConstraint", "OneHot"]
