"""What a search keeps account of while deciders run."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from leo_cli.domain import Domain
from leo_cli.network import Dense, Layer, Network, Term
from leo_cli.stability.budget import Budget
from leo_cli.stability.knowledge import Findings, Knowledge
from leo_cli.stability.search import Search

SLEEP = 0.02


@dataclass(frozen=True)
class Slow:
    """Settles nothing, and tells how long it looked at the first of its units, if at all."""

    told: float | None
    name: str = "slow"

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterator[Findings]:
        del knowledge, budget
        time.sleep(SLEEP)
        yield Findings(seconds={} if self.told is None else {(layers[0], 0): self.told})


def searched(*told: float | None) -> Search:
    """After a search for three open units, with a decider for each entry."""
    layer = Layer("hidden", (Term(0, Dense(np.eye(3))),), np.zeros(3), relu=True)
    network = Network(3, (layer,), (1,))
    domain = Domain(-np.ones(3), np.ones(3), "float32")
    search = Search(Knowledge.start(network, domain), Budget(), None, None)
    for seconds in told:
        search.run(Slow(seconds), (0,))
    return search


def test_units_are_charged_what_deciders_tell_and_share_the_rest() -> None:
    verdicts = searched(5.0, 0.5 * SLEEP).conclude().layers[0].verdicts
    first, second, third = (verdict.seconds for verdict in verdicts)
    assert first == pytest.approx(5.0 + 0.5 * SLEEP)
    assert second == third >= 0.25 * SLEEP


def test_what_is_not_told_is_shared_by_all() -> None:
    verdicts = searched(None).conclude().layers[0].verdicts
    first, second, third = (verdict.seconds for verdict in verdicts)
    assert first == second == third >= SLEEP / 3
