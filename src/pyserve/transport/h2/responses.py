"""The header blocks of answers. Those of successful ones never change, and are made once."""

from __future__ import annotations

import functools

from pyserve.errors import Code, Status
from pyserve.transport.h2.frames import END_HEADERS, END_STREAM, HEADERS, header
from pyserve.transport.h2.grpc_messages import ENCODINGS
from pyserve.transport.h2.hpack.encoder import encode
from pyserve.transport.status import grpc_message

_HEADER_FIELDS = ((b":status", b"200"), (b"content-type", b"application/grpc"))
_ACCEPTED = (b"grpc-accept-encoding", ",".join(ENCODINGS).encode())

# Without percent-encoding: printable ASCII but for the percent sign.
_PLAIN = frozenset(range(0x20, 0x7F)) - {ord("%")}


def percent_encoded(text: str) -> bytes:
    """A status message as `grpc-message` carries it."""
    data = text.encode("utf-8", "replace")
    return b"".join(bytes((byte,)) if byte in _PLAIN else b"%%%02X" % byte for byte in data)


def _framed(block: bytes, flags: int) -> tuple[bytes, bytes]:
    """A HEADERS frame up to its stream id, and what comes behind it."""
    return header(len(block), HEADERS, flags, 0)[:5], block


RESPONSE_START, RESPONSE_BLOCK = _framed(encode(_HEADER_FIELDS), END_HEADERS)
"""The head of an answer; the stream id goes between the two."""

OK_START, OK_BLOCK = _framed(encode([(b"grpc-status", b"0")]), END_HEADERS | END_STREAM)
"""The trailers of a successful answer, likewise."""


def _status_fields(status: Status) -> list[tuple[bytes, bytes]]:
    fields = [(b"grpc-status", b"%d" % status.code)]
    if status.message:
        fields.append((b"grpc-message", percent_encoded(grpc_message(status.message))))
    return fields


def head(stream_id: int) -> bytes:
    """The HEADERS frame that opens an answer with messages."""
    return RESPONSE_START + stream_id.to_bytes(4, "big") + RESPONSE_BLOCK


def trailers(stream_id: int, status: Status) -> bytes:
    """The HEADERS frame that ends an answer whose head has been sent."""
    if status.ok:
        return OK_START + stream_id.to_bytes(4, "big") + OK_BLOCK
    start, block = _framed(encode(_status_fields(status)), END_HEADERS | END_STREAM)
    return start + stream_id.to_bytes(4, "big") + block


def trailers_only(stream_id: int, status: Status) -> bytes:
    """The HEADERS frame that is a whole answer without a message: an error."""
    start, block = _only(status)
    return start + stream_id.to_bytes(4, "big") + block


@functools.lru_cache(64)
def _only(status: Status) -> tuple[bytes, bytes]:
    fields = [*_HEADER_FIELDS, *_status_fields(status)]
    if status.code is Code.UNIMPLEMENTED:
        fields.append(_ACCEPTED)
    return _framed(encode(fields), END_HEADERS | END_STREAM)


@functools.lru_cache(16)
def _http_only(http_status: int) -> tuple[bytes, bytes]:
    return _framed(encode([(b":status", b"%d" % http_status)]), END_HEADERS | END_STREAM)


def http_only(stream_id: int, http_status: int) -> bytes:
    """The HEADERS frame of an HTTP answer to what is no gRPC request."""
    start, block = _http_only(http_status)
    return start + stream_id.to_bytes(4, "big") + block
