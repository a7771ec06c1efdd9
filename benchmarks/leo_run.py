"""Run the leo command as a user does, and read its report: figures of whole processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parents[2] / "shared"


@dataclass(frozen=True)
class Run:
    """report: None if the command failed. seconds: wall. peak_mib: largest resident set."""

    report: dict[str, Any] | None
    seconds: float
    peak_mib: float
    message: str

    @property
    def classify(self) -> float:
        return float(self.report["seconds"]["classify"]) if self.report else float("nan")


def analyze(model: Path, bounds: Path, options: Sequence[str] = ()) -> Run:
    """`leo analyze --json` in a process of its own."""
    command = [sys.executable, "-m", "leo_cli.cli.main", "analyze", str(model)]
    command += ["--bounds", str(bounds), "--json", "--quiet", *options]
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        output, errors = process.stdout.read(), process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    report = json.loads(output) if process.returncode == 0 else None
    scale = 1024 if sys.platform == "darwin" else 1
    return Run(report, seconds, usage.ru_maxrss / 1024 / scale, errors.decode().strip())


def machine() -> str:
    """One line about where this runs."""
    import platform

    import numpy as np

    jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    version = platform.python_version()
    return f"{platform.machine()}, {jobs} cores, Python {version}, numpy {np.__version__}"
