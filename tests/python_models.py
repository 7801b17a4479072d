"""Versions of models that are Python code, written into directories for tests."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

from pyserve.backends.python.loader import HandlerLoader, PythonLoader
from pyserve.lifecycle.loader import Loader
from pyserve.servable import Servable, ServableId

ID = ServableId("m", 1)
X_TO_Y = 'signatures = {"serving_default": {"inputs": {"x": ("float", [None])}, "outputs": {"y": "float"}}}'


def write(directory: Path, **files: str) -> Path:
    """Files of a version by name without `.py`, `__` for a slash; `X_TO_Y` in them is replaced. The directory."""
    for name, text in files.items():
        file = directory / (name.replace("__", "/") + ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text).replace("X_TO_Y", X_TO_Y))
    return directory


def load(directory: Path, **files: str) -> Servable:
    """The servable of a version with these files."""
    return PythonLoader(ID, str(write(directory, **files))).load()


def load_handler(directory: Path, model: Loader, *, enabled: bool = True, **files: str) -> Servable:
    """The servable of a version with these files beside a model."""
    return HandlerLoader(ID, str(write(directory, **files)), model, enabled=enabled).load()


def modules() -> list[str]:
    """The modules of versions that are in the process."""
    return [name for name in sys.modules if name.startswith("pyserve_version_")]
