"""Domains: the value, its questions, and the file formats it is read from."""

from leo_cli.domain.domain import Domain, LinearConstraint, OneHot
from leo_cli.domain.read import read_domain

__all__ = ["Domain", "LinearConstraint", "OneHot", "read_domain"]
