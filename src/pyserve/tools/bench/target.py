"""Where the load goes: an address and the protocol spoken there."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from pyserve.errors import InvalidArgumentError

_FORMS = "expected grpc://HOST:PORT, unix:PATH (both gRPC) or http://HOST:PORT (REST)"


@dataclass(frozen=True, slots=True)
class Target:
    """A server's port.

    Attributes:
        is_grpc: gRPC; otherwise REST.
        host, port: Empty and 0 for a unix socket.
        path: Of the unix socket; empty for a TCP port.
    """

    is_grpc: bool
    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, url: str) -> Target:
        """The target that a URL names; an address without a scheme is that of a gRPC server.

        Raises:
            InvalidArgumentError: It has no form that is known here.
        """
        if url.startswith("unix:"):
            path = url.removeprefix("unix:")
            path = path.removeprefix("//") if path.startswith("///") else path
            if path:
                return cls(True, path=path)
        else:
            try:
                pieces = urlsplit(url if "://" in url else f"grpc://{url}")
                host, port = pieces.hostname, pieces.port
            except ValueError as error:
                raise InvalidArgumentError(f"{url}: {error}; {_FORMS}") from None
            bare = pieces.path in ("", "/") and not pieces.query and not pieces.username
            if pieces.scheme in ("grpc", "http") and host and port and bare:
                return cls(pieces.scheme == "grpc", host, port)
        raise InvalidArgumentError(f"{url} is no address to call; {_FORMS}")

    @property
    def authority(self) -> str:
        """Host and port as they stand in a request."""
        if self.path:
            return "localhost"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return (
            f"unix:{self.path}" if self.path else f"{'grpc' if self.is_grpc else 'http'}://{self.authority}"
        )
