"""A proof may be larger than memory: neither the writer nor the checker holds it."""

from __future__ import annotations

import io
import tempfile
import tracemalloc
import weakref
from collections.abc import Iterator

import numpy as np
from proof.proof_cases import chain_file
from proof.test_proof_checker import UNIT_BOX, begin

from leo_cli.proof.bounding import Arithmetic
from leo_cli.proof.checker import Checker, Record
from leo_cli.proof.graph import read_net
from leo_cli.proof.stream import Spool, read_records, write_records
from leo_cli.proof.trees import Rows, tree_record

# z = relu(x) - relu(x) - 0.01, and y: what is settled by cutting x at 0 only
WEIGHTS = [
    (np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.zeros(3)),
    (np.array([[1.0, -1.0, 0.0]]), np.array([-0.01])),
    (np.array([[1.0]]), np.zeros(1)),
]
DEPTH, PARTS = 11, 4


def cut(depth: int) -> tuple[int, int, float]:
    """x at 0, then y again and again, at the middle of what is left."""
    return (0, 0, 0.0) if depth == 0 else (0, 1, 1.0 - 2.0**-depth)


def tree(depth: int = DEPTH, parts: int = PARTS) -> Iterator[Record]:
    """Records of a tree whose every box is cut until it is that deep, a few parts in each."""
    stack, first = [0], True
    while stack:
        taken = [stack.pop() for _ in range(min(parts, len(stack)))]
        rows = [cut(d) if d < depth else (-1, 0, 0.0) for d in taken]
        stack += [d + 1 for d in taken if d < depth for _ in range(2)]
        count = np.arange(len(rows))
        asked = Rows(count, np.full(len(rows), 2), 0 * count, 0 * count + 1)
        yield tree_record(rows, asked, {}, np.full(len(rows), 2), 3 if first else None)
        first = False


def test_the_checker_holds_one_record_and_the_open_parts() -> None:
    old = chain_file(WEIGHTS)
    spool, file = Spool(), io.BytesIO()
    for record in tree():
        spool.add(record)
    assert spool.count > 1000
    write_records(begin(old, old), spool, [], file)
    checker = Checker(read_net(old), None, UNIT_BOX, Arithmetic())
    living: list[weakref.ref[Record]] = []
    most_records = most_open = trees = 0
    for record in read_records(file):
        living.append(weakref.ref(record))
        if record.kind == "tree":
            trees += 1
            checker.apply(record)
            most_open = max(most_open, len(checker.open))
        living = [one for one in living if one() is not None]
        most_records = max(most_records, len(living))
    assert trees == spool.count and not checker.open
    assert checker.upper[2][0] <= 0  # and it was of use
    assert most_records <= 2
    assert most_open <= PARTS * (DEPTH + 1)


def test_memory_does_not_grow_with_the_proof() -> None:
    rng = np.random.default_rng(0)
    megabyte = 1 << 20
    tracemalloc.start()
    try:
        spool, file = Spool(), tempfile.TemporaryFile()  # noqa: SIM115 - ends with the test
        for _ in range(24):
            spool.add(Record("noise", {}, {"bytes": rng.integers(0, 256, megabyte, np.uint8)}))
        write_records(Record("begin", {}), spool, [], file)
        assert file.tell() > 20 * megabyte
        total = sum(record.arrays["bytes"].size for record in read_records(file) if record.arrays)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 24 * megabyte
    assert peak < 10 * megabyte
