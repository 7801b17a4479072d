"""Fixtures shared by the suites: a real server process with every model, or the address of one that runs already.

The conformance suite asks for `grpc_address` and `rest_address` only. With --grpc-address and --rest-address these are
those of a server that somebody else started, TensorFlow Serving's say, and no process is started for it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from served_models import served_models_config
from servers import TESTDATA_VARIABLE, ServerProcess, testdata

ADDRESS_OPTIONS = ("--grpc-address", "--rest-address")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance", "a server that runs already (docs/conformance.md)")
    for option in ADDRESS_OPTIONS:
        group.addoption(
            option, metavar="HOST:PORT", default="", help="ask this server instead of starting one"
        )
    group.addoption(
        "--grpc-engine",
        choices=("native", "grpcio"),
        default="native",
        help="what speaks HTTP/2 in the server with every model",
    )


def given_addresses(config: pytest.Config) -> list[str]:
    return [address for option in ADDRESS_OPTIONS if (address := config.getoption(option))]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what only a pyserve that the tests start themselves can show, when the server is somebody else's."""
    if not given_addresses(config):
        return
    for item in items:
        if (mark := item.get_closest_marker("ours")) is not None:
            (reason,) = mark.args
            item.add_marker(pytest.mark.skip(reason=f"only of pyserve: {reason}"))


@pytest.fixture(scope="session")
def tfs_testdata() -> Path:
    """TensorFlow Serving's sample models; skips where they cannot be had."""
    directory = testdata()
    if directory is None:
        pytest.skip(f"{TESTDATA_VARIABLE} does not name TensorFlow Serving's sample models")
    return directory


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A server process with every model."""
    engine = request.config.getoption("--grpc-engine")
    with tempfile.NamedTemporaryFile("w", suffix=".config") as config:
        config.write(served_models_config())
        config.flush()
        arguments = [f"--model_config_file={config.name}", f"--grpc_engine={engine}", "--enable_eas"]
        with ServerProcess(arguments) as server:
            yield server


@pytest.fixture(scope="session")
def grpc_address(request: pytest.FixtureRequest) -> str:
    """host:port of a server with every model, for gRPC."""
    return _address(request, "--grpc-address", "grpc_port")


@pytest.fixture(scope="session")
def rest_address(request: pytest.FixtureRequest) -> str:
    """host:port of a server with every model, for REST."""
    return _address(request, "--rest-address", "rest_port")


def _address(request: pytest.FixtureRequest, option: str, port: str) -> str:
    if address := request.config.getoption(option):
        return str(address)
    if given_addresses(request.config):
        pytest.skip(f"{option} is not given")
    return f"localhost:{getattr(request.getfixturevalue('server'), port)}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were skipped for want of TensorFlow Serving's sample models."""
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if TESTDATA_VARIABLE in str(r.longrepr)]
    if skipped:
        terminalreporter.write_line(
            f"{len(skipped)} tests were skipped because {TESTDATA_VARIABLE} does not name a directory with "
            "TensorFlow Serving's sample SavedModels"
        )
