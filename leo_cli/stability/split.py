"""Input splitting: cover the domain with boxes so small that linear bounds settle every question in
each.

For domains of few effective inputs (ACAS Xu, control). Boxes are bounded in batches, all layers up
to the deepest open one (box_bounds.py), and cut where the looseness of what is open comes from
(looseness.py). Trying to prove what is false never ends, so boxes also propose points
(box_points.py).

All open questions share one tree at first: most are settled by the same few boxes. One that needs
many more than the others, or is false where no point shows it, would keep that tree from ever
ending. So after a number of boxes each question left is searched for witnesses once more (walk.py).
Then the questions left of each layer get a tree, and each of them one of its own, cut for that
question alone; the trees take turns, each turn longer than the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.stability.box_bounds import Asked
from leo_cli.stability.box_points import climbed, points_of, walked
from leo_cli.stability.budget import Budget
from leo_cli.stability.cover import Cover
from leo_cli.stability.knowledge import Findings, Key, Knowledge
from leo_cli.stability.replay import replay
from leo_cli.stability.walk import starts, walk

SHARED_BOXES = 5_000  # of the tree of all questions
FIRST_TURN, LONGER = 2_000, 2  # boxes of a question's first turn, and the factor of the next
FEWEST_WALKS, MOST_WALKS = 64, 256  # for a question before each turn
MOST_TREES = 16  # of single questions, kept in memory at a time
START_POINTS, CORNERS = 16_384, 4_096  # random points, of which the best are starts


@dataclass(frozen=True)
class InputSplitting:
    """Splits the domain along its inputs. most_boxes: where to give up."""

    seed: int = 0
    most_boxes: int = 10_000_000
    name: str = "split"

    def decide(
        self, knowledge: Knowledge, layers: tuple[int, ...], budget: Budget
    ) -> Iterator[Findings]:
        run = _Run(knowledge, layers, np.random.default_rng(self.seed), budget, self.most_boxes)
        shared = Cover(knowledge, run.asked())
        yield from run.advance(shared, SHARED_BOXES)
        yield from run.conclude(shared)
        if run.may_go_on():
            yield from run.take_turns()


class _Run:
    """What is known by now, and the trees of single questions."""

    def __init__(
        self,
        knowledge: Knowledge,
        layers: tuple[int, ...],
        rng: np.random.Generator,
        budget: Budget,
        most_boxes: int,
    ) -> None:
        self.knowledge, self.layers, self.rng, self.budget = knowledge, layers, rng, budget
        self.boxes_left = most_boxes
        self.stuck: set[Key] = set()  # questions of which no box can be cut further

    def asked(self) -> Asked:
        """All that is open in the layers."""
        known = self.knowledge
        above, below = [], []
        for k, layer in enumerate(known.network.layers):
            wanted = np.full(layer.width, k in self.layers)
            above.append(known.open_above(k) & wanted)
            below.append(known.open_below(k) & wanted)
        return Asked(tuple(above), tuple(below))

    def left(self, layer: int | None = None) -> tuple[Key, ...]:
        """The questions, of one layer or all, for which it is worth to go on."""
        asked = self.asked().questions()
        return tuple(q for q in asked if q not in self.stuck and layer in (None, q[0]))

    def may_go_on(self) -> bool:
        return self.boxes_left > 0 and not self.budget.expired()

    def take_turns(self) -> Iterator[Findings]:
        """Trees for the questions of each layer, and for each question, longer and longer."""
        together: dict[int, Cover] = {}
        alone: dict[Key, Cover] = {}
        turn, walks, rounds = FIRST_TURN, FEWEST_WALKS, 0
        while self.may_go_on() and self.left():
            if rounds & (rounds - 1) == 0:
                for key in self.left():
                    yield from self._walk(key, walks)
            for layer in sorted({key[0] for key in self.left()}):
                group = self.left(layer)
                if len(group) > 1 and layer not in together:
                    together[layer] = Cover(self.knowledge, self.asked().only(group))
                if layer in together:
                    yield from self._turn(together[layer], turn * len(group))
                for key in self.left(layer):
                    alone = {one: alone[one] for one in self.left() if one in alone}
                    if key not in alone and len(alone) >= MOST_TREES:
                        continue
                    cover = alone.get(key) or Cover(self.knowledge, self.asked().only([key]))
                    alone[key] = cover
                    yield from self._turn(cover, turn // 2)
                    if cover.finished:
                        self.stuck.add(key)  # if it is still open
            turn, walks = LONGER * turn, min(LONGER * walks, MOST_WALKS)
            rounds += 1

    def _turn(self, cover: Cover, boxes: int) -> Iterator[Findings]:
        """So many boxes of a tree, if they may settle something."""
        if cover.finished or not self.may_go_on() or not cover.still_asked(self.knowledge):
            return
        yield from self.advance(cover, boxes, alone=True)
        if cover.finished:
            yield from self.conclude(cover)

    def _walk(self, key: Key, count: int) -> Iterator[Findings]:
        """Walks from the best of new random points."""
        if not self.may_go_on() or key not in self.left():
            return
        layer, unit, above = key
        domain, part = self.knowledge.domain, self.knowledge.network.prefix(layer + 1)
        share = 1 if domain.is_box else 16  # points of other domains take longer to find
        points = [
            domain.sample(START_POINTS // share, self.rng),
            domain.corners(CORNERS // share, self.rng),
        ]
        sign = 1.0 if above else -1.0
        begin = starts(part, unit, sign, np.vstack(points), count)
        units, signs = np.full(len(begin), unit), np.full(len(begin), sign)
        yield from self._learn(walk(part, domain, units, signs, begin, self.rng, self.budget))

    def advance(self, cover: Cover, boxes: int, alone: bool = False) -> Iterator[Findings]:
        """Bound and split about so many boxes of a tree; the points that answered a question.

        Ascents are done at batches 1, 2, 4, 8, ...: that costs little, and a question that is
        false is not tried to prove for long."""
        end = cover.tree.nodes + boxes
        while not cover.finished and cover.tree.nodes < end and self.may_go_on():
            before, domain = cover.tree.nodes, self.knowledge.domain
            asked = cover.still_asked(self.knowledge)
            bounded = cover.bound(self.knowledge, asked, self.budget.jobs)
            points = [points_of(domain, bounded, self.rng)]
            if not domain.is_box:
                points = [points[0][domain.contains(points[0])]]
            if cover.batches & (cover.batches - 1) == 0 and alone:
                points.append(walked(cover.problems, domain, bounded, self.rng, self.budget))
            elif cover.batches & (cover.batches - 1) == 0:
                points.append(climbed(cover.problems, domain, bounded, self.budget))
            yield from self._learn(np.vstack(points))
            cover.split(bounded, cover.still_asked(self.knowledge))
            self.boxes_left -= cover.tree.nodes - before

    def conclude(self, cover: Cover) -> Iterator[Findings]:
        """What a tree proved."""
        found = Findings(cover.conclusions(self.knowledge))
        self.knowledge = self.knowledge.learn(found, None, InputSplitting.name)
        yield found

    def _learn(self, points: Floats) -> Iterator[Findings]:
        """Replay points of the domain; those that are news."""
        before = len(self.knowledge.witnesses)
        self.knowledge = self.knowledge.learn(
            Findings(), replay(self.knowledge, points), InputSplitting.name
        )
        news = self.knowledge.witnesses[before:]
        if len(news):
            yield Findings(points=news)
