"""Rewriting ends when its time is up, and keeps what was done."""

from collections.abc import Iterator
from itertools import count
from threading import Event

from rewrite_cases import holds, paired, planted, subject
from support.checks import perfect_stability
from support.oracle import enumerate_patterns

from leo_cli.domain import Domain
from leo_cli.network import Network
from leo_cli.rewrite import RewriteOptions, Shrunk, Tolerance, shrink
from leo_cli.stability import Budget


def run(network: Network, domain: Domain, budget: Budget | None) -> Shrunk:
    stability = perfect_stability(network, enumerate_patterns(network, domain))
    options = RewriteOptions(tolerance=Tolerance("absolute", 1e-3))
    return shrink(network, stability, domain, options, budget)


def questions(limit: int) -> Budget:
    """A budget that is used up after being asked so many times."""
    ticks: Iterator[int] = count()
    return Budget(deadline=float(limit), clock=lambda: float(next(ticks)))


def test_every_prefix_of_a_run_is_a_valid_result() -> None:
    ended_early = 0
    for seed in range(12):
        network, domain = planted(seed) if seed % 2 else paired(seed)
        whole = run(network, domain, None)
        for limit in (0, 3, 10, 30, 100):
            part = run(network, domain, questions(limit))
            before = subject(network, domain)
            for step in part.steps:
                assert holds(step, before)
                before = step.after(before)
            assert part.network is before.network
            assert (part.deviation <= part.allowance).all()
            assert whole.network.connections <= part.network.connections <= network.connections
            ended_early += len(part.steps) < len(whole.steps)
    assert ended_early > 10


def test_what_is_exact_and_quick_is_done_without_time() -> None:
    stop = Event()
    stop.set()
    seen = set()
    for seed in range(12):
        steps = run(*planted(seed), Budget(stop=stop)).steps
        seen |= {step.rewrite for step in steps}
    assert seen == {"drop_inactive", "drop_unread"}
