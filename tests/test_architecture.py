"""Imports go one way, and heavy libraries stay where they belong.

A newcomer who adds a module finds here where it may look: each package may import those above it
in the list, never those below, and its own.
"""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "leo_cli"

ORDER = [
    ["errors", "arrays", "__init__"],
    ["rounding", "tensors", "parallel", "dyadic", "linear_map"],
    ["network"],
    ["domain"],
    ["bounds"],
    ["stability"],
    ["rewrite", "onnx_io", "samples"],
    ["verify"],
    ["proof"],
    ["problem"],
    ["candidate"],
    ["pipeline", "train"],
    ["report"],
    ["cli"],
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}

ALLOWED_LIBRARIES = {
    "onnx": ("onnx_io", "verify", "proof"),
    "onnxruntime": ("onnx_io", "verify"),
    "pulp": ("stability/milp",),
    "cbcbox": ("stability/milp",),
    "highspy": ("stability/milp",),
    "torch": ("train",),
    "click": ("cli",),
    "scipy": (),
    "sklearn": (),
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def _imports(path: Path) -> list[tuple[str, int, bool]]:
    """(module, line, whether it is imported when this module is)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    later = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, node not in later) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(name, node.lineno, node not in later) for name in names]
    return found


def _part(path: Path) -> str:
    """The package (or top module) of leo_cli that a file belongs to."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_upwards_only(path: Path) -> None:
    own = _part(path)
    assert own in RANK, f"{own} has no place yet: give it one in ORDER"
    for name, line, _ in _imports(path):
        parts = name.split(".")
        if parts[0] != "leo_cli" or len(parts) < 2 or parts[1] not in RANK:
            continue
        target = parts[1]
        assert target == own or RANK[target] < RANK[own], f"{path}:{line}: {own} imports {target}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_libraries_stay_where_they_belong(path: Path) -> None:
    place = path.relative_to(PACKAGE).as_posix()
    for name, line, _ in _imports(path):
        library = name.split(".")[0]
        if library in ALLOWED_LIBRARIES:
            allowed = ALLOWED_LIBRARIES[library]
            assert place.startswith(allowed), (
                f"{path}:{line}: {library} is imported outside {allowed}"
            )


COMMAND_MODULES = sorted((PACKAGE / "cli").glob("*.py"))


@pytest.mark.parametrize("path", COMMAND_MODULES, ids=lambda p: p.name)
def test_commands_import_nothing_heavy_when_they_are_loaded(path: Path) -> None:
    light = {"click", "leo_cli"}
    for name, line, at_once in _imports(path):
        root = name.split(".")[0]
        if not at_once or root in light or root in sys.stdlib_module_names:
            continue
        pytest.fail(f"{path}:{line}: imports {root} at start-up")


def test_the_guard_sees_what_it_guards() -> None:
    """The tests above would pass on an empty list."""
    assert len(MODULES) > 20 and len(COMMAND_MODULES) > 5
    names = {name for path in MODULES for name, _, _ in _imports(path)}
    assert {"onnx", "onnxruntime", "click"} <= {name.split(".")[0] for name in names}
