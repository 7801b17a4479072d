"""gRPC channel arguments, as the native engine understands them: names of the C library → limits of a connection."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pyserve.transport.h2.frames import DEFAULT_MAX_FRAME_SIZE, LARGEST_MAX_FRAME_SIZE
from pyserve.transport.h2.limits import Limits

logger = logging.getLogger(__name__)

# What the C library takes for "no limit".
_INT_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class GrpcArguments:
    """What the arguments come to.

    Attributes:
        limits: Of each connection.
        max_connections: None: no limit.
        reuse_port: Let other processes listen on the same TCP port.
    """

    limits: Limits = field(default_factory=Limits)
    max_connections: int | None = None
    reuse_port: bool = False


def _bytes(value: int) -> int:
    """A message's limit; any negative number means none."""
    return value if value >= 0 else _INT_MAX


def _seconds(value: int) -> float | None:
    return None if value >= _INT_MAX else max(0, value) / 1000


# Name → field of Limits, and its value from the argument's.
_LIMITS: Mapping[str, tuple[str, Callable[[int], Any]]] = {
    "grpc.max_receive_message_length": ("max_message", _bytes),
    "grpc.max_send_message_length": ("max_answer", _bytes),
    "grpc.max_concurrent_streams": ("max_streams", lambda value: max(1, value)),
    "grpc.max_metadata_size": ("max_header_list", lambda value: max(1, value)),
    "grpc.absolute_max_metadata_size": ("max_header_block", lambda value: max(1, value)),
    "grpc.http2.max_frame_size": (
        "max_frame",
        lambda value: min(max(value, DEFAULT_MAX_FRAME_SIZE), LARGEST_MAX_FRAME_SIZE),
    ),
    "grpc.server_handshake_timeout_ms": ("handshake_s", lambda value: max(0, value) / 1000),
    "grpc.keepalive_time_ms": ("keepalive_s", _seconds),
    "grpc.keepalive_timeout_ms": ("keepalive_answer_s", lambda value: max(0, value) / 1000),
    "grpc.max_connection_idle_ms": ("idle_s", _seconds),
    "grpc.max_connection_age_ms": ("age_s", _seconds),
    "grpc.max_connection_age_grace_ms": ("age_grace_s", _seconds),
}
MAX_CONNECTIONS = "grpc.max_allowed_incoming_connections"
"""How many connections a server takes."""
_REUSE_PORT = "grpc.so_reuseport"


def read_arguments(arguments: Mapping[str, int | str]) -> GrpcArguments:
    """What channel arguments mean here; one that means nothing, or is no number, is named in a warning."""
    limits: dict[str, Any] = {}
    read = GrpcArguments()
    for name, value in arguments.items():
        if not isinstance(value, int):
            logger.warning("The channel argument %s=%s is ignored: it has no meaning here", name, value)
        elif name in _LIMITS:
            limit, convert = _LIMITS[name]
            limits[limit] = convert(value)
        elif name == MAX_CONNECTIONS:
            read = replace(read, max_connections=value)
        elif name == _REUSE_PORT:
            read = replace(read, reuse_port=bool(value))
        else:
            logger.warning("The channel argument %s=%s is ignored: it has no meaning here", name, value)
    return replace(read, limits=replace(read.limits, **limits))
