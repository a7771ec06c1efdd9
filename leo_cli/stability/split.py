"""Input splitting: cover the domain with boxes so small that linear bounds settle every question in
each.

For domains of few effective inputs (ACAS Xu, control). Boxes are bounded in batches, all layers up
to the deepest open one (box_bounds.py), and cut where the looseness of what is open comes from
(looseness.py). Trying to prove what is false never ends, so each box also offers points: random
ones and the minimisers of its own relaxations.

All open questions share one tree at first: most are settled by the same few boxes. One that needs
many more than others, or is false where no point shows it, would keep the tree from ever ending.
So after a number of boxes each question left gets a tree of its own, cut for that question alone,
and they take turns, each turn longer than the one before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.stability.box_bounds import Asked, Bounded, OpenRows
from leo_cli.stability.budget import Budget
from leo_cli.stability.cover import Cover
from leo_cli.stability.knowledge import Findings, Key, Knowledge
from leo_cli.stability.replay import replay
from leo_cli.stability.witness import climb

RANDOM_POINTS = 4  # a box
CLIMB_STEPS = 10
SHARED_BOXES = 5_000  # of the tree of all questions
FIRST_TURN, LONGER = 2_000, 2  # boxes of the first turn of a question, and the factor of the next


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

    def asked(self) -> Asked:
        """All that is open in the layers."""
        known = self.knowledge
        above, below = [], []
        for k, layer in enumerate(known.network.layers):
            wanted = np.full(layer.width, k in self.layers)
            above.append(known.open_above(k) & wanted)
            below.append(known.open_below(k) & wanted)
        return Asked(tuple(above), tuple(below))

    def may_go_on(self) -> bool:
        return self.boxes_left > 0 and not self.budget.expired()

    def take_turns(self) -> Iterator[Findings]:
        """A tree for each question that is left, longer and longer."""
        covers: dict[Key, Cover] = {}
        stuck: set[Key] = set()
        turn = FIRST_TURN
        while self.may_go_on():
            asked = self.asked()
            left = [key for key in asked.questions() if key not in stuck]
            if not left:
                return
            for key in left:
                if not self.may_go_on() or key not in self.asked().questions():
                    continue
                if key not in covers:
                    covers[key] = Cover(self.knowledge, asked.only(key))
                cover = covers[key]
                yield from self.advance(cover, turn)
                if cover.finished:
                    yield from self.conclude(covers.pop(key))
                    stuck.add(key)  # if it is still open: no box can be cut further
            turn *= LONGER

    def advance(self, cover: Cover, boxes: int) -> Iterator[Findings]:
        """Bound and split about so many boxes of a tree; the points that answered a question."""
        end = cover.tree.nodes + boxes
        while not cover.finished and cover.tree.nodes < end and self.may_go_on():
            before = cover.tree.nodes
            asked = cover.still_asked(self.knowledge)
            bounded = cover.bound(asked, self.budget.jobs)
            points = self._witnesses(bounded, self._climbs(cover, bounded))
            cover.split(bounded, cover.still_asked(self.knowledge))
            self.boxes_left -= cover.tree.nodes - before
            if len(points):
                yield Findings(points=points)

    def conclude(self, cover: Cover) -> Iterator[Findings]:
        """What a tree proved."""
        found = Findings(cover.conclusions(self.knowledge))
        self.knowledge = self.knowledge.learn(found, None, InputSplitting.name)
        yield found

    def _climbs(self, cover: Cover, bounded: Sequence[Bounded]) -> list[Floats]:
        """What a short climb finds from the worst corner of each open question.

        Done at batches 1, 2, 4, 8, ...: it costs little, and a question that is false is not tried
        to prove for long."""
        if cover.batches & (cover.batches - 1) != 0:
            return []
        by_layer: dict[int, list[OpenRows]] = {}
        for rows in (rows for part in bounded for rows in part.rows):
            by_layer.setdefault(rows.layer, []).append(rows)
        found = []
        for layer, parts in by_layer.items():
            units, signs, bounds = (
                np.concatenate([getattr(p, name) for p in parts])
                for name in ("unit", "sign", "bound")
            )
            order = np.lexsort((bounds, signs, units))
            first = np.unique(np.stack([units, signs])[:, order], axis=1, return_index=True)[1]
            worst = order[first]
            domain = self.knowledge.domain
            start = domain.project(np.concatenate([p.corner for p in parts])[worst])
            network = cover.problems[layer].network
            found.append(
                climb(
                    network,
                    domain,
                    units[worst],
                    -signs[worst],
                    start,
                    self.budget,
                    CLIMB_STEPS,
                )
            )
        return found

    def _witnesses(self, bounded: Sequence[Bounded], climbed: list[Floats]) -> Floats:
        """Replay random points of the boxes and the minimisers; the points that are news."""
        domain = self.knowledge.domain
        lower = np.concatenate([part.boxes.lower for part in bounded])
        upper = np.concatenate([part.boxes.upper for part in bounded])
        spread = self.rng.random((RANDOM_POINTS, *lower.shape))
        inside = (lower + spread * (upper - lower)).reshape(-1, domain.inputs)
        corners = [rows.corner for part in bounded for rows in part.rows]
        points = domain.project(np.vstack([inside, *corners, *climbed]))
        if not domain.is_box:
            points = points[domain.contains(points)]
        before = len(self.knowledge.witnesses)
        self.knowledge = self.knowledge.learn(
            Findings(), replay(self.knowledge, points), InputSplitting.name
        )
        return self.knowledge.witnesses[before:]
