"""How many of an ordered list of candidates can be rewritten together."""

from __future__ import annotations

from collections.abc import Callable

from leo_cli.arrays import Floats, Ints
from leo_cli.rewrite.subject import Rewrite, Subject


def longest_prefix(count: int, fits: Callable[[int], bool]) -> int:
    """The largest n for which the first n candidates fit: all if possible, else by bisection.

    `fits` is taken to be monotone, which only costs candidates where it is not.
    """
    if count == 0 or fits(count):
        return count
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


def longest_allowed(
    subject: Subject,
    key: tuple[object, ...],
    order: Ints,
    rewrite: Callable[[int], Rewrite | None],
) -> Rewrite | None:
    """The rewrite of the longest prefix of `order` within the allowance; None if not even of one.

    key: names the rewrite and the layer among results that are kept (`Subject.once`).
    """

    def deviation(count: int) -> Floats | None:
        step = rewrite(count)
        return None if step is None else step.deviation

    def fits(count: int) -> bool:
        candidates = (*key, order[:count].tobytes())
        found = subject.once(candidates, lambda: deviation(count))
        return found is not None and subject.allows(found)

    count = longest_prefix(len(order), fits)
    step = rewrite(count) if count else None
    return step if step is not None and subject.allows(step.deviation) else None
