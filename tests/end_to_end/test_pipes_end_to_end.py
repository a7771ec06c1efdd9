"""stdin and stdout: models and reports through pipes, and what cannot go through one."""

import json
import subprocess
import sys

import onnx
import pytest
from leo_command import bounds, command, environment, leo, model

MODEL, BOUNDS = model("thermostat"), bounds("thermostat")


def _shell(script: str, cwd) -> subprocess.CompletedProcess:
    shim = cwd / "leo"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m leo_cli.cli.main "$@"\n')
    shim.chmod(0o755)
    env = environment()
    env["PATH"] = f"{cwd}:{env['PATH']}"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script], capture_output=True, check=False, env=env, cwd=cwd
    )


def test_a_model_through_a_pipe_is_the_same_as_through_files(tmp_path) -> None:
    script = f"cat {MODEL} | leo compress - - --bounds {BOUNDS} > piped.onnx"
    done = _shell(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    assert b"leo compress" in done.stderr, "the table goes to stderr while the model has stdout"
    assert leo("compress", MODEL, tmp_path / "file.onnx", "--bounds", BOUNDS).returncode == 0
    assert (tmp_path / "piped.onnx").read_bytes() == (tmp_path / "file.onnx").read_bytes()
    onnx.checker.check_model(str(tmp_path / "piped.onnx"))


def test_quiet_is_silent(tmp_path) -> None:
    done = leo("compress", "-", "-", "--bounds", BOUNDS, "-q", stdin=MODEL.read_bytes())
    assert done.returncode == 0 and done.stderr == b""
    onnx.checker.check_model(done.stdout)


def test_bounds_from_stdin() -> None:
    done = leo("analyze", MODEL, "--bounds", "-", "--json", stdin=BOUNDS.read_bytes())
    assert done.returncode == 0
    assert json.loads(done.stdout)["totals"]["units"] == 6


def test_json_goes_to_other_programs(tmp_path) -> None:
    script = f"leo analyze {MODEL} --bounds {BOUNDS} --json | {sys.executable} -m json.tool"
    done = _shell(script, tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["command"] == "analyze"
    assert done.stderr == b""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_table_through_cat_has_no_colour_and_fits_80_columns(tmp_path, encoding) -> None:
    script = f"PYTHONIOENCODING={encoding} leo compress {MODEL} out.onnx --bounds {BOUNDS} | cat"
    done = _shell(script, tmp_path)
    assert done.returncode == 0 and done.stderr == b""
    text = done.stdout.decode(encoding)
    assert "\x1b" not in text and max(map(len, text.splitlines())) <= 80
    assert text.isascii() == (encoding == "ascii")


def test_report_to_stdout_is_json(tmp_path) -> None:
    done = leo("compress", MODEL, tmp_path / "o.onnx", "--bounds", BOUNDS, "--report", "-")
    assert done.returncode == 0 and json.loads(done.stdout)["command"] == "compress"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compress", "-", "o.onnx", "--bounds", "-"), b"cannot both be read from stdin"),
        (("analyze", MODEL, "--bounds", "-", "--samples", "-"), b"cannot both be read from stdin"),
        (("verify", "-", "-", "--bounds", BOUNDS), b"cannot both be read from stdin"),
        (
            ("compress", MODEL, "-", "--bounds", BOUNDS, "--json"),
            b"cannot both be written to stdout",
        ),
        (("compress", MODEL, "-", "--bounds", BOUNDS, "--report", "-"), b"written to stdout"),
        (("analyze", MODEL, "--bounds", BOUNDS, "--report", "r.html"), b".json"),
        (("analyze", MODEL, "--bounds", BOUNDS, "--report", "no/r.json"), b"directory"),
        (("compress", MODEL, "no/o.onnx", "--bounds", BOUNDS), b"does not exist"),
        (("compress", MODEL, "o.onnx", "--bounds", BOUNDS, "--tolerance", "much"), b"--tolerance"),
        (("compress", MODEL, "o.onnx", "--bounds", BOUNDS, "--deciders", "guess"), b"guess"),
        (("analyze", MODEL, "--bounds", BOUNDS, "-q", "-v"), b"exclude each other"),
        (("analyze", MODEL, "--bounds", "no.json"), b"no.json"),
        (("analyze", "no.onnx", "--bounds", BOUNDS), b"no.onnx"),
        (("analyze", BOUNDS, "--bounds", BOUNDS), b"thermostat.bounds.json"),
        (("compress", MODEL, "o.onnx"), b"--bounds"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(tmp_path, arguments, said) -> None:
    done = leo(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == b"" and done.stderr.count(b"\n") == 1
    assert said in done.stderr and b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_is_no_error_message(tmp_path) -> None:
    with subprocess.Popen(
        command("analyze", MODEL, "--bounds", BOUNDS, "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as child:
        child.stdout.close()
        said = child.stderr.read()
    assert child.returncode == 141 and said == b""
