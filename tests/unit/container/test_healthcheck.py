"""The container's health check: where it asks, and what counts as healthy. The asking itself needs a container."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "docker" / "healthcheck.py"


def _load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("pyserve_container_healthcheck", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


healthcheck: Any = _load()

PYTHON = "/opt/pyserve/bin/python3"
SERVER = "/usr/bin/tensorflow_model_server"
ENTRY_POINT = ["--port=8500", "--rest_api_port=8501", "--model_name=m", "--model_base_path=/models/m"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (ENTRY_POINT, (8501, True)),
        ([*ENTRY_POINT, "--rest_api_port=9001"], (9001, True)),
        ([*ENTRY_POINT, "--rest_api_port", "9001"], (9001, True)),
        ([*ENTRY_POINT, "--admin_port=9100"], (9100, True)),
        ([*ENTRY_POINT, "--admin_port=9100", "--admin_port=0"], (8501, True)),
        ([*ENTRY_POINT, "--rest_api_port=0"], (8500, False)),
        ([*ENTRY_POINT, "--rest_api_port=0", "--port=9000"], (9000, False)),
        (["--model_base_path=/models/m"], (8500, False)),
        (["--port=0", "--grpc_socket_path=/run/s"], None),
        ([*ENTRY_POINT, "--rest_api_timeout_in_ms=5", "--port_of_nobody=1"], (8501, True)),
    ],
)
def test_port_is_the_one_that_the_server_was_told(
    arguments: list[str], expected: tuple[int, bool] | None
) -> None:
    """Arguments change the port that is asked; without any HTTP port the gRPC port must accept connections."""
    assert healthcheck.target({}, iter([[PYTHON, SERVER, *arguments]])) == expected


@pytest.mark.parametrize(
    "command",
    [
        [PYTHON, SERVER],
        [PYTHON, "/opt/pyserve/bin/pyserve"],
        [PYTHON, "-m", "pyserve"],
        ["pyserve"],
    ],
)
def test_server_is_found_under_each_of_its_names(command: list[str]) -> None:
    """However the server was started, and whoever is the container's first process, it is found."""
    others: list[Sequence[str]] = [
        ["/sbin/docker-init", "--", "/usr/bin/tf_serving_entrypoint.sh", "--rest_api_port=1"],
        [],
        ["sh", "-c", "tensorflow_model_server --rest_api_port=1"],
        ["tail", "-f", "/var/log/pyserve", "/tmp/pyserve"],
        [PYTHON, "-IS", "/opt/pyserve/healthcheck.py"],
    ]
    assert healthcheck.target({}, iter([*others, [*command, "--rest_api_port=9001"]])) == (9001, True)


def test_without_a_server_it_is_unhealthy() -> None:
    """A container in which no server runs is reported as such."""
    with pytest.raises(LookupError, match="no server"):
        healthcheck.target({}, iter([["sleep", "1"]]))


@pytest.mark.parametrize(("value", "expected"), [("9001", (9001, True)), ("0", None), ("", (8501, True))])
def test_environment_overrides_what_is_found(value: str, expected: tuple[int, bool] | None) -> None:
    """PYSERVE_HEALTH_PORT names the port; 0 turns the check off, and an empty value counts as not set."""
    commands = iter([[PYTHON, SERVER, *ENTRY_POINT]])
    assert healthcheck.target({"PYSERVE_HEALTH_PORT": value}, commands) == expected


@pytest.mark.parametrize(
    ("environment", "arguments"),
    [({"PYSERVE_HEALTH_PORT": "http"}, []), ({}, ["--rest_api_port=http"])],
)
def test_port_that_is_no_number_is_an_error(environment: dict[str, str], arguments: list[str]) -> None:
    """A port that is no number is reported, not taken for another one."""
    with pytest.raises(ValueError, match="http"):
        healthcheck.target(environment, iter([[PYTHON, SERVER, *arguments]]))


@pytest.mark.parametrize(
    ("response", "healthy"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.0 200 \r\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n", False),
        (b"HTTP/1.1 404 200\r\n", False),
        (b"HTTP/1.1", False),
        (b"PRI * HTTP/2.0", False),
        (b"", False),
    ],
)
def test_only_200_is_healthy(response: bytes, healthy: bool) -> None:
    """Any other answer, and none, is unhealthy."""
    assert healthcheck.is_healthy(response) is healthy


def test_it_imports_nothing_slow() -> None:
    """The check runs every few seconds beside the server, so it imports the operating system's modules only."""
    allowed = {"__future__", "os", "socket", "sys", "collections.abc"}
    lines = SCRIPT.read_text().splitlines()
    imported = {line.split()[1] for line in lines if line.startswith(("import ", "from "))}
    assert imported <= allowed
    assert imported <= set(sys.stdlib_module_names) | {"collections.abc"}
