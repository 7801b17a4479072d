"""Versions in memory: the place where the fake's server finds models, and the backend that loads them.

Everything between is the real thing: the source asks `children` which versions a model has, the manager loads and
unloads, requests are routed by what it serves.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyserve.backends.function import FunctionServable
from pyserve.config import ModelConfig, TensorFlowOptions
from pyserve.errors import NotFoundError, ServingError, error_for
from pyserve.lifecycle.loader import Loader
from pyserve.lifecycle.versions import parse_version
from pyserve.servable import DEFAULT_SIGNATURE, Servable, ServableId
from pyserve.testing.recorded import Recorded
from pyserve.testing.script import Script, scripted
from pyserve.testing.signatures import signature_of

Load = Callable[[ServableId], Servable]
"""Makes the servable of a version, each time that it is loaded."""


class Versions:
    """The versions of each model, and what loads them; what a server calls a backend. Thread-safe.

    Args:
        script_of: The script that a model's runs follow.
    """

    def __init__(self, script_of: Callable[[str], Script]) -> None:
        self._script_of = script_of
        self._lock = threading.Lock()
        self._models: dict[str, dict[int, Load]] = {}  # guarded by _lock

    def add(self, name: str, version: int, load: Load) -> None:
        """Let a version be found from now on.

        Raises:
            ValueError: It is there already, or is no number from 0.
        """
        if not isinstance(version, int) or version < 0:
            raise ValueError(f"model {name}: version {version!r}, expected a number from 0")
        with self._lock:
            versions = self._models.setdefault(name, {})
            if version in versions:
                raise ValueError(f"model {name} has a version {version} already")
            versions[version] = load

    def remove(self, name: str, version: int) -> None:
        """Let a version be found no more.

        Raises:
            KeyError: There is none.
        """
        with self._lock:
            versions = self._models.get(name, {})
            if version not in versions:
                raise KeyError(f"model {name} has no version {version}, only {sorted(versions)}")
            del versions[version]

    def children(self, model: ModelConfig) -> list[str]:
        """The versions of a model, whatever its base path says; a stand-in for the children of a base path.

        Raises:
            FileNotFoundError: It never had any.
        """
        with self._lock:
            if model.name not in self._models:
                raise FileNotFoundError(model.base_path)
            return [str(version) for version in self._models[model.name]]

    # --- as a backend --------------------------------------------------------------------------------------------

    def prepare(self, *, own_process: bool) -> None:
        del own_process

    def incomplete_reason(self, path: str) -> str | None:
        del path
        return None

    def make_loader(self, id: ServableId, path: str) -> Loader:
        with self._lock:
            load = self._models.get(id.name, {}).get(id.version)
        if load is None:
            raise NotFoundError(f"{path} was removed")
        return _Loader(id, load, self._script_of(id.name))


class _Loader:
    def __init__(self, id: ServableId, load: Load, script: Script) -> None:
        self._id = id
        self._load = load
        self._script = script

    def load(self) -> Servable:
        return scripted(self._load(self._id), self._script)


def versions_of(given: Any) -> dict[int, Load]:
    """What a caller gives for a model as versions.

    Args:
        given: Versions by number; or one version, which is number 1. For what a version can be see `version_of`. A base
            path of SavedModels gives its newest version, under its own number.

    Raises:
        TypeError, ValueError: It is none of these, or cannot be served.
    """
    if isinstance(given, Mapping) and all(isinstance(key, int) for key in given):
        if not given:
            raise ValueError("a model needs a version")
        return {int(version): version_of(each) for version, each in given.items()}
    if isinstance(given, str | os.PathLike):
        version, path = _saved_model(Path(given))
        return {version: _saved_model_loader(path)}
    return {1: version_of(given)}


def version_of(given: Any) -> Load:
    """What a caller gives for a version as its loader.

    Args:
        given: A callable; a mapping from signature key to callable; `Recorded` answers; a path of a SavedModel; a
            `pyserve.servable.Servable`; or a `ServingError`, with which the load fails.

    Raises:
        TypeError, ValueError: It is none of these, or its signature cannot be found out.
    """
    if isinstance(given, str | os.PathLike):
        return _saved_model_loader(_saved_model(Path(given))[1])
    if isinstance(given, ServingError):
        return functools.partial(_fail, given)
    if hasattr(given, "signatures") and hasattr(given, "run"):
        return lambda id: given
    if isinstance(given, Recorded):
        pairs = given.functions()
    elif isinstance(given, Mapping) and given and all(isinstance(key, str) for key in given):
        pairs = [(signature_of(key, function), function) for key, function in given.items()]
    elif callable(given):
        pairs = [(signature_of(DEFAULT_SIGNATURE, given), given)]
    else:
        raise TypeError(
            "a model is a callable, callables by signature key, versions by number, Recorded answers, the path of a "
            f"SavedModel, a Servable or a ServingError; was {given!r}"
        )
    return lambda id: FunctionServable(pairs)


def _fail(error: ServingError, id: ServableId) -> Servable:
    del id
    raise error_for(error.code, error.message)


def _saved_model(path: Path) -> tuple[int, Path]:
    """The version directory that a path means, and its number (1 when its name is none)."""
    if (path / "saved_model.pb").exists() or (path / "saved_model.pbtxt").exists():
        number = parse_version(path.name)
        return (1 if number is None else number), path
    found = [(number, child) for child in _listed(path) if (number := parse_version(child.name)) is not None]
    if not found:
        raise ValueError(f"{path}: neither a SavedModel nor a directory of numbered ones")
    return max(found)


def _listed(path: Path) -> list[Path]:
    return list(path.iterdir()) if path.is_dir() else []


def _saved_model_loader(path: Path) -> Load:
    def load(id: ServableId) -> Servable:
        from pyserve.backends.saved_model import SavedModelBackend

        return SavedModelBackend(TensorFlowOptions()).make_loader(id, str(path)).load()

    return load
