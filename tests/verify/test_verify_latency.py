"""Latency is measured in pairs, and a larger model takes longer."""

import numpy as np
from verify_cases import mlp, parameters

from leo_cli.domain import Domain
from leo_cli.verify import measure_latency

BOX = Domain(np.zeros(200), np.ones(200))


def test_a_much_smaller_model_is_faster_at_both_batch_sizes() -> None:
    rng = np.random.default_rng(0)
    large, small = mlp(parameters([200, 900, 900, 4], rng)), mlp(parameters([200, 4, 4], rng))
    measured = measure_latency(large, small, BOX, seconds=0.05)
    assert [one.batch for one in measured] == [1, 256]
    for one in measured:
        assert 0 < one.after < one.before
        assert one.ratio < 0.9


def test_a_fixed_batch_is_measured_as_it_is() -> None:
    model = mlp(parameters([200, 4, 2], np.random.default_rng(0)), batch=3)
    (one,) = measure_latency(model, model, BOX, seconds=0.02)
    assert one.batch == 3
