"""What both gRPC clients say to grpcio: where to connect, with which options; and what its errors mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import grpc

from pyserve.errors import ServingError, error_for

Option = tuple[str, str | int]
_HOST_AND_PORT = re.compile(r"[^:/]*:(\d+)")
_FORMS = "expected host:port or unix:PATH"

Metadata = tuple[tuple[str, str], ...]

_OPTIONS: tuple[Option, ...] = (
    # Tensors of any size; protobuf's own limit of 2 GiB remains.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that comes back is found soon; grpcio would wait for up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # While calls are under way, notice a peer that is gone. Servers close a connection that asks more often than
    # every five minutes without sending anything.
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


def target_of(address: str) -> str:
    """The gRPC target of an address: `host:port`, `unix:/path`, or any target that gRPC itself knows.

    Raises:
        ValueError: It is no text, a URL of HTTP, or without a port; gRPC itself would make another port of these.
    """
    if not isinstance(address, str):
        raise ValueError(f"{address!r} is no address: {_FORMS}")
    if address.startswith(("http://", "https://")):
        raise ValueError(
            f"{address} is an HTTP address, which takes a RestClient; gRPC wants host:port or unix:PATH"
        )
    port = _HOST_AND_PORT.fullmatch(address)
    if ":" not in address or (port is not None and not 0 < int(port[1]) < 2**16):
        raise ValueError(f"{address!r} names no port: {_FORMS}")
    return address


def options_of(further: Sequence[Option]) -> list[Option]:
    """The channel's options; of several with one name gRPC takes the last."""
    return [*_OPTIONS, *further]


def metadata_of(headers: Mapping[str, str]) -> Metadata:
    """Headers as gRPC metadata, whose names are lower-case."""
    return tuple((name.lower(), value) for name, value in headers.items())


def error_of(error: grpc.RpcError) -> ServingError:
    """The server's error, or grpcio's own about the way to it."""
    return error_for(error.code().value[0], error.details() or "")
