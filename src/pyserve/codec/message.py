"""Protobuf messages from bytes, with one error for bytes that are none: who sent them says whose mistake it is."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from pyserve.errors import InternalError, InvalidArgumentError

M = TypeVar("M", bound=Message)


def parse_message(kind: type[M], data: bytes) -> M:
    """The message that a request's bytes are.

    Raises:
        InvalidArgumentError: They are none of this kind. (The gRPC library of TensorFlow Serving says INTERNAL.)
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        raise InvalidArgumentError(_not_parsed(kind, data)) from None


def parse_answer(kind: type[M], data: bytes) -> M:
    """The message that a server's bytes are, another's or our own.

    Raises:
        InternalError: They are none of this kind.
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        raise InternalError(_not_parsed(kind, data)) from None


def _not_parsed(kind: type[Message], data: bytes) -> str:
    return f"Could not parse {kind.DESCRIPTOR.name} from {len(data)} bytes"
