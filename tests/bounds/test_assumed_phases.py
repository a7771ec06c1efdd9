"""A node starts from where its parent ended: an assumed phase costs nothing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support import examples
from support.oracle import enumerate_patterns
from support.problems import problem_of
from support.strategies import TAME, networks_on, plain_boxes

from leo_cli.bounds.dual import initial
from leo_cli.bounds.slopes import optimise


@given(st.data())
@examples(80)
def test_bounds_of_both_phases_hold_and_start_no_lower_than_without(data: st.DataObject) -> None:
    domain = data.draw(plain_boxes())
    network = data.draw(networks_on(domain, 3, palettes=TAME))
    problem = problem_of(network, domain)
    rows = np.eye(network.layers[-1].width)
    parent = optimise(problem, rows, initial(problem, len(rows), phased=True), 5)
    truth = enumerate_patterns(network, domain)
    for k in range(problem.target):
        if problem.relaxations[k] is None or not parent.coefficients[k].size:
            continue
        for unit in np.flatnonzero((problem.lower[k] < 0) & (problem.upper[k] > 0)):
            halves = []
            for phase in (1, -1):
                dual = parent.dual.take(np.arange(len(rows)))
                where = np.tile([k, unit], (len(rows), 1))
                dual.assume(np.arange(len(rows)), where, phase, parent.coefficients[k][:, unit])
                assert (phase * dual.multipliers[k][:, unit] <= 0).all()  # type: ignore[index]
                child = optimise(problem, rows, dual, 0).bound
                halves.append(child)
                same = parent.coefficients[k][:, unit] >= 0
                room = 1e-9 * (1.0 + np.abs(parent.bound[same]))
                assert (child[same] >= parent.bound[same] - room).all()
            for row, bound in enumerate(np.minimum(*halves)):
                assert bound <= truth.range(problem.target, row)[0]
