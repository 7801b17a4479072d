"""Finds a version by what somebody types: the version, the model that it belongs to, or its SavedModel file."""

from __future__ import annotations

from pathlib import Path

from pyserve.backends.python.completeness import MODEL
from pyserve.backends.saved_model.meta_graph import BINARY_NAME, TEXT_NAME
from pyserve.errors import InvalidArgumentError, NotFoundError, UnimplementedError

_FILES = (BINARY_NAME, TEXT_NAME, "model.tflite")


def version_directory(path: Path) -> Path:
    """The version directory that a path means.

    Args:
        path: A version directory, a file in one, or a model's base path, which stands for its highest version.

    Raises:
        NotFoundError: There is nothing.
        UnimplementedError: There is a model of Python code.
        InvalidArgumentError: There is something else.
    """
    if not path.exists():
        raise NotFoundError(f"{path}; No such file or directory")
    if path.is_file():
        if path.name not in _FILES:
            raise InvalidArgumentError(f"{path} is none of {', '.join(_FILES)}")
        return path.parent
    if _is_version(path):
        return path
    versions = versions_in(path)
    if not versions:
        if (path / MODEL).is_file() or any(path.glob(f"*/{MODEL}")):
            raise UnimplementedError(
                f"{path} is Python code, which only a server runs: ask one that serves it, by its address"
            )
        raise InvalidArgumentError(f"{path} holds neither a model ({', '.join(_FILES)}) nor versions of one")
    return versions[max(versions)]


def versions_in(path: Path) -> dict[int, Path]:
    """The versions in a model's base path that hold a model, by number."""
    children = (child for child in path.iterdir() if child.name.isdecimal())
    return {int(child.name): child for child in children if _is_version(child)}


def _is_version(path: Path) -> bool:
    return any((path / name).is_file() for name in _FILES)
