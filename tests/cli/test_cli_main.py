"""The one place where errors become exit codes: one line on stderr, no traceback."""

import os
import signal
import subprocess
import sys
import time

import click
import pytest

from leo_cli import __version__, errors
from leo_cli.cli import main as entry


@pytest.fixture
def failing(monkeypatch):
    """Register a command `fail` that raises what it is given."""

    def register(error: BaseException) -> None:
        @click.command()
        def command() -> None:
            raise error

        module = type(sys)("tests_failing_command")
        module.command = command
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(entry.COMMANDS, "fail", module.__name__)

    return register


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (errors.ModelError("m.onnx: node 3: no"), 2, "m.onnx: node 3: no"),
        (errors.DomainError("b.json: no"), 2, "b.json: no"),
        (errors.VerificationFailed("they differ"), 1, "they differ"),
        (errors.Contradiction("bound against witness"), 3, "bound against witness"),
        (errors.SolverError("no cbc"), 3, "no cbc"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 3, "not enough memory"),
        (PermissionError(13, "Permission denied", "x.onnx"), 2, "x.onnx: Permission denied"),
        (ZeroDivisionError("two\nlines"), 3, "internal fault: ZeroDivisionError: two lines"),
        (click.UsageError("wrong"), 2, "wrong"),
    ],
)
def test_every_error_is_one_line_and_its_code(failing, capsys, error, code, said) -> None:
    failing(error)
    assert entry.run(["fail"]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith("leo: ") and said in err and "Traceback" not in err


def test_debug_shows_where(failing, capsys, monkeypatch) -> None:
    monkeypatch.setenv("LEO_DEBUG", "1")
    failing(ZeroDivisionError("here"))
    assert entry.run(["fail"]) == 3
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["no-such"], ["--no-such"], ["compress"], ["compress", "a", "b", "--tolerence", "1"]],
)
def test_usage_errors_are_one_line(capsys, arguments) -> None:
    assert entry.run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "--help" in err


def test_without_arguments_the_commands_are_listed(capsys) -> None:
    assert entry.run([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert all(name in err for name in entry.COMMANDS)


@pytest.mark.parametrize("name", sorted(entry.COMMANDS))
def test_each_command_has_help_with_an_example(capsys, name) -> None:
    assert entry.run([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"leo {name} " in out.split("Example", 1)[1]
    assert max(map(len, out.splitlines())) <= 80


def _python(code: str, **kwargs) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["compress", "--help"]])
def test_start_up_imports_nothing_heavy(arguments) -> None:
    done = _python(
        "import sys; from leo_cli.cli.main import run\n"
        f"code = run({arguments!r})\n"
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'pulp', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(code)"
    )
    assert done.returncode == 0, done.stderr


def test_version(capsys) -> None:
    assert entry.run(["--version"]) == 0
    assert capsys.readouterr().out == f"leo {__version__}\n"


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    command = f"{sys.executable} -m leo_cli.cli.main --help | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", f"sleep 0.1; {command}"], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() in ("0", "141") and done.stderr == ""


def test_a_closed_pipe_is_reported_as_the_shell_does() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "leo_cli.cli.main", "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert done.returncode == 141 and done.stderr == ""


def test_shell_completion_names_the_commands() -> None:
    env = {
        **os.environ,
        "_LEO_COMPLETE": "bash_complete",
        "COMP_WORDS": "leo comp",
        "COMP_CWORD": "1",
    }
    done = _python("from leo_cli.cli.main import main; main()", env=env)
    assert done.stdout.strip() == "plain,compress"


def test_sigterm_unwinds_and_exits_143(tmp_path) -> None:
    code = (
        "import signal, time, sys, pathlib\n"
        "from leo_cli.cli import main as entry\n"
        f"flag = pathlib.Path({str(tmp_path / 'temporary')!r})\n"
        "def slow(arguments):\n"
        "    try:\n"
        "        flag.touch(); time.sleep(60)\n"
        "    finally:\n"
        "        flag.unlink()\n"
        "entry.run = slow\n"
        "entry.main()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as child:
        deadline = time.monotonic() + 20
        while not (tmp_path / "temporary").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=20)
    assert child.returncode == 143 and said == b""
    assert not (tmp_path / "temporary").exists()
