"""Documentation that is run: every `leo` command of the README and the user's pages."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from leo_cli.stability.options import DECIDERS

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/cli.md")
LINKED = sorted(p.relative_to(ROOT).as_posix() for p in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md")])


def commands(page: str) -> list[str]:
    """Lines of indented or fenced blocks that call leo or write its bounds, comments taken off."""
    lines, fenced = [], False
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            text = re.sub(r"\s{2,}# .*$", "", line.strip())
            if re.search(r"(^|\| )leo |> bounds.json$", text) and "  " not in text:
                lines.append(text)
    return lines


def _leo() -> str:
    """How Python runs `leo`."""
    if sys.platform != "linux":
        return "-m leo_cli.cli.main"
    from support import warm_call
    from support.warm_server import server

    return f"-IS {warm_call.__file__} {server()}"


@pytest.fixture
def shell(tmp_path):
    """Run a line in a copy of the project's sample models, with `leo` and `python` on the path."""
    shutil.copytree(ROOT / "sample_models", tmp_path / "sample_models")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, call in (("leo", _leo()), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {call} "$@"\n')
        (tools / name).chmod(0o755)

    def run(line: str) -> subprocess.CompletedProcess:
        env = {
            "PATH": f"{tools}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "PYTHONIOENCODING": "utf-8",
        }
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize("page", PAGES)
def test_every_command_shown_works(page, shell) -> None:
    shown = commands(page)
    assert shown, f"{page} shows no command"
    for line in shown:
        done = shell(line)
        assert done.returncode == 0, f"{page}: {line}\n{done.stderr}"


def test_every_decider_is_named() -> None:
    text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    assert ", ".join(f"`{name}`" for name in DECIDERS) in text


def test_python_shown_works(shell) -> None:
    text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = shell(f"python - <<'END'\n{code}END\ntest -s small.onnx")
    assert done.returncode == 0, done.stderr


def test_the_examples_of_training_run_from_data_to_proof(shell, tmp_path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    text = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    examples = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    for example, least_score in zip(examples, (0.93, 0.3), strict=True):
        assert all(f"leo {name} " in example for name in ("train", "compress", "verify", "check"))
        done = shell(f"set -e\n{example}")
        assert done.returncode == 0, done.stderr
        trained = json.loads((tmp_path / "model.train.json").read_text())
        assert trained["score"]["held_out"] > least_score
        before, after = ((tmp_path / f"{n}.onnx").stat().st_size for n in ("model", "small"))
        assert after < 0.7 * before


def test_the_figures_of_the_readme_are_reached(shell) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (claimed,) = re.findall(r"^connections .* ([\d.]+)% fewer$", text, re.MULTILINE)
    line = next(c for c in commands("README.md") if c.startswith("leo compress"))
    shell('echo \'{"lower": 0, "upper": 1}\' > bounds.json')
    done = shell(f"{line} | cat")
    (reached,) = re.findall(r"^connections .* ([\d.]+)% fewer$", done.stdout, re.MULTILINE)
    assert float(reached) >= float(claimed)


@pytest.mark.parametrize("page", LINKED)
def test_links_lead_somewhere(page) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", ["docs/architecture.md"])
def test_places_named_in_the_architecture_exist(page) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    places = re.findall(r"`((?:leo_cli|tests)/[\w/.]*)`", text)
    assert len(places) > 10
    for place in places:
        assert (ROOT / place).exists(), place
