"""Work on blocks of rows in threads. numpy releases the interpreter lock, so threads use the cores.

Blocks have a fixed size, so results do not depend on the number of threads. The command line keeps
BLAS itself to one thread, so that two pools never fight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_blocks(work: Callable[[Item], Result], blocks: Sequence[Item], jobs: int) -> list[Result]:
    """`work` of every block, in order."""
    if jobs <= 1 or len(blocks) <= 1:
        return [work(block) for block in blocks]
    with ThreadPoolExecutor(min(jobs, len(blocks))) as pool:
        return list(pool.map(work, blocks))
