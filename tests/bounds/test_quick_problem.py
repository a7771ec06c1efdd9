"""Problems in float32: what they are not made of."""

import numpy as np
from support.problems import problem_of

from leo_cli.bounds.quick_problem import QuickProblem
from leo_cli.domain import Domain, OneHot
from leo_cli.network import Dense, Layer, Network, Term


def test_domains_and_numbers_it_is_not_for() -> None:
    layer = Layer("a", (Term(0, Dense(np.ones((1, 2)))),), np.zeros(1), relu=True)
    huge = Layer("a", (Term(0, Dense(np.full((1, 2), 1e35))),), np.zeros(1), relu=True)
    box = Domain(np.zeros(2), np.ones(2))
    group = OneHot(np.arange(2), np.zeros(2), np.ones(2))
    assert QuickProblem.suits(problem_of(Network(2, (layer,), (1,)), box))
    assert not QuickProblem.suits(problem_of(Network(2, (huge,), (1,)), box))
    one_hot = Domain(np.zeros(2), np.ones(2), one_hot=(group,))
    assert not QuickProblem.suits(problem_of(Network(2, (layer,), (1,)), one_hot))
