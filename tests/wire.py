"""A raw connection to a REST port, for tests that look at bytes."""

from __future__ import annotations

import socket


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
