"""Have all source files of a version arrived? Asked by the life cycle before a load; runs none of them.

Files are followed from `model.py` or `handler.py` by what they import relatively. One that is there in part is told by
its syntax, unless it happens to be cut between two statements. What else a version needs is not known here: it is
moved into place as a whole, or copied before `model.py`.
"""

from __future__ import annotations

import ast
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path

MODEL = "model.py"
HANDLER = "handler.py"


def incomplete_reason(directory: Path, file: str) -> str | None:
    """What the code of a version still lacks, as a sentence for the log; None when nothing is known to be missing.

    Never raises. Opens nothing but regular files: a named pipe would hold up whoever asks.
    """
    try:
        return _reason(directory, file)
    except OSError as error:
        return f"{error.filename or directory} cannot be read: {error.strerror or error}"


def _reason(directory: Path, file: str) -> str | None:
    if not (directory / file).is_file():
        return f"there is no {file} yet"
    seen: set[Path] = set()
    waiting = [directory / file]
    while waiting:
        source = waiting.pop()
        seen.add(source)
        name = source.relative_to(directory)
        text = source.read_bytes()
        if not text.strip() and source == directory / file:
            return f"{name} is empty yet"
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return f"{name} is not whole, or no Python: {error}"
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                for module in _imported(node, source, directory):
                    found = _file_of(module)
                    if found is None:
                        wanted = module.relative_to(directory)
                        return f"{name}:{node.lineno} imports {wanted}.py, which is not there yet"
                    if found.suffix in SOURCE_SUFFIXES and found not in seen:
                        waiting.append(found)
    return None


def _imported(node: ast.ImportFrom, source: Path, directory: Path) -> list[Path]:
    """Paths, without suffix, of the modules that a relative import must find inside the version directory."""
    base = source.parent
    for _ in range(node.level - 1):
        base = base.parent
    if base != directory and directory not in base.parents:
        return []  # beyond the version; its load says so
    if node.module:
        return [base.joinpath(*node.module.split("."))]
    if base == directory:
        return [base / alias.name for alias in node.names if alias.name != "*"]
    return []  # names of an inner package, which may be anything that it defines


def _file_of(module: Path) -> Path | None:
    """The file of a module: source, extension, or the directory of a package."""
    for suffix in (*SOURCE_SUFFIXES, *EXTENSION_SUFFIXES):
        file = module.with_name(module.name + suffix)
        if file.is_file():
            return file
    if module.is_dir():
        init = module / "__init__.py"
        return init if init.is_file() else module
    return None
