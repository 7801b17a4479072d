"""Loads one version's `model.tflite`, or lets the SavedModel's loader do its work where there is none."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pyserve.backends.tflite.completeness import FILE_NAME
from pyserve.backends.tflite.interpreter import Interpreter
from pyserve.backends.tflite.pool import Pool
from pyserve.backends.tflite.servable import Runnable, TfLiteServable
from pyserve.errors import file_error
from pyserve.servable import Servable

_log = logging.getLogger(__name__)


class OtherLoader(Protocol):
    def load(self) -> Servable: ...


class TfLiteLoader:
    """Loads the TensorFlow Lite model in one version directory. Making one does no work.

    Args:
        path: The version directory.
        otherwise: Loads a version that has no such model.
        interpreters: At most so many for this version, >= 1.
        num_threads: Threads inside a run; 0: TensorFlow Lite chooses.
        devices: Where the model is wanted; without effect here, and the log says so.
    """

    def __init__(
        self,
        path: str,
        otherwise: OtherLoader,
        interpreters: int,
        num_threads: int = 0,
        devices: Sequence[str] = (),
    ) -> None:
        self._file = Path(path) / FILE_NAME
        self._otherwise = otherwise
        self._interpreters = interpreters
        self._num_threads = num_threads
        self._devices = devices

    def load(self) -> Servable:
        """A servable; may be called again after a failure. One interpreter is made now, the others when needed.

        Raises:
            ServingError: The file cannot be read, is no model, or needs what TensorFlow Lite does not have; or what
                the SavedModel's loader said.
        """
        try:
            # In memory, not mapped: somebody may write a file of this name while it is served.
            model = self._file.read_bytes() if self._file.exists() else None
        except OSError as error:
            raise file_error(error) from error
        if model is None:
            return self._otherwise.load()
        if self._devices:
            _log.warning("device_map has no effect on %s: TensorFlow Lite runs on the CPU", self._file)
        first = Interpreter(model, self._num_threads)
        make = functools.partial(Interpreter, model, self._num_threads)
        pool: Pool[Runnable] = Pool(make, self._interpreters, first)
        return TfLiteServable(first.signatures(), pool)
