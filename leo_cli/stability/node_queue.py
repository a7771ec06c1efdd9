"""The open nodes of a search by branch and bound, and whose turn it is.

Most recent nodes first, so that what is begun is finished first; new questions are begun where
there is room, the easiest first. Questions that take more than their turn wait until all others
have had theirs.
"""

from __future__ import annotations

import numpy as np

from leo_cli.arrays import Bools
from leo_cli.stability.nodes import Nodes, join_nodes

BATCH = 512  # nodes bounded together
TURN, MORE = 4096, 4  # nodes of a question before others have their turn, and its growth


class NodeQueue:
    """roots: the node of each question that there is, or none."""

    def __init__(self, roots: Nodes | None, questions: int) -> None:
        self.begun: list[Nodes] = [] if roots is None else [roots]
        self.waiting: list[Nodes] = []  # of questions that are not begun, the easiest last
        self.late: list[Nodes] = []  # of questions that have had their turn
        self.turn, self.taken = TURN, np.zeros(questions, dtype=np.int64)  # nodes of each question

    def __bool__(self) -> bool:
        return bool(self.begun or self.waiting or self.late)

    @property
    def nbytes(self) -> int:
        return sum(part.dual.nbytes for part in (*self.begun, *self.waiting, *self.late))

    def add(self, halves: list[Nodes]) -> None:
        """Halves of nodes of questions that are begun."""
        self.begun += halves

    def add_waiting(self, halves: list[Nodes]) -> None:
        """Both halves of the root of each of some questions, the easiest first: they wait until
        there is room."""
        both, count = join_nodes(halves), len(halves[0])
        self.waiting += [both.take(np.array([i, i + count])) for i in reversed(range(count))]

    def next_batch(self, asked: Bools) -> Nodes | None:
        """Up to BATCH nodes of questions that are still `asked`: (questions,); others are dropped.
        None if no node is left."""
        parts: list[Nodes] = []
        total = 0
        while self and total < BATCH:
            part = self._on_time(self._next_part(), asked)
            room = BATCH - total
            if len(part) > room:
                self.begun.append(part.take(np.arange(len(part) - room)))
                part = part.take(np.arange(len(part) - room, len(part)))
            if len(part):
                parts.append(part)
                total += len(part)
        if not parts:
            return None
        batch = join_nodes(parts)
        self.taken += np.bincount(batch.question, minlength=len(self.taken))
        return batch

    def _next_part(self) -> Nodes:
        if not (self.begun or self.waiting):
            self.turn *= MORE
            self.begun, self.late = self.late, []
        return (self.begun or self.waiting).pop()

    def _on_time(self, part: Nodes, asked: Bools) -> Nodes:
        """The nodes of questions that are asked and have not had their turn; put the others of
        those that are asked aside."""
        part = part.take(np.flatnonzero(asked[part.question]))
        over = self.taken[part.question] > self.turn
        if over.any():
            self.late.append(part.take(np.flatnonzero(over)))
            part = part.take(np.flatnonzero(~over))
        return part
