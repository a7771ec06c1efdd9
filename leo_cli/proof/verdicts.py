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
        self.checker.advance(len(self.checker.old.nodes))
        asked = [q for layer in self.node_of for q in self._questions(layer)]
        asked = [q for q in asked if id(q.evidence) == tree]
        if not asked:
            self.checker.last = 1
            return
        keys = [(q.layer, q.unit, q.above) for q in asked]
        plain = plain_tree(self._bounded(len(self.network.layers)), keys, self.budget)
        wanted = [(self.node_of[q.layer], q.unit, -1 if q.above else 1) for q in asked]
        for record in grown(self.checker, plain, wanted, self.budget):
            self.checker.apply(record)
            self.records.add(record)

    # Slopes and phases, layer by layer

    def layer(self, layer: int, node: int) -> None:
        """Records for a layer, until its verdicts are settled or given up."""
        self.checker.advance(node)
        self.checker.by_lines()
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
        size = max(1, NUMBERS // sum(map(int, self.checker.widths[1:node]), 1))
        for kind in (np.uint8, np.float64):
            for at in range(0, len(rows), size):
                part = [q for q in rows[at : at + size] if not self._settled(node, q)]
                if not part:
                    continue
                slopes = self._slopes_of([q.evidence.slopes for q in part], node, kind)  # type: ignore[union-attr]
                good = np.ones(len(part), dtype=bool)
                while len(part) and not self._kept(node, part, [self._tree(part, slopes)]):
                    good = self.answered
                    part = [q for q, settled in zip(part, good, strict=True) if settled]
                    slopes = {name: array[good] for name, array in slopes.items()}

    def _tree(self, asked: Sequence[Question], slopes: dict[str, Array]) -> Record:
        """A tree of one leaf for each question."""
        leaves = np.zeros(len(asked), np.int8)
        arrays = {**_asked(asked), "node": leaves - 1, "unit": leaves, "cut": leaves, **slopes}
        return Record("tree", {"inner": 0, "node": self.node_of[asked[0].layer]}, arrays)

    def _phases(self, node: int, question: Question) -> None:
        """A tree over phases, its parts in the order in which the checker takes them."""
        if not isinstance(question.evidence, PhaseSplitEvidence) or self._settled(node, question):
            return
        leaves = question.evidence.leaves
        paths = [
            list(zip(leaf.layers.tolist(), leaf.units.tolist(), leaf.phases.tolist(), strict=True))
            for leaf in leaves
        ]
        for kind in (np.uint8, np.float64):
            records = list(self._batches(question, paths, kind))
            if records and self._kept(node, [question], records):
                return

    def _batches(
        self,
        question: Question,
        paths: list[list[tuple[int, int, bool]]],
        kind: type,
    ) -> Iterator[Record]:
        """Records of the tree that leaves' paths describe; none if they describe none."""
        leaves = question.evidence.leaves  # type: ignore[union-attr]
        node, stack = self.node_of[question.layer], [(list(range(len(leaves))), 0)]
        records: list[Record] = []
        head: dict[str, Array] = {**_asked([question])}
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
                arrays |= self._slopes_of([leaves[i].slopes for i in ends], node, kind)
                arrays |= self._multipliers([(paths[i], leaves[i].multipliers) for i in ends], kind)
            values = {} if records else {"inner": 0, "node": node}
            records.append(Record("tree", values, arrays))
            head = {}
        yield from records

    def _multipliers(
        self, leaves: list[tuple[list[tuple[int, int, bool]], Floats]], kind: type
    ) -> dict[str, Array]:
        """The multipliers of the phases on the way to each leaf."""
        found: dict[str, Array] = {}
        fine = np.float32 if kind is np.uint8 else np.float64
        for row, (path, given) in enumerate(leaves):
            for (layer, unit, _), value in zip(path, given.tolist(), strict=True):
                name = f"multipliers{self.node_of[layer]}"
                width = self.network.layers[layer].width
                found.setdefault(name, np.zeros((len(leaves), width), fine))[row, unit] += value
        return found

    def _slopes_of(
        self, rows: Sequence[Sequence[Floats | Singles | None]], node: int, kind: type
    ) -> dict[str, Array]:
        """Slopes of all nodes before a node, in rows; of units whose phase is fixed they do not
        matter."""
        found = {}
        for layer, k in self.node_of.items():
            if k >= node:
                continue
            free = (self.checker.lower[k] < 0) & (self.checker.upper[k] > 0)
            none = np.zeros(len(free))
            parts = [row[layer] if layer < len(row) else None for row in rows]
            table = np.stack([none if part is None else part for part in parts]) * free
            found[f"slopes{k}"] = _coded(np.clip(table, 0.0, 1.0), kind)
        return found

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
        self.checker.advance(len(self.checker.old.nodes))
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
        states = {
            k: np.full(len(node.bias), 3, np.uint8)
            for k, node in enumerate(self.checker.old.nodes)
            if node.relu
        }
        for i, node in self.node_of.items():
            states[node][stability.layers[i].inactive] = 0
            states[node][stability.layers[i].active] = 1
        points = stability.witnesses
        points = points[[contains(self.checker.box, point[None]) for point in points]]
        unstable = [
            (node, unit)
            for i, node in sorted(self.node_of.items(), key=lambda pair: pair[1])
            for unit in stability.layers[i].units(State.UNSTABLE).tolist()
        ]
        if unstable and len(points):
            found = self.checker.view.at(points, len(self.checker.old.nodes))
            signs = {
                k: np.where(np.abs(z) > error, np.sign(z), 0) for k, (z, error) in found.items()
            }
            shown = np.stack([signs[k][:, unit] for k, unit in unstable], axis=1)
            answers = np.concatenate([shown < 0, shown > 0], axis=1)
            open_, chosen = answers.any(axis=0), []
            while open_.any():
                best = int(answers[:, open_].sum(axis=1).argmax())
                chosen.append(best)
                open_ = open_ & ~answers[best]
            rows, points, count = answers[chosen], points[chosen], len(unstable)
            good = np.flatnonzero(rows[:, :count].any(axis=0) & rows[:, count:].any(axis=0))
            for k, unit in (unstable[i] for i in good.tolist()):
                states[k][unit] = 2
        else:
            points = points[:0]
        small = points.astype(np.float32)
        arrays: dict[str, Array] = {
            "points": small if np.array_equal(small, points) else points,
            **{f"states{k}": table for k, table in states.items()},
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


def _asked(asked: Sequence[Question]) -> dict[str, Array]:
    """The questions of trees: of the first one last, as the last open part comes first."""
    return {
        "units": np.array([q.unit for q in asked], np.int32),
        "above": np.array([q.above for q in asked], np.uint8),
    }


def grown(
    checker: Checker,
    tree: InputSplitEvidence,
    wanted: Sequence[tuple[int, int, int]],
    budget: Budget,
) -> Iterator[Record]:
    """Records of a tree of boxes, each to be applied before the next is asked for. Leaves are
    halved further where that is needed, and nodes become leaves as soon as nothing is open.

    wanted: (node, unit, 1 or -1) of lower or upper bounds that should settle a sign."""
    axis, cut, child = tree.axis.tolist(), tree.cut.tolist(), tree.child.tolist()
    box, table = checker.box, np.array(wanted, np.int64)
    whole = np.maximum(box.upper - box.lower, np.finfo(np.float64).tiny)
    final = int(table[:, 0].max())
    asked = table[table[:, 0] == final]
    state = Tree(final, asked[:, 1], asked[:, 2], [])
    todo: list[tuple[int, Part, int]] = [(0, {}, 0)]
    hopeless = np.zeros(len(table), dtype=bool)
    values: dict[str, int] = {"inner": 1, "node": final}
    head: dict[str, Array] = {
        "units": asked[:, 1].astype(np.int32),
        "above": (asked[:, 2] < 0).astype(np.uint8),
    }
    while todo:
        batch = [todo.pop() for _ in range(min(len(todo), PARTS))]
        checker.bound(state, [part for _, part, _ in batch])
        rows: list[tuple[int, int, float]] = []
        for node, part, extra in batch:
            still = _open(part, table) & ~hopeless
            if still.any() and axis[node] < 0:
                low, high = part.get(0, (box.lower, box.upper))
                i = int(np.argmax((high - low) / whole))
                middle = float(low[i] + 0.5 * (high[i] - low[i]))
                if extra >= DEEPER or not low[i] < middle < high[i] or budget.expired():
                    hopeless |= still
                else:
                    axis[node], cut[node], extra = i, middle, extra + 1
                    child[node] = [len(axis), len(axis) + 1]
                    axis += [-1, -1]
                    cut += [0.0, 0.0]
                    child += [[-1, -1], [-1, -1]]
            if axis[node] < 0 or not still.any():
                rows.append((-1, 0, 0.0))
                continue
            rows.append((0, axis[node], cut[node]))
            above, below = checker.halves(state, part, 0, axis[node], cut[node])
            todo += [(child[node][1], above, extra), (child[node][0], below, extra)]
        arrays = {
            **head,
            "node": np.array([row[0] for row in rows], np.int8),
            "unit": np.array([row[1] for row in rows], np.int32),
            "cut": np.array([row[2] for row in rows], np.float64),
        }
        yield Record("tree", values, arrays)
        head, values = {}, {}


def _open(part: Part, table: Ints) -> Bools:
    """Which of the wanted bounds do not settle a sign in a part."""
    found = np.zeros(len(table), dtype=bool)
    for k in np.unique(table[:, 0]).tolist():
        rows = np.flatnonzero(table[:, 0] == k)
        units, sign = table[rows, 1], table[rows, 2]
        found[rows] = np.where(sign < 0, part[k][1][units] > 0, part[k][0][units] < 0)
    return found
