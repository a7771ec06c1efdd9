"""What has to be trusted is small, and stands alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import leo_cli.proof

FILES = ("checker.py", "bounding.py", "graph.py")


def modules_after(statement: str) -> list[str]:
    """The modules of leo that a statement imports."""
    listing = "print(*[m for m in sys.modules if m.startswith('leo_cli.')])"
    code = f"import sys; {statement}; {listing}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_checker_is_three_small_files() -> None:
    folder = Path(leo_cli.proof.__file__).parent
    lines = [line for name in FILES for line in (folder / name).read_text("utf-8").splitlines()]
    assert sum(bool(line.strip()) for line in lines) < 800


def test_the_checker_imports_nothing_else_of_leo() -> None:
    names = {f"leo_cli.proof.{name.removesuffix('.py')}" for name in FILES}
    assert set(modules_after("import leo_cli.proof.checker")) == {"leo_cli.proof", *names}


def test_the_check_command_shares_no_code_with_the_search() -> None:
    search = ("leo_cli.bounds", "leo_cli.stability", "leo_cli.rewrite", "leo_cli.milp")
    assert not [m for m in modules_after("import leo_cli.proof.standalone") if m.startswith(search)]
