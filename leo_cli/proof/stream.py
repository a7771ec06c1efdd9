"""Write and read the records of a proof: a ZIP file with a member for each (docs/proof-format.md).

Records go to a temporary file as they are made, so that a proof may be larger than memory: what is
held of each is its entry in the file's directory.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, BinaryIO

import numpy as np

from leo_cli.proof.checker import Record
from leo_cli.proof.graph import Array, Unreadable

EPOCH = (1980, 1, 1, 0, 0, 0)  # the same proof is the same file


def encoded(record: Record) -> bytes:
    """A record as it stands in its member: a line of JSON, then its arrays' numbers."""
    arrays = {name: a.astype(a.dtype.newbyteorder("<")) for name, a in record.arrays.items()}
    kinds = [[name, a.dtype.str, list(a.shape)] for name, a in arrays.items()]
    head = json.dumps({"kind": record.kind, **record.values, "arrays": kinds}, sort_keys=True)
    return b"".join([head.encode(), b"\n", *(a.tobytes() for a in arrays.values())])


class Spool:
    """Records on their way to a file, on disk. count: how many."""

    def __init__(self) -> None:
        self.count = 0
        self._file = tempfile.TemporaryFile(prefix="leo-")  # noqa: SIM115 - closed with the spool
        self._zip = zipfile.ZipFile(self._file, "w")

    def add(self, record: Record) -> None:
        """Append a record."""
        _put(self._zip, f"{self.count:06d}", record)
        self.count += 1

    def copy_to(self, stream: BinaryIO) -> None:
        """Write all of it; no more records can follow."""
        self._zip.close()
        self._file.seek(0)
        shutil.copyfileobj(self._file, stream)


def write_records(
    begin: Record, spool: Spool | None, rest: Iterable[Record], stream: BinaryIO
) -> None:
    """A whole proof: its first record, those of a spool, and some more. stream: open for reading
    as well."""
    if spool is not None:
        spool.copy_to(stream)
    with zipfile.ZipFile(stream, "w" if spool is None else "a") as file:
        for number, record in enumerate(rest, spool.count if spool else 0):
            _put(file, f"{number:06d}", record)
        _put(file, "begin", begin)


def read_records(stream: BinaryIO) -> Iterator[Record]:
    """The records of a proof file, "begin" first, each read when it is asked for. Raises
    Unreadable."""
    try:
        with zipfile.ZipFile(stream) as file:
            names = [name for name in file.namelist() if name != "begin"]
            for name in ["begin", *names]:
                with file.open(name) as part:
                    head = json.loads(part.readline())
                    arrays = {a: _array(part, *kind) for a, *kind in head.pop("arrays")}
                yield Record(head.pop("kind"), head, arrays)
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, TypeError, AttributeError,
            EOFError, MemoryError, OSError, RuntimeError) as error:  # fmt: skip
        raise Unreadable(f"no proof, or cut off: {error}") from None


def _array(part: IO[bytes], kind: str, shape: list[int]) -> Array:
    dtype = np.dtype(kind)
    size = math.prod(shape) * dtype.itemsize
    return np.frombuffer(part.read(size), dtype).reshape(shape)


def _put(file: zipfile.ZipFile, name: str, record: Record) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    file.writestr(entry, encoded(record), compresslevel=9)
