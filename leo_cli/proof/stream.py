"""Write the records of a proof: a line of magic, then one compressed stream
(docs/proof-format.md)."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

from leo_cli.proof.checker import MAGIC, Record


def encoded(record: Record) -> bytes:
    """A record as it stands in the stream, before compression."""
    arrays = {
        name: np.ascontiguousarray(a).astype(a.dtype.newbyteorder("<"))
        for name, a in record.arrays.items()
    }
    head = {"kind": record.kind, **record.values}
    head["arrays"] = [[name, a.dtype.str, list(a.shape)] for name, a in arrays.items()]
    text = json.dumps(head, sort_keys=True).encode()
    return struct.pack(">I", len(text)) + text + b"".join(a.tobytes() for a in arrays.values())


def write_records(records: Iterable[Record], stream: BinaryIO) -> None:
    """All records, compressed as they come."""
    pack = zlib.compressobj(9)
    stream.write(MAGIC)
    for record in records:
        stream.write(pack.compress(encoded(record)))
    stream.write(pack.flush())
