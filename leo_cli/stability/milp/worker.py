"""The process in which a solver runs: so that it can be stopped, and so that its crash is not ours.

Frames of pickles on stdin and stdout (of our own parent only): first (solver name, model), answered
by ("ready", label, efforts) or ("refused", why); then (question, effort, seconds), each answered by
an Answer. The end of stdin, which the death of the parent is, ends the process and whatever solver
it has started. An exception ends it as well; its last line on stderr tells the parent why.
"""

from __future__ import annotations

import os
import pickle
import queue
import shutil
import signal
import sys
import threading
import warnings
from typing import IO, Any


def send(stream: IO[bytes], message: object) -> None:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(len(data).to_bytes(8, "little") + data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """The next message; EOFError at the end."""
    head = stream.read(8)
    size = int.from_bytes(head, "little")
    data = stream.read(size) if len(head) == 8 else b""
    if len(head) < 8 or len(data) < size:
        raise EOFError
    return pickle.loads(data)


def main(directory: str) -> None:
    """directory: the temporary directory to work in, which is removed when the parent dies."""
    warnings.simplefilter("ignore")  # stderr is for what ends the process
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # solvers print what they like; it must not come between the answers
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(
        target=_listen, args=(sys.stdin.buffer, requests, directory), daemon=True
    ).start()

    from leo_cli.errors import InputError
    from leo_cli.stability.milp.session import PulpSession
    from leo_cli.stability.milp.solvers import backend

    name, model = requests.get()
    try:
        session = PulpSession(backend(name), model)
    except InputError as error:
        send(answers, ("refused", str(error)))
        return
    send(answers, ("ready", session.label, session.efforts))
    while True:
        send(answers, session.ask(*requests.get()))


def _listen(stream: IO[bytes], requests: queue.SimpleQueue[Any], directory: str) -> None:
    """Pass on requests; at their end, end."""
    try:
        while True:
            requests.put(receive(stream))
    except EOFError:
        shutil.rmtree(directory, ignore_errors=True)
        if os.name == "posix":
            os.killpg(0, signal.SIGKILL)  # this process leads its own group, with its solvers
        os._exit(0)
