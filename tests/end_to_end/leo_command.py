"""Running the command as a user does, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "sample_models"
SHARED = ROOT.parent / "shared" / "models"
NAMES = ("digits", "cancer", "diabetes_deep", "thermostat", "alarm_constant")


def leo(*arguments: object, stdin: bytes = b"", cwd: Path | None = None, preexec_fn=None):
    """The finished process, its output as bytes."""
    return subprocess.run(
        command(*arguments),
        input=stdin,
        capture_output=True,
        check=False,
        cwd=cwd,
        env=environment(),
        preexec_fn=preexec_fn,
        timeout=300,
    )


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "leo_cli.cli.main", *map(str, arguments)]


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    return {**os.environ, "PYTHONPATH": path}


def model(name: str) -> Path:
    return SAMPLES / f"{name}.onnx"


def bounds(name: str) -> Path:
    return SAMPLES / f"{name}.bounds.json"
