"""Whose turn it is in branch and bound: what is begun first, then the easiest, late ones last."""

import numpy as np
import pytest

from leo_cli.bounds.dual import Dual
from leo_cli.stability import node_queue
from leo_cli.stability.node_queue import NodeQueue
from leo_cli.stability.nodes import Nodes, fresh


def nodes(*questions: int) -> Nodes:
    count = len(questions)
    parts = Dual((None,), (np.zeros((count, 1)),), (None,))
    empty = np.full((count, 0), -1, dtype=np.int32)
    return Nodes(np.array(questions), parts, empty, np.zeros(count))


def served(queue: NodeQueue, asked: np.ndarray) -> list[int]:
    batch = queue.next_batch(asked)
    return [] if batch is None else batch.question.tolist()


EVERY = np.ones(3, dtype=bool)


def test_roots_come_first_and_an_empty_queue_gives_nothing() -> None:
    queue = NodeQueue(fresh(nodes(0, 1, 2).dual, 3), 3)
    assert queue and served(queue, EVERY) == [0, 1, 2]
    assert not queue and served(queue, EVERY) == []
    assert not NodeQueue(None, 0)


def test_what_is_begun_is_finished_before_the_next_easiest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_queue, "BATCH", 2)
    queue = NodeQueue(None, 3)
    queue.add_waiting([nodes(2, 0), nodes(2, 0)])  # 2 is the easiest
    assert served(queue, EVERY) == [2, 2]
    queue.add([nodes(2), nodes(2)])
    assert served(queue, EVERY) == [2, 2]
    assert served(queue, EVERY) == [0, 0]
    assert queue.taken.tolist() == [2, 0, 4]


def test_questions_that_had_their_turn_wait_for_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_queue, "BATCH", 2)
    monkeypatch.setattr(node_queue, "TURN", 1)
    queue = NodeQueue(None, 3)
    queue.add([nodes(0, 0)])
    assert served(queue, EVERY) == [0, 0]
    queue.add_waiting([nodes(1), nodes(1)])
    queue.add([nodes(0, 0)])
    assert served(queue, EVERY) == [1, 1]
    assert served(queue, EVERY) == [0, 0]


def test_nodes_of_answered_questions_are_dropped() -> None:
    queue = NodeQueue(nodes(0, 1, 2), 3)
    assert served(queue, np.array([True, False, True])) == [0, 2]
    assert not queue
