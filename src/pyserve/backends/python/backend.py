"""The backends of a server with Python code in its models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from pyserve.backends.python.completeness import HANDLER, MODEL, incomplete_reason
from pyserve.backends.python.loader import HandlerLoader, PythonLoader
from pyserve.lifecycle.loader import Loader
from pyserve.servable import ServableId


class PythonBackend:
    """Serves `model.py` of each version: the platform `python`."""

    def prepare(self, *, own_process: bool) -> None:
        """Nothing to prepare: what a model imports, it imports itself."""

    def make_loader(self, id: ServableId, path: str) -> PythonLoader:
        """A loader for one version; does no work yet."""
        return PythonLoader(id, path)

    def incomplete_reason(self, path: str) -> str | None:
        """What a version still lacks; None when nothing is known to be missing. Never raises."""
        return incomplete_reason(Path(path), MODEL)


class _Backend(Protocol):
    def prepare(self, *, own_process: bool) -> None: ...
    def make_loader(self, id: ServableId, path: str) -> Loader: ...
    def incomplete_reason(self, path: str) -> str | None: ...


class HandlerBackend:
    """Another backend, whose versions are wrapped by the `handler.py` that lies beside their models.

    Args:
        models: Loads the models.
        enabled: Whether handlers may run (`--allow_python_models`).
    """

    def __init__(self, models: _Backend, *, enabled: bool) -> None:
        self._models = models
        self._enabled = enabled

    def prepare(self, *, own_process: bool) -> None:
        """What the other backend prepares."""
        self._models.prepare(own_process=own_process)

    def make_loader(self, id: ServableId, path: str) -> HandlerLoader:
        """A loader for one version; does no work yet."""
        return HandlerLoader(id, path, self._models.make_loader(id, path), enabled=self._enabled)

    def incomplete_reason(self, path: str) -> str | None:
        """What the model still lacks, or its handler; None when nothing is known to be missing. Never raises."""
        reason = self._models.incomplete_reason(path)
        if reason is None and self._enabled and os.path.isfile(Path(path) / HANDLER):  # noqa: PTH113
            return incomplete_reason(Path(path), HANDLER)
        return reason
