"""Write the proof that a compressed model equals its original: the writer's side of `leo compress
--proof`.

    proving = begin(model, domain, stability, budget)     verdicts, with only those kept that the
    checker accepts
    proof = proving.relate(new model, network)            the relation of the new file to the old,
    or None
    save(proof, path, sha256 of the new file)

The checker itself has accepted every record before it is written, so what is written checks. The
records of the verdicts go to disk as they are made; those that relate the two models, a few numbers
for each unit, are held.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from leo_cli.arrays import Floats
from leo_cli.domain import Domain
from leo_cli.errors import ModelError
from leo_cli.network import Network
from leo_cli.onnx_io import Model
from leo_cli.proof.bounding import Box
from leo_cli.proof.checker import VERSION, Checker, Fails, Record
from leo_cli.proof.graph import Net, Unreadable, read_net
from leo_cli.proof.relate import prove_rewrite
from leo_cli.proof.stream import Spool, write_records
from leo_cli.proof.verdicts import Proved, prove_verdicts
from leo_cli.rewrite import RewriteOptions, Tolerance
from leo_cli.stability.budget import Budget
from leo_cli.stability.verdict import StabilityMap

EXACT = ("drop_inactive", "drop_unread", "fold_stable")


@dataclass(frozen=True)
class Proof:
    """verdicts, relation: all records but the first. deviation: of each output element, as proved.
    counts: of units that are shown to be inactive, active, unstable."""

    source_sha256: str
    box: Box
    verdicts: Spool
    relation: tuple[Record, ...]
    deviation: Floats
    counts: dict[str, int]

    @property
    def records(self) -> int:
        return 1 + self.verdicts.count + len(self.relation)

    def write(self, stream: BinaryIO, target_sha256: str) -> None:
        """The whole file. target_sha256: of the smaller model as it is on disk."""
        begin = _begin(self.box, self.source_sha256, target_sha256)
        write_records(begin, self.verdicts, self.relation, stream)


@dataclass(frozen=True)
class Proving:
    """A model whose verdicts are proved. stability: these verdicts."""

    model: Model
    proved: Proved
    jobs: int = 1

    @property
    def stability(self) -> StabilityMap:
        return self.proved.stability

    @property
    def remarks(self) -> tuple[str, ...]:
        """Notes for the report."""
        count = self.proved.given_up
        return (f"proof: {count} units are kept whose verdicts it cannot show",) if count else ()

    def relate(self, new: Model, network: Network, allowance: Floats) -> Proof | None:
        """The proof for a smaller model, `network` as a file; None if none is found within the
        allowance."""
        known = self.proved.checker
        names = [layer.name for layer in self.model.network.layers]
        try:
            checker = Checker(known.old, _net(new, known.old), known.box, known.math, self.jobs)
            checker.lower.update(known.lower)
            checker.upper.update(known.upper)
            alone = _net(new)
            records, deviation = prove_rewrite(checker, alone, network, self.proved.node_of, names)
        except (Fails, Unreadable):
            return None
        limit = np.max(allowance, initial=0.0)
        if not np.all(deviation <= (allowance if allowance.shape == deviation.shape else limit)):
            return None
        records.append(Record("outputs", {}, {"deviation": deviation}))
        verdicts = self.proved.records
        counts = dict(known.counts)
        return Proof(self.model.sha256, checker.box, verdicts, tuple(records), deviation, counts)


def begin(model: Model, domain: Domain, stability: StabilityMap, budget: Budget) -> Proving:
    """Prove the verdicts of a classified model. Raises ModelError where the checker cannot read
    it."""
    try:
        net = _net(model)
    except Unreadable as error:
        raise ModelError(f"{model.name}: no proof can be written: {error}") from None
    proved = prove_verdicts(net, model.network, domain, stability, budget)
    return Proving(model, proved, budget.jobs)


def ladder(options: RewriteOptions, allowance: Floats) -> Iterator[RewriteOptions]:
    """Ever fewer rewrites, for models whose proof does not succeed."""
    least = float(np.min(allowance, initial=np.inf))
    if 0.0 < least < np.inf:
        yield replace(options, tolerance=Tolerance("absolute", 0.25 * least))
    for names in (EXACT, EXACT[:2], ()):
        allowed = tuple(n for n in names if options.rewrites is None or n in options.rewrites)
        yield replace(options, rewrites=allowed)


def save(proof: Proof, path: Path, target_sha256: str) -> None:
    """Put a proof on disk, atomically. target_sha256: of the smaller model as it is on disk."""
    handle, name = tempfile.mkstemp(dir=path.resolve().parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w+b") as stream:
            proof.write(stream, target_sha256)
            stream.flush()
            os.fsync(stream.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


def _net(model: Model, after: Net | None = None) -> Net:
    """The checker's reading of a model; of its parts in one where they are several files."""
    if model.has_external_data:
        return replace(read_net(model.proto.SerializeToString(), after), sha256=model.sha256)
    return read_net(model.source, after)


def _begin(box: Box, source: str, target: str) -> Record:
    arrays = {"lower": box.lower, "upper": box.upper, "integer": box.integer.astype(np.uint8)}
    for g, (members, values) in enumerate(box.groups):
        arrays |= {f"members{g}": members, f"values{g}": values}
    head = {"version": VERSION, "in": source, "out": target, "groups": len(box.groups)}
    return Record("begin", head, arrays)
