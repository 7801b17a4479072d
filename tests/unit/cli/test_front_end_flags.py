"""The flags of the front ends: channel arguments, metrics page, health service, limits."""

from __future__ import annotations

import pytest

from pyserve.cli.configure import channel_arguments, server_config
from pyserve.cli.flags import Value
from pyserve.config import Limits, ServerConfig
from pyserve.errors import Code, InvalidArgumentError, NotFoundError, ServingError

FILES = {"/on": "prometheus_config { enable: true }", "/broken": "prometheus_config {"}


def read(path: str) -> str:
    if path not in FILES:
        raise NotFoundError(f"{path}; No such file or directory")
    return FILES[path]


def configured(**flags: Value) -> ServerConfig:
    return server_config({"model_base_path": "/m", **flags}, read)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", {}),
        ("grpc.max_concurrent_streams=2", {"grpc.max_concurrent_streams": 2}),
        ("a=1,b=x,c=-5,d=", {"a": 1, "b": "x", "c": -5, "d": ""}),
        ("a=2147483647,b=2147483648", {"a": 2147483647, "b": "2147483648"}),
        ("a=1=2,b=1.5", {"a": 1, "b": "1.5"}),
        ("a=1,a=2", {"a": 2}),
        ("=1", {"": 1}),
    ],
)
def test_channel_arguments(text: str, arguments: dict[str, int | str]) -> None:
    """int32 where it reads as one, otherwise text; two pieces count; the last of two wins."""
    found = channel_arguments(text)
    assert found == arguments
    assert [type(value) for value in found.values()] == [type(value) for value in arguments.values()]


@pytest.mark.parametrize("text", ["x", "a=1,", ",", "a=1,,b=2", "a=1,b"])
def test_channel_arguments_without_a_value(text: str) -> None:
    """An item without an equal sign ends the start; TensorFlow Serving crashes."""
    with pytest.raises(InvalidArgumentError, match="is not of the form name=value"):
        channel_arguments(text)


def test_defaults() -> None:
    """No page, no health service, no arguments, TensorFlow Serving's own limits."""
    config = configured()
    assert config.metrics_path is None
    assert config.enable_grpc_healthcheck_service is False
    assert config.grpc_channel_arguments == {}
    assert config.limits == Limits()
    assert config.limits.rest_api_max_inflated_bytes == 104857600
    assert config.limits.rest_api_idle_timeout_s == 50


def test_values() -> None:
    """Each flag reaches its field."""
    config = configured(
        rest_api_port=1,
        monitoring_config_file="/on",
        enable_grpc_healthcheck_service=True,
        grpc_channel_arguments="a=1",
        rest_api_max_body_bytes=1,
        rest_api_max_inflated_bytes=2,
        rest_api_max_json_bytes=3,
        rest_api_idle_timeout_s=4.5,
        max_tensor_expansion_bytes=5,
        max_inflight_bytes=6,
        max_connections=7,
    )
    assert config.metrics_path == "/monitoring/prometheus/metrics"
    assert config.enable_grpc_healthcheck_service
    assert config.grpc_channel_arguments == {"a": 1}
    assert config.limits == Limits(1, 2, 3, 4.5, 5, 6, 7)


@pytest.mark.parametrize("port", ["rest_api_port", "admin_port"])
def test_the_page_needs_a_port(port: str, caplog: pytest.LogCaptureFixture) -> None:
    """The REST port and the admin port have it; without either the file is not read, and the log says so."""
    assert configured(monitoring_config_file="/on", **{port: 1}).metrics_path is not None
    assert configured(monitoring_config_file="/none").metrics_path is None
    assert "metrics are served on --rest_api_port" in caplog.text


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ({"rest_api_port": 1, "monitoring_config_file": "/none"}, Code.NOT_FOUND, "/none; No such file"),
        ({"rest_api_port": 1, "monitoring_config_file": "/broken"}, Code.INVALID_ARGUMENT, "Invalid protobuf file"),
        ({"rest_api_max_body_bytes": 0}, Code.INVALID_ARGUMENT, "--rest_api_max_body_bytes must be at least 1"),
        ({"max_connections": -1}, Code.INVALID_ARGUMENT, "--max_connections must be at least 0; was -1"),
        ({"rest_api_idle_timeout_s": float("nan")}, Code.INVALID_ARGUMENT, "--rest_api_idle_timeout_s must be"),
    ],
)  # fmt: skip
def test_refusals(flags: dict[str, Value], code: Code, message: str) -> None:
    """Mistakes end the start."""
    with pytest.raises(ServingError) as caught:
        configured(**flags)
    assert caught.value.code is code
    assert message in caught.value.message
