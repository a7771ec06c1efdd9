"""A solver in a process of its own, seen from the caller.

The process works in a temporary directory of its own and names files relative to it, so that spaces
in TMPDIR do no harm and nothing is left behind. It is killed, with the solvers that it has started,
when time is up (solvers overrun their limits: HiGHS was seen to take 59 s of 10) or when the caller
wants to stop, and started again for the next question.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leo_cli.errors import InputError, SolverError
from leo_cli.stability.milp.model import Answer, MilpModel, Question
from leo_cli.stability.milp.worker import receive, send

TICK = 0.05  # seconds between looks at the stop flag
GRACE = 1.0  # seconds that a solver gets to notice its own time limit
START = 120.0  # seconds for starting Python and reading the model

# PuLP splits command lines at spaces, so temporary files have short, relative names
ENVIRONMENT = {"TMPDIR": ".", "TMP": ".", "TEMP": "."}
ENVIRONMENT |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

# -I: neither the environment nor the current directory decides what is imported, the parent's path
# does
BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from leo_cli.stability.milp.worker import main; main(sys.argv[2])"
)


def require_solver(name: str) -> None:
    """Raise InputError, which lists what there is, if no solver of this name can be used here."""
    from leo_cli.stability.milp.solvers import backend  # imports PuLP, which takes its time

    backend(name)


class SolverProcess:
    """Answers questions on one model (a `Solver`). Used by one thread at a time.

    Raises InputError from the constructor if the solver is not available, SolverError if it cannot
    be started, here or in `ask`.
    """

    def __init__(self, name: str, model: MilpModel, stopped: Callable[[], bool]) -> None:
        self._name, self._model, self._stopped = name, model, stopped
        self._directory = tempfile.TemporaryDirectory(prefix="leo-", ignore_cleanup_errors=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.label, self.efforts = name, 0
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def ask(self, question: Question, effort: int, seconds: float) -> Answer:
        if self._process is None:
            self._start()
        if self._process is None:
            return Answer()
        answer = self._exchange((question, effort, seconds), seconds + GRACE)
        return Answer() if answer is None else answer

    def close(self) -> None:
        self._kill()
        self._directory.cleanup()

    def _start(self) -> None:
        """Start the process and show it the model; without a process if the caller stops
        meanwhile."""
        path = [str(Path(__file__).parents[3]), *(entry for entry in sys.path if entry)]
        with self._errors.open("wb") as errors:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-c", BOOT, json.dumps(path), self._directory.name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    cwd=self._directory.name,
                    env={**os.environ, **ENVIRONMENT},
                    start_new_session=True,
                )
            except OSError as error:
                raise SolverError(f"--solver {self._name}: cannot start Python: {error}") from error
        self._messages = queue.SimpleQueue()
        self._listener = threading.Thread(
            target=_listen, args=(self._process, self._messages), daemon=True
        )
        self._listener.start()
        reply = self._exchange((self._name, self._model), START)
        if reply is None:
            return
        if reply[0] == "refused":
            raise InputError(reply[1])
        _, self.label, self.efforts = reply

    @property
    def _errors(self) -> Path:
        return Path(self._directory.name) / "stderr"

    def _exchange(self, message: object, seconds: float) -> Any:
        """The reply to a message; None, and no process, after `seconds` or a stop."""
        process = self._process
        if process is None or process.stdin is None:
            return None
        end = time.monotonic() + seconds
        with contextlib.suppress(OSError):  # it is dead: the listener has put None into the queue
            send(process.stdin, message)
        while time.monotonic() < end and not self._stopped():
            try:
                reply = self._messages.get(timeout=TICK)
            except queue.Empty:
                continue
            if reply is None:
                reason = self._last_words()
                self._kill()
                raise SolverError(
                    f"--solver {self._name}: the solver failed ({reason}); try another --solver"
                )
            return reply
        self._kill()
        return None

    def _last_words(self) -> str:
        lines = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if lines:
            return lines[-1].strip()
        code = self._process.wait() if self._process is not None else None
        return f"exit code {code}"

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError):  # gone already
                os.killpg(process.pid, signal.SIGKILL)
        else:
            tree = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
            subprocess.run(tree, capture_output=True, check=False)
        process.kill()
        process.wait()
        self._listener.join(timeout=GRACE)  # it holds the lock of stdout until it has seen the end
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what was not written is not wanted any more
                    stream.close()


def _listen(process: subprocess.Popen[bytes], messages: queue.SimpleQueue[Any]) -> None:
    """Pass on what the process sends; None at its end."""
    if process.stdout is not None:
        try:
            while True:
                messages.put(receive(process.stdout))
        except (EOFError, OSError, ValueError):  # ValueError: closed under our hands
            pass
    messages.put(None)
