"""Files named on the command line, with `-` for stdin or stdout.

Everything that can be refused is refused here, before minutes of work: two readers of one stdin, a
model on a terminal, an output directory that does not exist.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

STANDARD = "-"


def one_reader_of_stdin(**paths: str | None) -> None:
    """Raise UsageError when several of the named parameters are `-`, or stdin is a terminal."""
    readers = [name for name, path in paths.items() if path == STANDARD]
    if len(readers) > 1:
        raise click.UsageError(f"{' and '.join(readers)} cannot both be read from stdin")
    if readers and sys.stdin.isatty():
        raise click.UsageError(f"{readers[0]} is '-', but stdin is a terminal: pipe the file in")


def one_writer_of_stdout(**paths: str | None) -> None:
    """Raise UsageError when more than one of the named parameters is `-`."""
    writers = [name for name, path in paths.items() if path == STANDARD]
    if len(writers) > 1:
        raise click.UsageError(f"{' and '.join(writers)} cannot both be written to stdout")


def display_name(path: str) -> str:
    return "<stdin>" if path == STANDARD else path


def binary_source(path: str) -> Path | bytes:
    """What `read_model` and `read_samples` take: a path, or the bytes on stdin."""
    return sys.stdin.buffer.read() if path == STANDARD else Path(path)


def text_source(path: str) -> Path | str:
    """What `read_domain` takes: a path, or the text on stdin."""
    if path != STANDARD:
        return Path(path)
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"<stdin>: not UTF-8 text ({error.reason})") from error


def check_output(path: str) -> None:
    """Raise UsageError when `path` cannot be written to; nothing is created."""
    if path == STANDARD:
        if sys.stdout.isatty():
            raise click.UsageError(
                "a model is binary: name a file, or send stdout to one, not to a terminal"
            )
        return
    target = Path(path)
    if target.is_dir():
        raise click.UsageError(f"{path}: is a directory: name a file")
    directory = target.resolve().parent
    if not directory.is_dir():
        raise click.UsageError(f"{path}: the directory {directory} does not exist")
    if not os.access(directory, os.W_OK):
        raise click.UsageError(f"{path}: the directory {directory} is not writable")


def write_stdout(content: bytes) -> None:
    """The whole of `content` to stdout, unbuffered behind it. Raises BrokenPipeError."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
