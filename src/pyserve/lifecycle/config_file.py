"""Reads the model configuration file again and again, and applies what it says.

A thread with a period, counted from the start of one look to the start of the next. It never waits for models
longer than until its next look, so that a file that was corrected is read although what it said before is still
loading. A mistake in the file is logged and leaves everything as it is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from pyserve.config import ModelSelection
from pyserve.errors import ServingError
from pyserve.lifecycle.configuration import Configuration, Reload
from pyserve.lifecycle.monitor import Monitor

_log = logging.getLogger(__name__)


class ConfigFile:
    """The file that a configuration comes from. `look` may be called without the thread.

    Args:
        read: The file's models; raises ServingError.
        configuration: Where they are applied, changed or not: labels are checked anew each time.
        monitor: Wakes the thread at the end.
        period_s: Seconds from look to look, > 0.
    """

    def __init__(
        self,
        read: Callable[[], ModelSelection],
        configuration: Configuration,
        monitor: Monitor,
        period_s: float,
    ) -> None:
        self._read = read
        self._configuration = configuration
        self._monitor = monitor
        self._period_s = period_s
        self._reload: Reload | None = None  # of the file's latest change, until its outcome is known
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pyserve-config-file", daemon=True)

    def start(self) -> None:
        """Begin, with a first look at once."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Look no more. A read that hangs in the file system is left behind, on a daemon thread."""
        self._stopping.set()
        self._monitor.wake()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def look(self) -> None:
        """Read the file once and apply it. Never raises a ServingError."""
        try:
            models = self._read()
        except ServingError as error:
            _log.error("Failed to read ModelServerConfig file: %s", error.message)
            return
        before = self._configuration.in_force.models
        try:
            reload = self._configuration.apply(models)
        except ServingError as error:
            self._failed(error)
            return
        if models != before:
            self._reload = reload

    def await_outcome(self, deadline: float) -> None:
        """Wait for the outcome of the latest change, until a point on the monotonic clock, and log a failure."""
        if self._reload is None:
            return
        try:
            if self._reload.wait(deadline, self._stopping.is_set):
                self._reload = None
        except ServingError as error:
            self._reload = None
            if not self._stopping.is_set():
                self._failed(error)

    def _failed(self, error: ServingError) -> None:
        _log.error("PollFilesystemAndReloadConfig failed to ReloadConfig: %s", error.message)

    def _run(self) -> None:
        while not self._stopping.is_set():
            next_look = time.monotonic() + self._period_s
            try:
                self.look()
                self.await_outcome(next_look)
            except Exception:
                _log.exception("A look at the model configuration file failed")
            self._stopping.wait(max(0.0, next_look - time.monotonic()))
