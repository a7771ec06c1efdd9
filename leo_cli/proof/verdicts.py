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
from leo_cli.proof.bounding import Arithmetic, Box, Group
from leo_cli.proof.checker import BATCH, Checker, Fails, Part, Record, contains, halves
from leo_cli.proof.graph import Array, Net
from leo_cli.stability.branch import Branching
from leo_cli.stability.budget import Budget
from leo_cli.stability.cover import plain_tree
from leo_cli.stability.evidence import (
    Evidence,
    InputSplitEvidence,
    LinearEvidence,
    PhaseSplitEvidence,
    SolverClaim,
)
from leo_cli.stability.knowledge import Knowledge
from leo_cli.stability.optimised import OptimisedSlopes
from leo_cli.stability.verdict import LayerStability, StabilityMap, State, Verdict

STRICT = 4.0
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
    records: tuple[Record, ...]
    stability: StabilityMap
    node_of: dict[int, int]
    given_up: int


def box_of_domain(domain: Domain) -> Box:
    """The domain as the checker sees it: without its linear constraints, so perhaps larger."""
    groups = tuple(Group(g.members, g.cold, g.hot) for g in domain.one_hot)
    return Box(domain.lower, domain.upper, domain.integer, groups)


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
        self.network, self.domain, self.stability, self.budget = network, domain, stability, budget
        math = Arithmetic(strict=STRICT)
        self.checker = Checker(net, None, box_of_domain(domain), math, budget.jobs)
        self.node_of = relu_nodes(net, network)
        self.records: list[Record] = []

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
        """A record for each tree of boxes that settled something, shallow questions first."""
        verdicts = [v for layer in self.stability.layers for v in layer.verdicts]
        trees = {
            id(v.evidence): None for v in verdicts if isinstance(v.evidence, InputSplitEvidence)
        }
        for tree in trees:
            self._boxes(tree)

    def _boxes(self, tree: int) -> None:
        """One record for all that one tree settled. The tree itself may rest on optimised slopes,
        which no record holds, so another is made without."""
        self.checker.all_bounds()
        asked = [q for layer in self.node_of for q in self._questions(layer)]
        asked = [q for q in asked if id(q.evidence) == tree]
        if not asked:
            return
        keys = [(q.layer, q.unit, q.above) for q in asked]
        plain = plain_tree(self._bounded(len(self.network.layers)), keys, self.budget)
        axis, cut, failed = _grown(self.checker, plain, self._claims(asked), self.budget)
        asked = [q for q in asked if (self.node_of[q.layer], q.unit) not in failed]
        if not asked:
            return
        record = Record("boxes", {}, {**self._claims(asked), "axis": axis, "cut": cut})
        self.checker.apply(record)
        self.records.append(record)

    def _claims(self, asked: Sequence[Question]) -> dict[str, Ints]:
        return {
            "nodes": np.array([self.node_of[q.layer] for q in asked], np.int32),
            "units": np.array([q.unit for q in asked], np.int32),
            "above": np.array([q.above for q in asked], np.uint8),
        }

    # Slopes and phases, layer by layer

    def layer(self, layer: int, node: int) -> None:
        """Records for a layer, until its verdicts are settled or given up."""
        self.checker.advance(node + 1)
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
        """Records of slopes, as bytes where that is fine enough."""
        rows = [q for q in asked if isinstance(q.evidence, LinearEvidence) and q.evidence.slopes]
        columns = self._columns(node)
        for kind in (np.uint8, np.float64):
            rows = [q for q in rows if not self._settled(node, q)]
            if not rows:
                return
            slopes = np.array([self._row(q.evidence.slopes, columns) for q in rows])  # type: ignore[union-attr]
            coded = _coded(slopes, kind)
            good = self._try(node, rows, self._slope_record(node, rows, columns, coded))
            if good.any():
                kept = [q for q, settled in zip(rows, good, strict=True) if settled]
                record = self._slope_record(node, kept, columns, coded[good])
                self.checker.apply(record)
                self.records.append(record)

    def _slope_record(
        self, node: int, rows: Sequence[Question], columns: Ints, slopes: Floats
    ) -> Record:
        arrays: dict[str, Array] = {
            "units": np.array([q.unit for q in rows], np.int32),
            "above": np.array([q.above for q in rows], np.uint8),
            "slopes": slopes,
        }
        return Record("slopes", {"node": node}, {**arrays, **_slope_columns(columns)})

    def _phases(self, node: int, question: Question) -> None:
        """A record of one tree over phases."""
        if not isinstance(question.evidence, PhaseSplitEvidence) or self._settled(node, question):
            return
        leaves = question.evidence.leaves
        paths = [
            list(zip(leaf.layers.tolist(), leaf.units.tolist(), leaf.phases.tolist(), strict=True))
            for leaf in leaves
        ]
        order: list[int] = []
        tree: list[tuple[int, int]] = []
        if not self._preorder(paths, list(range(len(leaves))), 0, tree, order):
            return
        columns = self._columns(node)
        slopes = np.array([self._row(leaves[i].slopes, columns) for i in order])
        multipliers = np.concatenate([np.zeros(0), *(leaves[i].multipliers for i in order)])
        for kind in (np.uint8, np.float64):
            arrays = {
                "tree_nodes": np.array([k for k, _ in tree], np.int32),
                "tree_units": np.array([j for _, j in tree], np.int32),
                "multipliers": multipliers.astype(np.float32).astype(np.float64)
                if kind is np.uint8
                else multipliers,
                "slopes": _coded(slopes, kind),
            }
            values = {"node": node, "unit": question.unit, "above": int(question.above)}
            record = Record("phases", values, {**arrays, **_slope_columns(columns)})
            if self._try(node, [question], record)[0]:
                self.checker.apply(record)
                self.records.append(record)
                return

    def _preorder(
        self,
        paths: list[list[tuple[int, int, bool]]],
        members: list[int],
        depth: int,
        tree: list[tuple[int, int]],
        order: list[int],
    ) -> bool:
        """Write the tree that the leaves' paths describe; False if they describe none."""
        if len(members) == 1 and len(paths[members[0]]) == depth:
            tree.append((-1, -1))
            order.append(members[0])
            return True
        if not members or any(len(paths[i]) <= depth for i in members):
            return False
        splits = {paths[i][depth][:2] for i in members}
        if len(splits) != 1:
            return False
        layer, unit = splits.pop()
        if layer not in self.node_of:
            return False
        tree.append((self.node_of[layer], unit))
        halves_of = ([i for i in members if paths[i][depth][2] is side] for side in (True, False))
        return all(self._preorder(paths, part, depth + 1, tree, order) for part in halves_of)

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

    def _try(self, node: int, asked: Sequence[Question], record: Record) -> Bools:
        """Which questions a record settles; the checker is as before."""
        low, high = self.checker.lower[node].copy(), self.checker.upper[node].copy()
        try:
            self.checker.apply(record)
            return np.array([self._settled(node, q) for q in asked])
        except Fails:
            return np.zeros(len(asked), dtype=bool)
        finally:
            self.checker.lower[node], self.checker.upper[node] = low, high

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
        for i, node in sorted(self.node_of.items(), key=lambda pair: pair[1]):
            states = {
                "inactive": stability.layers[i].inactive.astype(np.int32),
                "active": stability.layers[i].active.astype(np.int32),
            }
            self.records.append(Record("states", {"node": node}, states))
        witnesses = self._witnesses(stability)
        if witnesses is not None:
            self.checker.apply(witnesses)
            self.records.append(witnesses)
        return Proved(self.checker, tuple(self.records), stability, self.node_of, given_up)

    def _witnesses(self, stability: StabilityMap) -> Record | None:
        """Two points for every unstable unit, of as few points as a greedy choice finds."""
        points = stability.witnesses
        points = points[[contains(self.checker.box, point[None]) for point in points]]
        wanted = [
            (self.node_of[i], unit)
            for i, layer in enumerate(stability.layers)
            if i in self.node_of
            for unit in layer.units(State.UNSTABLE).tolist()
        ]
        if not wanted or not len(points):
            return None
        signs = self.checker.signs(points)
        shown = np.stack([signs[k][:, unit] for k, unit in wanted], axis=1)
        answers = np.concatenate([shown < 0, shown > 0], axis=1)
        open_, chosen = answers.any(axis=0), []
        while open_.any():
            best = int(answers[:, open_].sum(axis=1).argmax())
            chosen.append(best)
            open_ = open_ & ~answers[best]
        rows = answers[chosen]
        count = len(wanted)
        good = rows[:, :count].any(axis=0) & rows[:, count:].any(axis=0)
        kept = points[chosen]
        small = kept.astype(np.float32)
        nodes, units = np.array(wanted, np.int32)[good].T
        arrays: dict[str, Array] = {
            "points": small if np.array_equal(small, kept) else kept,
            "nodes": nodes,
            "units": units,
            "negative": rows[:, :count].argmax(axis=0)[good].astype(np.int32),
            "positive": rows[:, count:].argmax(axis=0)[good].astype(np.int32),
        }
        return Record("witnesses", {}, arrays)


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


