"""Networks, files and proofs for the tests of the checker."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import helper, numpy_helper

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.network import Network
from leo_cli.onnx_io import Model, read_model
from leo_cli.problem import Problem
from leo_cli.proof.bounding import Box
from leo_cli.proof.checker import Checker, Record, check_records
from leo_cli.proof.graph import Net, Node, read_net
from leo_cli.proof.stream import read_records, write_records
from leo_cli.rewrite import RewriteOptions
from leo_cli.stability.budget import Budget
from leo_cli.stability.ladder import classify
from leo_cli.stability.options import ClassifyOptions


def net_of(network: Network, after: Net | None = None) -> Net:
    """A network as the checker would read it from a file, perhaps after another."""
    nodes = list(after.nodes) if after else [Node("input", {}, np.zeros(network.inputs), False)]
    known, place = {node.key: k for k, node in enumerate(nodes)}, [0]
    for layer in network.layers:
        terms: dict[int, Floats] = {}
        for term in layer.terms:
            rows, source = np.array(term.map.rows(slice(None))), place[term.source]
            terms[source] = terms[source] + rows if source in terms else rows
        node = Node(layer.name, terms, layer.bias, layer.relu)
        k = known.get(node.key, len(nodes))
        place.append(len(nodes) if k in place else k)
        nodes += [node] if place[-1] == len(nodes) else []
    cuts = []
    for k in (place[node] for node in network.outputs):
        width = len(nodes[k].bias)
        cut = Node("cut", {k: np.eye(width)}, np.zeros(width), False) if nodes[k].relu else nodes[k]
        cuts.append(k if cut is nodes[k] else known.get(cut.key, len(nodes)))
        nodes += [cut] if cuts[-1] == len(nodes) else []
    return Net(nodes, cuts, ("cuts", len(cuts)))


def chain_file(weights: Sequence[tuple[Floats, Floats]], dtype: str = "float32") -> bytes:
    """Gemm, Relu, ..., Gemm as an ONNX file."""
    nodes, constants, last = [], [], "x"
    for k, (matrix, bias) in enumerate(weights):
        for name, value in ((f"w{k}", matrix), (f"b{k}", bias)):
            constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        end = k == len(weights) - 1
        out = "y" if end else f"z{k}"
        nodes.append(helper.make_node("Gemm", [last, f"w{k}", f"b{k}"], [out], transB=1))
        if not end:
            nodes.append(helper.make_node("Relu", [out], [f"h{k}"]))
        last = f"h{k}"
    kind = onnx.TensorProto.DOUBLE if dtype == "float64" else onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", kind, ["N", np.shape(weights[0][0])[1]])],
        [helper.make_tensor_value_info("y", kind, ["N", len(weights[-1][1])])],
        constants,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = proto.SerializeToString()
    return content


def random_chain(
    rng: np.random.Generator, widths: Sequence[int], shift: float = 1.0
) -> list[tuple[Floats, Floats]]:
    """Weights of a chain in which units of all kinds occur."""
    found = []
    for before, after in itertools.pairwise(widths):
        matrix = rng.normal(size=(after, before)) / np.sqrt(before)
        found.append((matrix, shift * rng.normal(size=after)))
    return found


def box_domain(inputs: int, radius: float = 1.0) -> Domain:
    return Domain(np.full(inputs, -radius), np.full(inputs, radius), "float32")


@dataclass(frozen=True)
class Case:
    """A model, its smaller version, and the records of the proof."""

    old: Net
    new: Net
    domain: Domain
    records: tuple[Record, ...]
    source: bytes
    target: bytes

    def check(self, box: Box | None = None, exact: bool = False) -> Checker:
        return check_records(self.old, self.new, iter(self.records), box, exact)


def proved(
    content: bytes,
    domain: Domain,
    options: RewriteOptions | None = None,
    classifying: ClassifyOptions | None = None,
    seconds: float = np.inf,
) -> Case:
    """Compress a model with a proof; nothing is verified besides. seconds: for the search."""
    from leo_cli.candidate import make_candidate
    from leo_cli.problem import Analysis
    from leo_cli.proof.prove import begin, ladder

    model: Model = read_model(content, "case")
    stability = classify(model.network, domain, classifying, Budget().at_most(seconds))
    proving = begin(model, domain, stability, Budget().at_most(seconds))
    analysis = Analysis(Problem(model, domain), proving.stability)
    candidate = make_candidate(analysis, options or RewriteOptions())
    shrunk = candidate.shrunk
    proof = proving.relate(candidate.model, shrunk.network, shrunk.allowance)
    # as `leo compress` does where what is proved of the rounding is more than is allowed
    for fewer in ladder(options or RewriteOptions(), shrunk.allowance):
        if proof is None:
            candidate = make_candidate(analysis, fewer)
            proof = proving.relate(candidate.model, candidate.shrunk.network, shrunk.allowance)
    if proof is None:
        raise AssertionError("no proof was found")
    out = io.BytesIO()
    proof.write(out, candidate.model.sha256)
    records = tuple(read_records(out))
    target = candidate.model.source
    old = read_net(content)
    return Case(old, read_net(target, old), domain, records, content, target)


def packed(records: Iterable[Record]) -> bytes:
    out = io.BytesIO()
    first, *rest = records
    write_records(first, None, rest, out)
    return out.getvalue()


def unpacked(content: bytes) -> list[Record]:
    return list(read_records(io.BytesIO(content)))


def with_arrays(record: Record, **arrays: Floats) -> Record:
    return replace(record, arrays={**record.arrays, **arrays})
