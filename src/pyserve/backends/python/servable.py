"""A version's code as a servable."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pyserve.backends.arrays import as_declared
from pyserve.backends.python.code import VersionCode
from pyserve.backends.python.failures import run_error
from pyserve.backends.python.package import Package
from pyserve.backends.saved_model.garbage import return_memory
from pyserve.codec.signature_def import signature_def_map
from pyserve.dtypes import Array
from pyserve.errors import Code, FailedPreconditionError, ServingError
from pyserve.servable import Servable, Signature

_log = logging.getLogger(__name__)


class PythonServable:
    """A `Servable` over `predict` of a version's code.

    Args:
        code: What runs.
        package: Its modules; owned from now on, `unload` forgets them.
        file: For messages, e.g. `model.py`.
        signatures: What may be asked for.
        stateless: Keys of signatures that may be run again.
        around: The model that a handler is around; owned from now on, `unload` unloads it.
    """

    def __init__(
        self,
        code: VersionCode,
        package: Package,
        file: str,
        signatures: Mapping[str, Signature],
        stateless: frozenset[str],
        around: Servable | None = None,
    ) -> None:
        self.signatures: Mapping[str, Signature] = MappingProxyType(dict(signatures))
        self.signature_def_map = signature_def_map(self.signatures.values())
        self.stateless = stateless
        self._code: VersionCode | None = code
        self._package = package
        self._file = file
        self._around = around

    def run(
        self,
        signature_key: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        """Call `predict`; `timeout_s` cannot be honoured once it runs. All outputs are computed.

        The code gets views that cannot be written to: arrays may be those of the request's bytes, of a default, or of
        another signature of the same request.

        Raises:
            ServingError: The code's own, or what has become of its exception; INTERNAL when its outputs are not as
                declared.
        """
        code = self._code
        if code is None:
            raise FailedPreconditionError("The servable has been unloaded")
        try:
            results = code.predict(
                {alias: _read_only(array) for alias, array in inputs.items()}, signature_key
            )
        except ServingError:
            raise
        except (Exception, SystemExit) as error:
            failure = run_error(error, self._package.directory)
            if failure.code is Code.INTERNAL:  # no caller's mistake: its author needs the traceback
                _log.exception("predict of %s failed", self._package.directory / self._file)
            raise failure from error
        declared = self.signatures[signature_key].outputs
        arrays = as_declared(results, declared, f"predict of {self._file}")
        return {alias: arrays[alias] for alias in outputs}

    def unload(self) -> None:
        """Let the code give back what it holds, and forget it. Called after the last run; twice does no harm."""
        code, self._code = self._code, None
        if code is None:
            return
        try:
            code.unload()
        except (Exception, SystemExit):
            _log.exception("unload of %s failed", self._package.directory / self._file)
        del code
        self._package.forget()
        around, self._around = self._around, None
        if around is not None:
            around.unload()
        else:
            return_memory()  # a module and its functions are a cycle


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
