"""Call the `leo` command at a server that holds its libraries loaded (warm_server.py).

As a program, `warm_call.py ADDRESS ARGUMENTS...` stands for `leo ARGUMENTS...` in a shell.
"""

from __future__ import annotations

import json
import os
import socket
import sys


def call(
    address: str,
    arguments: list[str],
    streams: tuple[int, int, int],
    directory: str | None = None,
    memory: int | None = None,
) -> int:
    """Run a command with this environment; its exit code, or minus the signal that ended it.

    directory: where, None for here. memory: its limit in bytes of address space, None for none.
    """
    request = {
        "arguments": arguments,
        "directory": directory or os.getcwd(),  # noqa: PTH109 - pathlib takes long to load
        "environment": dict(os.environ),
        "memory": memory,
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [json.dumps(request).encode()], list(streams))
        return int(connection.recv(64))


if __name__ == "__main__":
    code = call(sys.argv[1], sys.argv[2:], (0, 1, 2))
    sys.exit(code if code >= 0 else 128 - code)
