"""Turn what classification found into records that the checker accepts, and keep only verdicts for
which that works.

The checker is run here with all error terms taken four times (bounding.py, `strict`), on the very
records that go into the file, in their order. Evidence that does not go through in this order (the
bounds of earlier layers differ from those that were known when it was found) is looked for again
with the checker's bounds; where that takes too long the unit is given back as undecided, so that a
unit is removed only if the proof shows why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from leo_cli.arrays import Bools, Floats, Ints, Singles
from leo_cli.bounds.interval import propagate
from leo_cli.domain import Domain
from leo_cli.network import Network
from leo_cli.proof.bounding import Arithmetic, Box
from leo_cli.proof.checker import Checker, Fails, Part, Record, Tree, contains
from leo_cli.proof.graph import Array, Net
from leo_cli.proof.stream import Spool
from leo_cli.stability.branch import Branching
from leo_cli.stability.budget import Budget
from leo_cli.stability.evidence import (
    Evidence,
    InputSplitEvidence,
    LinearEvidence,
    PhaseSplitEvidence,
    SolverClaim,
)
from leo_cli.stability.knowledge import Knowledge
from leo_cli.stability.optimised import OptimisedSlopes
from leo_cli.stability.split import plain_tree
from leo_cli.stability.verdict import LayerStability, StabilityMap, State, Verdict

STRICT = 4.0
PARTS = 256  # of a tree, in one record
NUMBERS = 1 << 22  # slopes, in one record
DEEPER = 12  # how many times a leaf of the tree of boxes may be halved again
REPAIR_SECONDS = 20.0  # for the questions of one layer


@dataclass(frozen=True)
class Question:
    """ "z <= 0" (above) or "z >= 0" of a unit of a layer of the network, and what is known for
    it."""

    layer: int
    unit: int
    above: bool
    evidence: Evidence | None


@dataclass(frozen=True)
class Proved:
    """records: of the verdicts. stability: without what is not in them. given_up: verdicts given
    back."""

    checker: Checker
    records: Spool
    stability: StabilityMap
    node_of: dict[int, int]
    given_up: int


def box_of_domain(domain: Domain) -> Box:
    """The domain as the checker sees it: without its linear constraints, so perhaps larger."""
    groups = []
    for group in domain.one_hot:
        order = np.argsort(group.members)
        choices = np.where(np.eye(len(order), dtype=bool), group.hot[order], group.cold[order])
        groups.append((group.members[order], choices))
    return Box(domain.lower, domain.upper, domain.integer, tuple(groups))


def relu_nodes(net: Net, network: Network) -> dict[int, int]:
    """The checker's node of each ReLU layer of the network: by name, else by order; {} if they do
    not correspond."""
    nodes = [k for k, node in enumerate(net.nodes) if node.relu]
    layers = network.relu_layers
    named = {net.nodes[k].name: k for k in nodes}
    found = {i: named[network.layers[i].name] for i in layers if network.layers[i].name in named}
    if len(found) < len(layers) and len(nodes) == len(layers):
        found = dict(zip(layers, nodes, strict=True))
    widths = {i: len(net.nodes[k].bias) for i, k in found.items()}
    return {i: k for i, k in found.items() if widths[i] == network.layers[i].width}


def prove_verdicts(
    net: Net, network: Network, domain: Domain, stability: StabilityMap, budget: Budget
) -> Proved:
    """Records for every verdict that can be shown; the others become undecided."""
    prover = _Prover(net, network, domain, stability, budget)
    prover.boxes()
    for layer, node in sorted(prover.node_of.items(), key=lambda pair: pair[1]):
        prover.layer(layer, node)
    return prover.result()


class _Prover:
    def __init__(
        self,
        net: Net,
        network: Network,
        domain: Domain,
        stability: StabilityMap,
        budget: Budget,
    ) -> None:
        self.network, self.stability, self.budget = network, stability, budget
        # the checker takes the domain without them, so what is looked for must not use them
        self.domain = replace(domain, constraints=())
        math = Arithmetic(strict=STRICT)
        self.checker = Checker(net, None, box_of_domain(domain), math, budget.jobs)
        self.node_of = relu_nodes(net, network)
        self.records = Spool()
        self.answered: Bools = np.zeros(0, dtype=bool)

    def _questions(self, layer: int) -> Iterator[Question]:
        """What the checker's bounds leave open of the verdicts of a layer."""
        node = self.node_of[layer]
        lower, upper = self.checker.lower[node], self.checker.upper[node]
        for unit, verdict in enumerate(self.stability.layers[layer].verdicts):
            if verdict.trusted or isinstance(verdict.evidence, SolverClaim):
                continue
            if verdict.state is State.INACTIVE and upper[unit] > 0:
                yield Question(layer, unit, True, verdict.evidence)
            if verdict.state is State.ACTIVE and lower[unit] < 0:
                yield Question(layer, unit, False, verdict.evidence)

    # The tree of boxes

    def boxes(self) -> None:
        """Records of each tree of boxes that settled something, shallow questions first."""
        verdicts = [v for layer in self.stability.layers for v in layer.verdicts]
        trees = {
            id(v.evidence): None for v in verdicts if isinstance(v.evidence, InputSplitEvidence)
        }
        for tree in trees:
            self._boxes(tree)

    def _boxes(self, tree: int) -> None:
        """Records for all that one tree settled. The tree itself may rest on optimised slopes,
        which no record holds, so another is made without."""
        self.checker.advance(len(self.checker.old.nodes) - 1)
        asked = [q for layer in self.node_of for q in self._questions(layer)]
        asked = [q for q in asked if id(q.evidence) == tree]
        if not asked:
            self.checker.restart()
            return
        self.checker.finish()
        keys = [(q.layer, q.unit, q.above) for q in asked]
        plain = plain_tree(self._bounded(len(self.network.layers)), keys, self.budget)
        for record in grown(self.checker, plain, self._asked(asked), self.budget):
            self.checker.apply(record)
            self.records.add(record)

    def _asked(self, asked: Sequence[Question]) -> dict[str, Ints]:
        return {
            "nodes": np.array([self.node_of[q.layer] for q in asked], np.int32),
            "units": np.array([q.unit for q in asked], np.int32),
            "above": np.array([q.above for q in asked], np.uint8),
        }

    # Slopes and phases, layer by layer

    def layer(self, layer: int, node: int) -> None:
        """Records for a layer, until its verdicts are settled or given up."""
        self.checker.advance(node)
        self._slopes(node, list(self._questions(layer)))
        for question in list(self._questions(layer)):
            self._phases(node, question)
        left = list(self._questions(layer))
        if left:
            found = list(self._found_again(layer, left))
            self._slopes(node, found)
            for question in found:
                self._phases(node, question)

    def _slopes(self, node: int, asked: Sequence[Question]) -> None:
        """Trees of one leaf, with slopes for each question: as bytes where that is fine enough."""
        rows = [q for q in asked if isinstance(q.evidence, LinearEvidence) and q.evidence.slopes]
        columns = self._columns(node)
        size = max(1, NUMBERS // max(1, len(columns)))
        for kind in (np.uint8, np.float64):
            for at in range(0, len(rows), size):
                part = [q for q in rows[at : at + size] if not self._settled(node, q)]
                slopes = np.array([self._row(q.evidence.slopes, columns) for q in part])  # type: ignore[union-attr]
                coded = _coded(slopes, kind)
                good = np.ones(len(part), dtype=bool)
                while len(part) and not self._kept(node, part, [self._tree(part, columns, coded)]):
                    good = self.answered
                    part = [q for q, settled in zip(part, good, strict=True) if settled]
                    coded = coded[good]

    def _tree(self, asked: Sequence[Question], columns: Ints, slopes: Floats) -> Record:
        leaf = {"node": np.array([-1]), "unit": np.array([0]), "cut": np.zeros(1)}
        arrays = {**self._asked(asked), **leaf, "slopes": slopes, **_places("slopes", columns)}
        return Record("tree", {"inner": 0}, arrays)

    def _phases(self, node: int, question: Question) -> None:
        """A tree over phases, its parts in the order in which the checker takes them."""
        if not isinstance(question.evidence, PhaseSplitEvidence) or self._settled(node, question):
            return
        leaves = question.evidence.leaves
        paths = [
            list(zip(leaf.layers.tolist(), leaf.units.tolist(), leaf.phases.tolist(), strict=True))
            for leaf in leaves
        ]
        columns = self._columns(node)
        for kind in (np.uint8, np.float64):
            records = list(self._batches(question, paths, columns, kind))
            if records and self._kept(node, [question], records):
                return

    def _batches(
        self,
        question: Question,
        paths: list[list[tuple[int, int, bool]]],
        columns: Ints,
        kind: type,
    ) -> Iterator[Record]:
        """Records of the tree that leaves' paths describe; none if they describe none."""
        leaves = question.evidence.leaves  # type: ignore[union-attr]
        stack, values = [(list(range(len(leaves))), 0)], {"inner": 0}
        records: list[Record] = []
        head: dict[str, Array] = {**self._asked([question])}
        while stack:
            batch = [stack.pop() for _ in range(min(len(stack), PARTS))]
            rows: list[tuple[int, int]] = []
            ends: list[int] = []
            for members, depth in batch:
                if len(members) == 1 and len(paths[members[0]]) == depth:
                    rows.append((-1, 0))
                    ends.append(members[0])
                    continue
                splits = {paths[i][depth][:2] for i in members if len(paths[i]) > depth}
                halves = [
                    [i for i in members if len(paths[i]) > depth and paths[i][depth][2] is side]
                    for side in (True, False)
                ]
                layer, unit = splits.pop() if len(splits) == 1 else (-1, -1)
                if layer not in self.node_of or sum(map(len, halves)) < len(members):
                    return
                if not all(halves):
                    return
                rows.append((self.node_of[layer], unit))
                stack += [(half, depth + 1) for half in halves]
            arrays = {
                **head,
                "node": np.array([k for k, _ in rows], np.int32),
                "unit": np.array([j for _, j in rows], np.int32),
                "cut": np.zeros(len(rows), np.float32),
            }
            if ends:
                slopes = np.array([self._row(leaves[i].slopes, columns) for i in ends])
                arrays |= {"slopes": _coded(slopes, kind), **_places("slopes", columns)}
                arrays |= self._multipliers([(paths[i], leaves[i].multipliers) for i in ends], kind)
            records.append(
                Record("parts" if records else "tree", {} if records else values, arrays)
            )
            head = {}
        yield from records

    def _multipliers(
        self, leaves: list[tuple[list[tuple[int, int, bool]], Floats]], kind: type
    ) -> dict[str, Array]:
        """The multipliers of the phases on the way to each leaf."""
        used = sorted(
            {(self.node_of[layer], unit) for path, _ in leaves for layer, unit, _ in path}
        )
        place = {pair: column for column, pair in enumerate(used)}
        table = np.zeros((len(leaves), len(used)), np.float32 if kind is np.uint8 else np.float64)
        for row, (path, given) in enumerate(leaves):
            for (layer, unit, _), value in zip(path, given.tolist(), strict=True):
                table[row, place[self.node_of[layer], unit]] += value
        columns = np.array(used, np.int64).reshape(-1, 2)
        arrays = {"multipliers": table, **_places("multipliers", columns[:, [0, 1, 0]])}
        return arrays if used else {}

    def _columns(self, node: int) -> Ints:
        """(n, 2) (layer, unit) of the units before a node whose slopes can be chosen."""
        found = [np.zeros((0, 2), np.int64)]
        for layer, k in self.node_of.items():
            if k >= node:
                continue
            free = np.flatnonzero((self.checker.lower[k] < 0) & (self.checker.upper[k] > 0))
            found.append(np.stack([np.full(len(free), layer), free], axis=1))
        table = np.concatenate(found)
        nodes = np.array([self.node_of[int(layer)] for layer in table[:, 0]], np.int64)
        return np.concatenate([table, nodes[:, None]], axis=1)

    def _row(self, slopes: Sequence[Floats | Singles | None], columns: Ints) -> Floats:
        row = np.zeros(len(columns))
        for i, (layer, unit, _) in enumerate(columns.tolist()):
            part = slopes[layer] if layer < len(slopes) else None
            row[i] = 0.0 if part is None else part[unit]
        return np.clip(row, 0.0, 1.0)

    def _settled(self, node: int, question: Question) -> bool:
        if question.above:
            return bool(self.checker.upper[node][question.unit] <= 0)
        return bool(self.checker.lower[node][question.unit] >= 0)

    def _kept(self, node: int, asked: Sequence[Question], records: Sequence[Record]) -> bool:
        """Whether records settle all questions; if not, they leave no trace but `answered`."""
        known = self.checker.lower[node], self.checker.upper[node]
        try:
            for record in records:
                self.checker.apply(record)
            self.answered = np.array([self._settled(node, q) for q in asked])
        except Fails:
            self.answered = np.zeros(len(asked), dtype=bool)
        if not self.answered.all():
            self.checker.tree = None
            self.checker.lower[node], self.checker.upper[node] = known
            return False
        for record in records:
            self.records.add(record)
        return True

    def _found_again(self, layer: int, left: Sequence[Question]) -> Iterator[Question]:
        """New evidence for questions of a layer, found with the checker's bounds."""
        budget = self.budget.at_most(REPAIR_SECONDS)
        knowledge = self._knowledge(layer, left)
        wanted = {(q.unit, q.above) for q in left}
        for decider in (OptimisedSlopes(), Branching()):
            for findings in decider.decide(knowledge, (layer,), budget):
                for bound in findings.bounds:
                    settles = bound.value <= 0 if bound.above else bound.value >= 0
                    if settles and (bound.unit, bound.above) in wanted:
                        wanted.discard((bound.unit, bound.above))
                        yield Question(layer, bound.unit, bound.above, bound.evidence)
                bounds_only = replace(findings, points=None)
                knowledge = knowledge.learn(bounds_only, None, decider.name)
            if not wanted:
                return

    def _knowledge(self, layer: int, left: Sequence[Question]) -> Knowledge:
        """The checker's bounds, and no open question but those that are left."""
        start = self._bounded(layer + 1)
        lower, upper = start.lower, start.upper
        above, below = (
            np.isin(np.arange(len(lower[layer])), [q.unit for q in left if q.above is side])
            for side in (True, False)
        )
        negative, positive = list(start.negative), list(start.positive)
        # a question that nobody asks counts as refuted
        positive[layer] = np.where(~above & (upper[layer] > 0), 0, -1)
        negative[layer] = np.where(~below & (lower[layer] < 0), 0, -1)
        return replace(
            start,
            negative=tuple(negative),
            positive=tuple(positive),
            witnesses=np.zeros((1, self.network.inputs)),
        )

    def _bounded(self, count: int) -> Knowledge:
        """The checker's bounds of the first layers."""
        start = Knowledge.start(self.network, self.domain)
        lower, upper = list(start.lower), list(start.upper)
        for k in range(count):
            low, high = propagate(
                self.network.layers[k], self.domain, lower, upper, self.network.layers[:k]
            )
            if k in self.node_of:
                low = np.maximum(low, self.checker.lower[self.node_of[k]])
                high = np.minimum(high, self.checker.upper[self.node_of[k]])
            lower[k], upper[k] = low, high
        return replace(start, lower=tuple(lower), upper=tuple(upper))

    # The result

    def result(self) -> Proved:
        """The verdicts that the checker's bounds support, and a record that claims them."""
        layers, given_up = [], 0
        self.checker.advance(len(self.checker.old.nodes) - 1)
        self.checker.finish()
        for i, known in enumerate(self.stability.layers):
            node = self.node_of.get(i)
            verdicts = []
            low = np.full(len(known.lower), -np.inf)
            high = np.full(len(known.upper), np.inf)
            if node is not None:
                low, high = self.checker.lower[node], self.checker.upper[node]
            for unit, verdict in enumerate(known.verdicts):
                good = verdict.state in (State.UNSTABLE, State.UNDECIDED) or (
                    not verdict.trusted
                    and (high[unit] <= 0 if verdict.state is State.INACTIVE else low[unit] >= 0)
                )
                given_up += not good
                verdicts.append(verdict if good else _undecided(verdict, low[unit], high[unit]))
            # bounds of layers without a ReLU are leo's own: what a rewrite makes of them is
            # checked in the end
            if not known.verdicts:
                low, high = known.lower, known.upper
            layers.append(LayerStability(low, high, tuple(verdicts)))
        stability = replace(self.stability, layers=tuple(layers))
        record = self._verdicts(stability)
        self.checker.apply(record)
        self.records.add(record)
        return Proved(self.checker, self.records, stability, self.node_of, given_up)

    def _verdicts(self, stability: StabilityMap) -> Record:
        """The record of all verdicts: two points for every unstable unit, of as few points as a
        greedy choice finds."""
        table = [
            (node, unit, state)
            for i, node in sorted(self.node_of.items(), key=lambda pair: pair[1])
            for state, name in enumerate((State.INACTIVE, State.ACTIVE))
            for unit in stability.layers[i].units(name).tolist()
        ]
        points = stability.witnesses
        points = points[[contains(self.checker.box, point[None]) for point in points]]
        unstable = [
            (node, unit)
            for i, node in sorted(self.node_of.items(), key=lambda pair: pair[1])
            for unit in stability.layers[i].units(State.UNSTABLE).tolist()
        ]
        below = above = np.zeros(0, np.int32)
        if unstable and len(points):
            signs = self.checker.signs(points)
            shown = np.stack([signs[k][:, unit] for k, unit in unstable], axis=1)
            answers = np.concatenate([shown < 0, shown > 0], axis=1)
            open_, chosen = answers.any(axis=0), []
            while open_.any():
                best = int(answers[:, open_].sum(axis=1).argmax())
                chosen.append(best)
                open_ = open_ & ~answers[best]
            rows, points, count = answers[chosen], points[chosen], len(unstable)
            good = np.flatnonzero(rows[:, :count].any(axis=0) & rows[:, count:].any(axis=0))
            table += [(*unstable[i], 2) for i in good.tolist()]
            below = rows[:, good].argmax(axis=0).astype(np.int32)
            above = rows[:, count + good].argmax(axis=0).astype(np.int32)
        else:
            points = points[:0]
        small = points.astype(np.float32)
        columns = np.array(table, np.int32).reshape(-1, 3)
        arrays: dict[str, Array] = {
            "points": small if np.array_equal(small, points) else points,
            "nodes": columns[:, 0],
            "units": columns[:, 1],
            "states": columns[:, 2].astype(np.uint8),
            "below": below,
            "above": above,
        }
        return Record("verdicts", {}, arrays)


def _undecided(verdict: Verdict, low: float, high: float) -> Verdict:
    return replace(
        verdict,
        state=State.UNDECIDED,
        by="",
        lower=float(low),
        upper=float(high),
        trusted=False,
        evidence=None,
    )


def _coded(slopes: Floats, kind: type) -> Floats:
    return np.rint(slopes * 255.0).astype(np.uint8) if kind is np.uint8 else slopes


def _places(name: str, columns: Ints) -> dict[str, Array]:
    """The arrays that say for which units columns of numbers are."""
    return {
        f"{name}_nodes": columns[:, 2].astype(np.int32),
        f"{name}_units": columns[:, 1].astype(np.int32),
    }


def grown(
    checker: Checker, tree: InputSplitEvidence, asked: dict[str, Ints], budget: Budget
) -> Iterator[Record]:
    """Records of a tree of boxes, for a checker that has taken in all nodes. Leaves are halved
    further where that is needed, and nodes become leaves as soon as nothing is open."""
    axis, cut, child = tree.axis.tolist(), tree.cut.tolist(), tree.child.tolist()
    box = checker.box
    whole = np.maximum(box.upper - box.lower, np.finfo(np.float64).tiny)
    sign = np.where(asked["above"] != 0, -1, 1)
    wanted = {
        int(k): (asked["units"][asked["nodes"] == k], sign[asked["nodes"] == k])
        for k in np.unique(asked["nodes"])
    }
    state = Tree(True, wanted)
    todo: list[tuple[int, Part, int]] = [(0, {}, 0)]
    failed: set[tuple[int, int]] = set()
    head: dict[str, Array] | None = {**asked}
    while todo:
        batch = [todo.pop() for _ in range(min(len(todo), PARTS))]
        checker.bound(state, [part for _, part, _ in batch], None)
        rows: list[tuple[int, int, float]] = []
        for node, part, extra in batch:
            open_claims = _open(part, wanted) - failed
            if open_claims and axis[node] < 0:
                low, high = part.get(0, (box.lower, box.upper))
                i = int(np.argmax((high - low) / whole))
                middle = float(low[i] + 0.5 * (high[i] - low[i]))
                if extra >= DEEPER or not low[i] < middle < high[i] or budget.expired():
                    failed |= open_claims
                else:
                    axis[node], cut[node], extra = i, middle, extra + 1
                    child[node] = [len(axis), len(axis) + 1]
                    axis += [-1, -1]
                    cut += [0.0, 0.0]
                    child += [[-1, -1], [-1, -1]]
            if axis[node] < 0 or not open_claims:
                rows.append((-1, 0, 0.0))
                continue
            rows.append((0, axis[node], cut[node]))
            above, below = checker.halves(state, part, 0, axis[node], cut[node])
            todo += [(child[node][1], above, extra), (child[node][0], below, extra)]
        arrays = {
            **(head or {}),
            "node": np.array([row[0] for row in rows], np.int8),
            "unit": np.array([row[1] for row in rows], np.int32),
            "cut": np.array([row[2] for row in rows], np.float64),
        }
        yield Record("parts", {}, arrays) if head is None else Record("tree", {"inner": 1}, arrays)
        head = None


def _open(part: Part, wanted: dict[int, tuple[Array, Array]]) -> set[tuple[int, int]]:
    """The (node, unit) of which the bounds in a part do not settle what is asked."""
    found = set()
    for k, (units, sign) in wanted.items():
        low, high = part[k]
        wrong = np.where(sign < 0, high[units] > 0, low[units] < 0)
        found |= {(k, int(unit)) for unit in units[wrong]}
    return found
