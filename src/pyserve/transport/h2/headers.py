"""What a request's header must be for HTTP/2 (RFC 9113 section 8), and what it says to gRPC.

A header that breaks HTTP/2's rules ends its stream (`StreamFailure`); one that HTTP allows and gRPC does not gets an
answer (`RequestHead.refusal`). What a field says is remembered by the field, for most of them come with each request.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass

from pyserve.errors import Code, Status
from pyserve.transport.h2.frames import ErrorCode, StreamFailure
from pyserve.transport.h2.grpc_messages import ENCODINGS, IDENTITY
from pyserve.transport.h2.hpack.static_table import Field

# RFC 9113 section 8.2.1; a name is a lower-case token, and may begin with a colon.
_NAME = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_NOT_IN_VALUES = b"\0\r\n"
_CONNECTION_FIELDS = {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}

_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])").fullmatch
_UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}

_CONTENT_TYPE_VALUE = re.compile(rb"application/grpc(?:[+;].*)?", re.DOTALL).fullmatch

_KNOWN_FIELDS = 256


# What a field is to the server, as plain integers: each field of each request is looked at. The pseudo-header fields
# come first.
_METHOD, _SCHEME, _PATH, _AUTHORITY, _CONTENT_TYPE, _TIMEOUT_FIELD, _ENCODING, _PLAIN, _METADATA = range(9)
_LAST_PSEUDO = _AUTHORITY

_KINDS = {
    b":method": _METHOD,
    b":scheme": _SCHEME,
    b":path": _PATH,
    b":authority": _AUTHORITY,
    b"content-type": _CONTENT_TYPE,
    b"grpc-timeout": _TIMEOUT_FIELD,
    b"grpc-encoding": _ENCODING,
    b"te": _PLAIN,
    b"user-agent": _PLAIN,
    b"grpc-accept-encoding": _PLAIN,
    b"content-length": _PLAIN,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that is not taken: a gRPC status, or a bare HTTP one where it is no gRPC request."""

    status: Status
    http_status: int = 200


@dataclass(slots=True)
class RequestHead:
    """What a request's header says. Not to be changed: requests with the same header share it.

    Attributes:
        path: The method's full name, `/package.Service/Method`.
        timeout_s: How long the caller waits, from when the header came; None: for ever.
        encoding: How the message may be compressed: `identity`, `gzip` or `deflate`.
        metadata: Every field that is neither HTTP's nor gRPC's own, as sent.
        refusal: Why the request cannot be taken; None when it can.
    """

    path: str
    timeout_s: float | None
    encoding: str
    metadata: Sequence[Field]
    refusal: Refusal | None = None


class HeaderReader:
    """Reads the headers of one connection's requests.

    Args:
        methods: The paths that are served.
    """

    __slots__ = ("_known", "_methods")

    def __init__(self, methods: Container[str]) -> None:
        self._methods = methods
        self._known: dict[Field, tuple[int, bytes]] = {}

    def read(self, fields: Sequence[Field], *, remember: bool = True) -> RequestHead:
        """A request's head.

        Args:
            fields: In the order of the block.
            remember: Whether the fields may be kept.

        Raises:
            StreamFailure: It breaks RFC 9113.
        """
        known = self._known
        found: list[bytes | None] = [None] * _METADATA
        metadata: list[Field] = []
        regular = False
        for field in fields:
            meaning = known.get(field)
            if meaning is None:
                meaning = _meaning(field)
                if remember:
                    if len(known) >= _KNOWN_FIELDS:
                        known.clear()
                    known[field] = meaning
            kind, value = meaning
            if kind == _METADATA:
                regular = True
                metadata.append(field)
                continue
            if kind > _LAST_PSEUDO:
                regular = True
            elif regular or found[kind] is not None:
                raise _malformed(f"{field[0].decode()} comes twice, or behind other fields")
            found[kind] = value
        return self._head(found, metadata)

    def check_trailers(self, fields: Sequence[Field]) -> None:
        """Trailers may hold anything but pseudo-header fields.

        Raises:
            StreamFailure: They break RFC 9113.
        """
        for field in fields:
            if _meaning(field)[0] <= _LAST_PSEUDO:
                raise _malformed("a pseudo-header field among the trailers")

    def _head(self, found: list[bytes | None], metadata: list[Field]) -> RequestHead:
        raw_path, timeout, encoding = found[_PATH], found[_TIMEOUT_FIELD], IDENTITY
        if not raw_path or not found[_SCHEME] or found[_METHOD] is None:
            raise _malformed("one of :method, :scheme and :path is missing")
        path = raw_path.decode("ascii", "replace")
        if (named := found[_ENCODING]) is not None:
            encoding = named.decode("ascii", "replace")
        timeout_s = None if timeout is None else parse_timeout(timeout)
        refusal = None
        if found[_METHOD] != b"POST":
            refusal = Refusal(Status(Code.UNIMPLEMENTED, "gRPC requests are POST requests"), 405)
        elif not _CONTENT_TYPE_VALUE(found[_CONTENT_TYPE] or b""):
            refusal = Refusal(Status(Code.UNKNOWN, "the content-type is not application/grpc"), 415)
        elif path not in self._methods:
            refusal = Refusal(Status(Code.UNIMPLEMENTED, f"Method not found: {path[:256]}"))
        elif encoding not in ENCODINGS:
            text = f"grpc-encoding is {encoding[:64]}; supported are {', '.join(ENCODINGS)}"
            refusal = Refusal(Status(Code.UNIMPLEMENTED, text))
        elif timeout is not None and timeout_s is None:
            text = f"grpc-timeout is {timeout[:32].decode('ascii', 'replace')}; expected up to eight digits and a unit"
            refusal = Refusal(Status(Code.INTERNAL, text))
        return RequestHead(path, timeout_s, encoding, metadata, refusal)


def parse_timeout(text: bytes) -> float | None:
    """The seconds of a `grpc-timeout`, up to eight digits and a unit; None when it is none."""
    found = _TIMEOUT(text)
    return None if found is None else int(found[1]) * _UNIT_S[found[2]]


def _meaning(field: Field) -> tuple[int, bytes]:
    name, value = field
    if len(value.translate(None, _NOT_IN_VALUES)) != len(value) or value.strip(b" \t") != value:
        raise _malformed("a field value with characters that may not be there")
    kind = _KINDS.get(name, _METADATA)
    if kind == _METADATA:
        _check_name(name)
    elif kind == _PLAIN and name == b"te" and value != b"trailers":
        raise _malformed("te may hold nothing but trailers")
    return kind, value


@functools.lru_cache(256)
def _check_name(name: bytes) -> None:
    if not _NAME(name) or name[:1] == b":":
        raise _malformed(
            "a field name with characters that may not be there, or an unknown pseudo-header field"
        )
    if name in _CONNECTION_FIELDS:
        raise _malformed(f"{name.decode()} has no place in HTTP/2")


def _malformed(message: str) -> StreamFailure:
    return StreamFailure(ErrorCode.PROTOCOL_ERROR, message)


OVERSIZED_HEAD = RequestHead(
    "",
    None,
    IDENTITY,
    (),
    Refusal(Status(Code.RESOURCE_EXHAUSTED, "The request's metadata is larger than allowed")),
)
"""For a header whose fields are larger than SETTINGS_MAX_HEADER_LIST_SIZE."""
