"""Running the command as a user does, in a process of its own: on Linux forked from one that has
loaded what commands import (support/warm_server.py), elsewhere from scratch."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "sample_models"
SHARED = ROOT.parent / "shared" / "models"
NAMES = ("digits", "cancer", "diabetes_deep", "thermostat", "alarm_constant")


def leo(*arguments: object, stdin: bytes = b"", cwd: Path | None = None, memory: int | None = None):
    """The finished process, its output as bytes. memory: its limit in bytes of address space, on
    Linux."""
    if sys.platform != "linux":
        return leo_from_scratch(*arguments, stdin=stdin, cwd=cwd)
    from support.warm_call import call
    from support.warm_server import server

    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        words = [str(word) for word in arguments]
        streams = (given.fileno(), out.fileno(), err.fileno())
        code = call(server(), words, streams, None if cwd is None else str(cwd), memory)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(words, code, out.read(), err.read())


def leo_from_scratch(*arguments: object, stdin: bytes = b"", cwd: Path | None = None):
    """The same in an interpreter that starts with nothing loaded."""
    return subprocess.run(
        command(*arguments), input=stdin, cwd=cwd, env=environment(), timeout=300,
        capture_output=True, check=False,
    )  # fmt: skip


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "leo_cli.cli.main", *map(str, arguments)]


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    return {**os.environ, "PYTHONPATH": path}


def model(name: str) -> Path:
    return SAMPLES / f"{name}.onnx"


def bounds(name: str) -> Path:
    return SAMPLES / f"{name}.bounds.json"
