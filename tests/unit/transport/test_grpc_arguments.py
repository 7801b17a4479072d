"""Channel arguments as the native engine takes them."""

from __future__ import annotations

import pytest

from pyserve.transport.grpc_arguments import GrpcArguments, read_arguments
from pyserve.transport.h2.limits import Limits

INT_MAX = 2**31 - 1


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("grpc.max_receive_message_length", 2000, "max_message", 2000),
        ("grpc.max_receive_message_length", -1, "max_message", INT_MAX),
        ("grpc.max_send_message_length", 7, "max_answer", 7),
        ("grpc.max_concurrent_streams", 5, "max_streams", 5),
        ("grpc.max_metadata_size", 100, "max_header_list", 100),
        ("grpc.absolute_max_metadata_size", 1000, "max_header_block", 1000),
        ("grpc.http2.max_frame_size", 1, "max_frame", 16_384),
        ("grpc.http2.max_frame_size", 2**30, "max_frame", 2**24 - 1),
        ("grpc.server_handshake_timeout_ms", 1500, "handshake_s", 1.5),
        ("grpc.keepalive_time_ms", 2000, "keepalive_s", 2.0),
        ("grpc.keepalive_time_ms", INT_MAX, "keepalive_s", None),
        ("grpc.keepalive_timeout_ms", 2000, "keepalive_answer_s", 2.0),
        ("grpc.max_connection_idle_ms", 3000, "idle_s", 3.0),
        ("grpc.max_connection_age_ms", 4000, "age_s", 4.0),
        ("grpc.max_connection_age_grace_ms", 5000, "age_grace_s", 5.0),
    ],
)
def test_limits(name: str, value: int, field: str, expected: float | None) -> None:
    """Each has its field, in the field's unit; the others keep their defaults."""
    read = read_arguments({name: value})
    assert getattr(read.limits, field) == expected
    others = [other for other in Limits.__slots__ if other != field]
    assert [getattr(read.limits, other) for other in others] == [getattr(Limits(), other) for other in others]


def test_of_the_server() -> None:
    """Two concern no single connection."""
    read = read_arguments({"grpc.max_allowed_incoming_connections": 3, "grpc.so_reuseport": 1})
    assert (read.max_connections, read.reuse_port) == (3, True)
    assert read_arguments({}) == GrpcArguments()


@pytest.mark.parametrize(("name", "value"), [("grpc.nonsense", 1), ("grpc.max_concurrent_streams", "many")])
def test_what_means_nothing_is_named(name: str, value: int | str, caplog: pytest.LogCaptureFixture) -> None:
    """It changes nothing, and a warning says so."""
    assert read_arguments({name: value}) == GrpcArguments()
    assert f"{name}={value} is ignored" in caplog.text
