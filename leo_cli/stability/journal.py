"""The journal of a classification: what deciders found, so that a killed run can go on (--resume
DIR).

One JSON object a line, appended and synced before the search goes on. The first line names the
model and the domain; a journal of another model or domain is refused. Each line carries a checksum:
a damaged last line (the run was killed while writing) is dropped with a note, damage anywhere else
is an error.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from leo_cli.errors import InputError
from leo_cli.stability.encoding import findings_from, findings_to
from leo_cli.stability.knowledge import Findings

FILE = "journal.jsonl"
VERSION = 2


@dataclass
class FileJournal:
    """A journal in a directory. Use as a context manager; notes say what was dropped on opening."""

    path: Path
    records: list[tuple[str, Findings]]
    notes: tuple[str, ...] = ()
    _file: IO[str] | None = field(default=None, repr=False)

    def recorded(self) -> list[tuple[str, Findings]]:
        return self.records

    def record(self, by: str, findings: Findings) -> None:
        """Append what `by` found, and wait until it is on the disk."""
        if (
            findings.bounds
            or findings.claims
            or (findings.points is not None and len(findings.points))
        ):
            self._append({"by": by, **findings_to(findings)})

    def _append(self, content: dict[str, Any]) -> None:
        if self._file is None:
            self._file = self.path.open("a", encoding="ascii")
        self._file.write(_line(content))
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> FileJournal:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def open_journal(directory: Path, model_sha256: str, domain_sha256: str) -> FileJournal:
    """Open or create the journal in `directory`.

    Raises InputError for a journal of another model or domain, or one that is damaged before its
    last line.
    """
    path = directory / FILE
    header = {"leo_journal": VERSION, "model": model_sha256, "domain": domain_sha256}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or error}; give --resume a folder to write in"
        ) from error
    contents, notes = list(_intact(path, lines)), []
    if len(contents) < len(lines):
        notes.append(f"{path}: dropped a damaged last line (the run was killed while writing it)")
        with path.open("r+b") as file:
            file.truncate(sum(map(len, lines[: len(contents)])))
    journal = FileJournal(path, [], tuple(notes))
    if not contents:
        journal._append(header)
        return journal
    if contents[0] != header:
        raise InputError(
            f"{path}: is of another model, domain or version of leo; give --resume a new folder"
        )
    try:
        records = [(str(c["by"]), findings_from(c)) for c in contents[1:]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not a journal of leo ({error}); give --resume a new folder"
        ) from error
    return FileJournal(path, records, tuple(notes))


def _intact(path: Path, lines: list[bytes]) -> Iterator[dict[str, Any]]:
    """The contents of the lines, without a damaged last one."""
    for number, line in enumerate(lines, start=1):
        content = _parse(line)
        if content is None:
            if number == len(lines):
                return
            raise InputError(f"{path}: line {number} is damaged; give --resume a new folder")
        yield content


def _line(content: dict[str, Any]) -> str:
    text = json.dumps(content, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _parse(line: bytes) -> dict[str, Any] | None:
    """The content of a line, None if it is damaged."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
