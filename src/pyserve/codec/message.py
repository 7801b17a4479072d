"""Protobuf messages from the bytes of requests, with one error for what is none."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from pyserve.errors import InvalidArgumentError

M = TypeVar("M", bound=Message)


def parse_message(kind: type[M], data: bytes) -> M:
    """The message that a request's bytes are.

    Raises:
        InvalidArgumentError: They are none of this kind. (The gRPC library of TensorFlow Serving says INTERNAL.)
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        raise InvalidArgumentError(f"Could not parse {kind.DESCRIPTOR.name} from {len(data)} bytes") from None
