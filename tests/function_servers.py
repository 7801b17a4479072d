"""Embedded servers over Python callables: a whole server with its sockets, up in milliseconds, without TensorFlow.

Each version directory is served as `y = x / 2 + 2`. A version whose directory holds a file `slow` waits at each run
until the server's gate is opened; one with a file `large` answers each row with five million numbers.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pyserve import Server, ServerConfig, dtypes
from pyserve.backends.function import FunctionServable, predict_signature
from pyserve.config import LoadOptions, ModelConfig
from pyserve.dtypes import Array
from pyserve.errors import NotFoundError
from pyserve.servable import Servable, ServableId, TensorSpec


class FunctionBackend:
    """Loads directories as callables.

    Attributes:
        gate: Opened by a test to let slow versions answer.
        entered: How many runs of slow versions have begun.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)

    def prepare(self, *, own_process: bool) -> None:
        del own_process

    def incomplete_reason(self, path: str) -> str | None:
        del path
        return None

    def make_loader(self, id: ServableId, path: str) -> _Loader:
        del id
        return _Loader(self, Path(path))


class _Loader:
    def __init__(self, backend: FunctionBackend, path: Path) -> None:
        self._backend = backend
        self._path = path

    def load(self) -> Servable:
        if (self._path / "broken").exists():
            raise NotFoundError("broken on purpose")
        backend = self._backend
        slow, large = (self._path / "slow").exists(), (self._path / "large").exists()

        def run(x: Array) -> Mapping[str, Array]:
            if slow:
                backend.entered.release()
                backend.gate.wait(60)
            return {"y": np.repeat(x, 5_000_000) if large else x / 2 + 2}

        x, y = TensorSpec("x", dtypes.FLOAT, (None,)), TensorSpec("y", dtypes.FLOAT, (None,))
        return FunctionServable([(predict_signature([x], [y]), run)])


def add_version(directory: Path, name: str, version: int = 1, mark: str | None = None) -> Path:
    """Make a version of a model; its base path."""
    path = directory / name / str(version)
    path.mkdir(parents=True)
    if mark is not None:
        (path / mark).touch()
    return path.parent


@contextmanager
def function_server(
    models: Mapping[str, Path], backend: FunctionBackend | None = None, **config: Any
) -> Iterator[Server]:
    """A running server for these models, by base path, on free ports."""
    backend = backend or FunctionBackend()
    settings: dict[str, Any] = {
        "models": tuple(ModelConfig(name, str(path)) for name, path in models.items()),
        "port": 0,
        "rest_api_port": 0,
        "drain_timeout_s": 5.0,
        "load": LoadOptions(file_system_poll_wait_seconds=0.05, max_num_load_retries=0),
        **config,
    }
    server = Server(ServerConfig(**settings), backend)
    with server:
        try:
            yield server
        finally:
            backend.gate.set()


class Wire:
    """A raw TCP connection to the REST port; a context manager."""

    def __init__(self, port: int | None, timeout_s: float = 10.0) -> None:
        assert port is not None
        self.socket = socket.create_connection(("localhost", port), timeout=timeout_s)
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, *, head_only: bool = False) -> tuple[bytes, dict[str, str], bytes]:
        """The next answer: status line, headers by lower-case name, body by its Content-Length."""
        status = self._file.readline().rstrip(b"\r\n")
        headers: dict[str, str] = {}
        while line := self._file.readline().rstrip(b"\r\n"):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        length = 0 if head_only else int(headers.get("content-length", 0))
        return status, headers, self._file.read(length)

    def line(self) -> bytes:
        """The next line, as it is; empty at the end of the connection."""
        return self._file.readline()

    def rest(self) -> bytes:
        """Everything until the server closes."""
        return self._file.read()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self.socket.close()
