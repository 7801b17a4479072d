"""Bytes that must be a message, because a server of our kind made them."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from pyserve.errors import InternalError

M = TypeVar("M", bound=Message)


def parsed(message: M, data: bytes) -> M:
    """Fill a message from its serialized form, and return it.

    Raises:
        InternalError: The bytes are no such message.
    """
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise InternalError(f"Could not parse {message.DESCRIPTOR.name} from {len(data)} bytes") from None
    return message
