"""The pytest plugin: model servers as fixtures, and what they were asked beside a failure.

Loaded into every pytest run of an environment with pyserve in it, so it imports nothing of pyserve before a test asks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pyserve.testing import ModelServer

MakeServer = Callable[..., "ModelServer"]
"""(models, labels=..., **settings) → a running server; see `pyserve.testing.serve`."""

_MARKER = "pyserve_models"
_SERVERS = pytest.StashKey[list["ModelServer"]]()  # of an item: made for it; of the session: made for all


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(models, labels=..., **settings): what model_server() serves when it is called without models",
    )


@pytest.fixture
def model_server(request: pytest.FixtureRequest) -> Iterator[MakeServer]:
    """Starts model servers, and stops them after the test: `model_server({"m": function})`.

    Without models it serves those of the closest marker `pyserve_models`.
    """
    marker = request.node.get_closest_marker(_MARKER)
    with ExitStack() as stack:
        servers = request.node.stash.setdefault(_SERVERS, [])
        yield _factory(stack, servers, marker)


@pytest.fixture(scope="session")
def session_model_server(request: pytest.FixtureRequest) -> Iterator[MakeServer]:
    """Starts model servers that live until the end of the session.

    Before each test they forget what was scripted and what was asked.
    """
    with ExitStack() as stack:
        yield _factory(stack, request.session.stash.setdefault(_SERVERS, []), None)


def _factory(stack: ExitStack, servers: list[ModelServer], marker: pytest.Mark | None) -> MakeServer:
    def make(models: Mapping[str, Any] | None = None, **settings: Any) -> ModelServer:
        from pyserve.testing import serve

        arguments: tuple[Any, ...] = (models,)
        if models is None:
            if marker is None:
                raise ValueError(f"model_server() needs models, or the test the marker {_MARKER}")
            arguments, settings = marker.args, {**marker.kwargs, **settings}
        server = stack.enter_context(serve(*arguments, **settings))
        servers.append(server)
        return server

    return make


def pytest_runtest_setup(item: pytest.Item) -> None:
    for server in item.session.stash.get(_SERVERS, []):
        server.reset()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        own, shared = item.stash.get(_SERVERS, []), item.session.stash.get(_SERVERS, [])
        for server in (*own, *(each for each in shared if each.requests())):
            report.sections.append((f"pyserve: requests to {server}", server.report()))
    return report
