"""Files and `-`: what is refused before any work, and what stands for stdin and stdout."""

import io
import sys
from pathlib import Path

import click
import pytest

from leo_cli.cli import files


class _Stream(io.TextIOWrapper):
    def __init__(self, content: bytes = b"", terminal: bool = False) -> None:
        super().__init__(io.BytesIO(content))
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def test_one_stdin_has_one_reader(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Stream())
    files.one_reader_of_stdin(IN="-", bounds="b.json", samples=None)
    with pytest.raises(click.UsageError, match="IN and --bounds"):
        files.one_reader_of_stdin(**{"IN": "-", "--bounds": "-"})


def test_a_terminal_is_no_input_file(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Stream(terminal=True))
    with pytest.raises(click.UsageError, match="terminal"):
        files.one_reader_of_stdin(IN="-")


def test_a_terminal_is_no_output_file(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdout", _Stream(terminal=True))
    with pytest.raises(click.UsageError, match="binary"):
        files.check_output("-")


def test_stdin_is_read_as_bytes_or_text(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Stream(b"\x00\xff"))
    assert files.binary_source("-") == b"\x00\xff"
    monkeypatch.setattr(sys, "stdin", _Stream(b"\xef\xbb\xbf{}"))
    assert files.text_source("-") == "{}"
    monkeypatch.setattr(sys, "stdin", _Stream(b"\xff"))
    with pytest.raises(click.UsageError, match="UTF-8"):
        files.text_source("-")
    assert files.binary_source("a.onnx") == Path("a.onnx") and files.text_source("b") == Path("b")


def test_an_output_that_cannot_be_written_is_refused_and_nothing_created(tmp_path) -> None:
    files.check_output(str(tmp_path / "new.onnx"))
    with pytest.raises(click.UsageError, match="is a directory"):
        files.check_output(str(tmp_path))
    with pytest.raises(click.UsageError, match="does not exist"):
        files.check_output(str(tmp_path / "no" / "such.onnx"))
    assert list(tmp_path.iterdir()) == []
