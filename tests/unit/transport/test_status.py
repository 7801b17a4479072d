"""The error table and the bounds of error texts."""

from __future__ import annotations

from pyserve.errors import Code
from pyserve.transport.status import HTTP_STATUS, grpc_message, rest_message


def test_every_code_has_an_http_status() -> None:
    """No canonical code is left out."""
    assert set(HTTP_STATUS) == set(Code)


def test_grpc_messages_are_cut_at_1024_bytes() -> None:
    """A text of 1,024 bytes passes; a longer one is cut there, never inside a character, and marked."""
    assert grpc_message("x" * 1024) == "x" * 1024
    assert grpc_message("x" * 1025) == "x" * 1024 + "...TRUNCATED"
    assert grpc_message("x" + "é" * 1024) == "x" + "é" * 511 + "...TRUNCATED"


def test_rest_messages_are_bounded_unicode() -> None:
    """A request cannot choose how long the error body is, nor put half a character into it."""
    assert rest_message("short") == "short"
    assert len(rest_message("x" * 10**6)) < 10_000
    assert rest_message("a\udcffb") == "a?b"
