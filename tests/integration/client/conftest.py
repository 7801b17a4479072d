"""Both blocking clients, of an embedded server that echoes and of the process with the example models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from echo_clients import CLIENTS, Sync, client_of
from echo_servers import EchoBackend, echo_server
from pyserve import Server
from servers import ServerProcess


@pytest.fixture(scope="module")
def backend() -> EchoBackend:
    return EchoBackend()


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("echo") / "socket"


@pytest.fixture(scope="module")
def echo(backend: EchoBackend, socket_path: Path) -> Iterator[Server]:
    with echo_server(socket_path.parent, backend, grpc_socket_path=str(socket_path)) as server:
        yield server


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, echo: Server) -> Iterator[Sync]:
    """Both clients of the echo server."""
    with client_of(request.param, echo) as client:
        yield client


@pytest.fixture(params=CLIENTS)
def models(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[Sync]:
    """Both clients of the process that serves the example models."""
    with client_of(request.param, server) as client:
        yield client
