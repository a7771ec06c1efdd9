"""How long rewriting may take within a run."""

from threading import Event

from leo_cli.candidate import GRACE, _for_rewriting
from leo_cli.stability.budget import Budget


def at(now: float, deadline: float = float("inf"), stop: Event | None = None) -> Budget:
    return Budget(deadline=deadline, stop=stop or Event(), clock=lambda: now)


def test_rewriting_has_what_the_search_left() -> None:
    stop = Event()
    budget = _for_rewriting(at(100.0, 160.0, stop))
    assert budget.remaining() == 60.0
    stop.set()  # an interrupt while rewriting ends it
    assert budget.expired()


def test_and_a_little_where_nothing_is_left() -> None:
    assert _for_rewriting(at(100.0, 90.0)).remaining() == GRACE
    assert _for_rewriting(at(100.0, 100.5)).remaining() == GRACE


def test_an_interrupt_of_the_search_leaves_rewriting_its_time() -> None:
    stop = Event()
    stop.set()
    assert _for_rewriting(at(100.0, 1000.0, stop)).remaining() == GRACE
