"""The `leo` command as a process of its own that need not load its libraries first.

A server, one for each process that runs tests, imports once what commands import, and forks for
every command: the child has its own arguments, environment, directory, limits and standard streams
and runs `leo_cli.cli.main.main`, as the installed command does. Only the imports are saved, and
Python's own way out: what is tested of these (start-up, hash seeds, streams that break at the end)
takes a process from scratch (end_to_end/leo_command.py).

The server itself has one thread, so that a fork is whole. That rules out onnxruntime, which
commands import when they need it.

A request is one message on a Unix socket: JSON, and the descriptors of the three streams. The
answer is the exit code, or minus the signal that ended the command. The server ends when its
stdin does, and so with the process that started it.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from leo_cli.cli.main import main
from leo_cli.cli.options import keep_blas_to_one_thread

ROOT = Path(__file__).resolve().parents[2]
LOADED = (
    *(f"leo_cli.cli.{name}" for name in ("compress", "analyze", "verify", "check")),
    "leo_cli.pipeline",
    "leo_cli.report.assemble",
    "leo_cli.proof.prove",
    "leo_cli.proof.standalone",
)
SECONDS = 300  # after which a command is killed
LARGEST_REQUEST = 2**18  # bytes


@cache
def server() -> str:
    """The address of this process's server, which is started at the first call."""
    directory = tempfile.TemporaryDirectory(prefix="leo-tests-")
    address = f"{directory.name}/socket"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    process = subprocess.Popen(
        [sys.executable, __file__, address],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )

    def end() -> None:
        process.communicate()
        directory.cleanup()

    atexit.register(end)
    while not Path(address).exists():
        if process.poll() is not None:
            raise RuntimeError("the server of leo commands did not start")
        time.sleep(0.01)
    return address


def _serve(address: str) -> None:
    del sys.path[0]  # this folder, which no command sees
    keep_blas_to_one_thread()  # as every command does before it imports what is heavy
    for name in LOADED:
        import_module(name)
    if "onnxruntime" in sys.modules:
        raise RuntimeError("onnxruntime was imported, and has started a thread")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.new")
        listener.listen()
        Path(f"{address}.new").rename(address)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    _answer(connection)
            _collect()


def _collect() -> None:
    """Take note of the children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return


def _answer(connection: socket.socket) -> None:
    """Run the command in one more process, whose end, whatever it is, can be reported."""
    text, streams, _, _ = socket.recv_fds(connection, LARGEST_REQUEST, 3)
    child = os.fork()
    if child == 0:
        connection.close()
        _run(json.loads(text), streams)
    for stream in streams:
        os.close(stream)  # the command alone may hold a pipe open
    _, status = os.waitpid(child, 0)
    connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _run(request: dict[str, Any], streams: list[int]) -> None:
    """Become the command: nothing returns from here."""
    code: object = 1
    try:
        _become(request, streams)
        main()
    except SystemExit as end:
        code = end.code or 0
    except Exception:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _become(request: dict[str, Any], streams: list[int]) -> None:
    signal.alarm(SECONDS)
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    code = os.environ.get("PYTHONIOENCODING")
    sys.stdin = os.fdopen(0, "r", encoding=code)
    sys.stdout = os.fdopen(1, "w", encoding=code)
    sys.stderr = os.fdopen(2, "w", encoding=code, errors="backslashreplace", buffering=1)
    sys.argv = ["leo", *request["arguments"]]
    if request["memory"] is not None:
        resource.setrlimit(resource.RLIMIT_AS, (request["memory"],) * 2)


if __name__ == "__main__":
    _serve(sys.argv[1])