def _slope_columns(columns: Ints) -> dict[str, Ints]:
    return {
        "slope_nodes": columns[:, 2].astype(np.int32),
        "slope_units": columns[:, 1].astype(np.int32),
    }


def _grown(
    checker: Checker, tree: InputSplitEvidence, claims: dict[str, Ints], budget: Budget
) -> tuple[Array, Array, set[tuple[int, int]]]:
    """The tree in preorder, with leaves halved further where that is needed, and the (node, unit)
    that stay open."""
    nodes = claims["nodes"]
    asked = {
        k: (claims["units"][nodes == k], claims["above"][nodes == k] != 0)
        for k in np.unique(nodes).tolist()
    }
    axis, cut, child = tree.axis.tolist(), tree.cut.tolist(), tree.child.tolist()
    box = checker.box
    whole = np.maximum(box.upper - box.lower, np.finfo(np.float64).tiny)
    todo = [(0, Part(box.lower, box.upper, {}, {}), 0)]
    failed: set[tuple[int, int]] = set()
    while todo:
        batch = [todo.pop() for _ in range(min(len(todo), BATCH))]
        bounded = checker.bound_parts([part for _, part, _ in batch], asked)
        for (node, _, extra), part in zip(batch, bounded, strict=True):
            open_claims = set(checker.open_claims(part, asked)) - failed
            if axis[node] < 0:
                if not open_claims:
                    continue
                i = int(np.argmax((part.upper - part.lower) / whole))
                middle = float(part.lower[i] + 0.5 * (part.upper[i] - part.lower[i]))
                thin = not part.lower[i] < middle < part.upper[i]
                if extra >= DEEPER or thin or budget.expired():
                    failed |= open_claims
                    continue
                axis[node], cut[node], extra = i, middle, extra + 1
                child[node] = [len(axis), len(axis) + 1]
                axis += [-1, -1]
                cut += [0.0, 0.0]
                child += [[-1, -1], [-1, -1]]
            elif not open_claims:
                axis[node] = -1  # settled before it was split: its halves are needed no more
                continue
            first, second = halves(box, part, axis[node], cut[node])
            todo += [(child[node][1], second, extra), (child[node][0], first, extra)]
    order, stack = [], [0]
    while stack:
        node = stack.pop()
        order.append(node)
        if axis[node] >= 0:
            stack += [child[node][1], child[node][0]]
    return np.array(axis, np.int32)[order], np.array(cut)[order], failed
