"""Imports go one way: from a package only to itself and to rows below it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "pyserve"

# Low to high. A module may import from lower rows, and from its own part.
ROWS = [
    {"errors", "observe", "security", "protos"},
    {"dtypes", "servable", "config", "device_map"},
    {"batching", "codec", "lifecycle"},
    {"inference", "backends"},
    {"transport"},
    {"server", "client"},
    {"tools"},
    {"cli", "testing", "pytest_plugin"},
    {"__main__"},
]
# Below everything: names that carry no logic, and the lazily resolved package itself.
ANYWHERE = {""}
# Within a row, and in a fixed order, these may look at each other.
SAME_ROW_ALLOWED = {
    ("servable", "dtypes"),
    ("config", "device_map"),
    ("observe", "errors"),
    ("pytest_plugin", "testing"),
}


def part_of(module: str) -> str:
    """`pyserve.codec.tensor_proto` → `codec`; `pyserve` → an empty string."""
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else ""


def row_of(part: str) -> int:
    return next(number for number, row in enumerate(ROWS) if part in row)


def imported_parts(source: str) -> set[str]:
    """The parts of pyserve that a file imports, wherever in the file."""
    parts: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            parts |= {part_of(alias.name) for alias in node.names if alias.name.split(".")[0] == "pyserve"}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pyserve":
            if node.module == "pyserve":
                parts |= {part if is_part(part := alias.name) else "" for alias in node.names}
            else:
                parts.add(part_of(node.module))
    return parts


def is_part(name: str) -> bool:
    return any(name in row for row in ROWS)


def violations(part: str, source: str) -> list[str]:
    """What a file of `part` imports and must not."""
    wrong = []
    for other in sorted(imported_parts(source) - ANYWHERE - {part}):
        if not is_part(other):
            wrong.append(f"{other} stands in no row")
        elif row_of(other) >= row_of(part) and (part, other) not in SAME_ROW_ALLOWED:
            wrong.append(f"{part} imports {other}")
    return wrong


MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_downwards(module: Path) -> None:
    """No module imports from a row above its own, or from a neighbour in it."""
    part = module.parts[0].removesuffix(".py")
    assert violations(part, (ROOT / module).read_text()) == []


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_only_backends_import_tensorflow(module: Path) -> None:
    """TensorFlow is imported nowhere but in backends/."""
    if module.parts[0] == "backends":
        return
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        assert not [name for name in names if name.split(".")[0] in ("tensorflow", "keras")]


@pytest.mark.parametrize(
    ("part", "source", "wrong"),
    [
        ("codec", "from pyserve.inference.router import Router", ["codec imports inference"]),
        ("codec", "import pyserve.lifecycle.manager", ["codec imports lifecycle"]),
        ("lifecycle", "def f():\n    from pyserve import server", ["lifecycle imports server"]),
        ("inference", "from pyserve.batching.task import Task", []),
        ("transport", "from pyserve.nonsense import x", ["nonsense stands in no row"]),
    ],
)
def test_the_check_sees_a_wrong_import(part: str, source: str, wrong: list[str]) -> None:
    """The check itself finds upward, sideways, late and unknown imports."""
    assert violations(part, source) == wrong
