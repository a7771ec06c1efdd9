"""How many of an ordered list of candidates can be rewritten together."""

from __future__ import annotations

from collections.abc import Callable

from leo_cli.rewrite.subject import Rewrite


def longest_prefix(count: int, attempt: Callable[[int], Rewrite | None]) -> Rewrite | None:
    """The rewrite of the first n candidates for the largest n that works: all if possible, else by bisection.

    attempt(n) is None where n is too much; it is taken to be monotone, which only costs candidates
    where it is not.
    """
    best = attempt(count) if count else None
    if best is not None:
        return best
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        step = attempt(middle)
        if step is None:
            high = middle
        else:
            low, best = middle, step
    return best
