"""Loads the code of one version: `model.py`, or `handler.py` around the model that another loader loads."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from pyserve.backends.python.code import VersionCode
from pyserve.backends.python.completeness import HANDLER, MODEL
from pyserve.backends.python.declaration import declared_signatures
from pyserve.backends.python.failures import load_error
from pyserve.backends.python.package import Package
from pyserve.backends.python.servable import PythonServable
from pyserve.backends.python.wrapped_model import WrappedModel
from pyserve.errors import InvalidArgumentError, NotFoundError
from pyserve.lifecycle.loader import Loader, unload_quietly
from pyserve.servable import Servable, ServableId, Signature

_log = logging.getLogger(__name__)


class PythonLoader:
    """Loads `model.py` of a version directory. Making one does no work."""

    def __init__(self, id: ServableId, path: str) -> None:
        self._id = id
        self._path = Path(path)

    def load(self) -> Servable:
        """A servable; may be called again after a failure, and runs the code anew each time.

        Raises:
            NotFoundError: There is no `model.py`.
            InvalidArgumentError: It does not offer what it must.
            ServingError: What its code has raised, or INTERNAL with file and line.
        """
        if not os.path.isfile(self._path / MODEL):  # noqa: PTH113  # Path's own may raise
            raise NotFoundError(f"Could not find {MODEL} at {self._path}")
        return _load(self._id, self._path, MODEL)


class HandlerLoader:
    """Loads a version, and the `handler.py` that wraps it where there is one. Making one does no work.

    Args:
        id, path: Of the version.
        model: Loads what is wrapped.
        enabled: Whether handlers may run; one that may not is named in a warning.
    """

    def __init__(self, id: ServableId, path: str, model: Loader, *, enabled: bool) -> None:
        self._id = id
        self._path = Path(path)
        self._model = model
        self._enabled = enabled

    def load(self) -> Servable:
        """The model, or the handler around it.

        Raises:
            ServingError: What the model's loader says, or as for `PythonLoader`.
        """
        model = self._model.load()
        try:
            if not os.path.isfile(self._path / HANDLER):  # noqa: PTH113  # Path's own may raise
                return model
            if not self._enabled:
                _log.warning(
                    "%s is not run: --allow_python_models is not given. The model is served without it",
                    self._path / HANDLER,
                )
                return model
            return _load(self._id, self._path, HANDLER, model)
        except BaseException:
            unload_quietly(model)
            raise


def _load(id: ServableId, path: Path, file: str, around: Servable | None = None) -> Servable:
    package = Package(id, path)
    try:
        module = package.import_module(Path(file).stem)
        code = VersionCode(module, path, str(path / file), None if around is None else WrappedModel(around))
        return _servable(code, package, file, around)
    except (Exception, SystemExit) as error:
        failure = load_error(error, path)
        if failure is not error:
            _log.warning("%s cannot be loaded", path / file, exc_info=error)
    # Behind the block: a failure raised inside would hold the error, its frames, and by them the modules.
    package.forget()
    raise failure.with_traceback(None)


def _servable(code: VersionCode, package: Package, file: str, around: Servable | None) -> PythonServable:
    where = str(package.directory / file)
    declared = code.signatures
    if declared is not None:
        signatures = declared_signatures(declared, where)
    elif around is not None:
        signatures = {key: each for key, each in around.signatures.items() if _has_values(each)}
    else:
        raise InvalidArgumentError(f"{where} has no signatures, and what load returned has none")
    code.check(signatures.keys())
    return PythonServable(code, package, file, signatures, code.stateless(signatures.keys()), around)


def _has_values(signature: Signature) -> bool:
    """Whether all tensors have a form as arrays; not so those of the signature that initialises a SavedModel."""
    specs = (*signature.inputs.values(), *signature.outputs.values())
    return all(spec.dtype.numpy is not None for spec in specs)
