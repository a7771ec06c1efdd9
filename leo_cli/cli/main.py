"""The entry point: find the subcommand, run it, turn every error into one line and an exit code.

This is the only place that does so. Subcommands are looked up by name and imported when they are
used; their modules import click alone, and whatever is heavy only once it is needed.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from types import FrameType

import click

from leo_cli import __version__
from leo_cli.cli.interrupt import EXIT_INTERRUPTED
from leo_cli.errors import LeoError

COMMANDS = {
    "compress": "leo_cli.cli.compress",
    "analyze": "leo_cli.cli.analyze",
    "verify": "leo_cli.cli.verify",
    "check": "leo_cli.cli.check",
    "train": "leo_cli.cli.train",
}
"""Subcommand -> module whose `command` is the click command."""

EXIT_USAGE = 2
EXIT_FAULT = 3
EXIT_PIPE = 141  # what a shell reports for a program that a closed pipe has ended (128 + SIGPIPE)
EXIT_TERMINATED = 143


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name]).command
        return command


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="leo", message="%(prog)s %(version)s")
@click.pass_context
def group(ctx: click.Context) -> int:
    """Make trained ReLU networks smaller without changing what they compute on their inputs.

    \b
    Example:
      leo compress model.onnx small.onnx --bounds bounds.json
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        return EXIT_USAGE
    return 0


def main() -> None:
    """What the `leo` command of the shell calls."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; nothing but SystemExit gets past."""
    debug = os.environ.get("LEO_DEBUG", "") not in ("", "0")
    if not debug:
        warnings.simplefilter("ignore")
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except click.ClickException as error:
        return _fail(_usage_message(error), EXIT_USAGE, debug)
    except LeoError as error:
        return _fail(str(error), error.exit_code, debug)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", EXIT_INTERRUPTED, debug)
    except BrokenPipeError:
        _discard_stdout()
        return EXIT_PIPE
    except OSError as error:
        return _fail(_os_message(error), EXIT_USAGE, debug)
    except MemoryError:
        return _fail("not enough memory", EXIT_FAULT, debug)
    except Exception as error:  # noqa: BLE001 - the last resort: no traceback may reach a user
        detail = f"{type(error).__name__}: {error}"
        return _fail(f"internal fault: {detail} (LEO_DEBUG=1 shows where)", EXIT_FAULT, debug)


def _dispatch(arguments: Sequence[str]) -> int:
    instruction = os.environ.get("_LEO_COMPLETE")
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(group, {}, "leo", "_LEO_COMPLETE", instruction)
    try:
        with group.make_context("leo", list(arguments)) as ctx:
            return int(group.invoke(ctx) or 0)
    except click.exceptions.Exit as end:
        return end.exit_code


def _usage_message(error: click.ClickException) -> str:
    message = error.format_message().strip()
    ctx = getattr(error, "ctx", None)
    if ctx is None:
        return message
    return f"{message.rstrip('.')} (see {ctx.command_path} --help)"


def _os_message(error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    try:
        click.echo("leo: " + " ".join(message.split()), err=True)
    except BrokenPipeError:
        return code
    return code


def _discard_stdout() -> None:
    """Nobody reads stdout any more: what is buffered must not fail at the interpreter's exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _terminate(signum: int, frame: FrameType | None) -> None:
    """SIGTERM unwinds the stack, so that temporary files are removed on the way out."""
    sys.exit(EXIT_TERMINATED)


if __name__ == "__main__":
    main()
