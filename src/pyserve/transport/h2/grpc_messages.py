"""Messages as gRPC carries them in DATA: a flag, a length, the bytes; and their compression."""

from __future__ import annotations

import zlib

from pyserve.errors import InternalError, ResourceExhaustedError

PREFIX_BYTES = 5
"""One byte that says whether the message is compressed, and its length in four."""

GZIP, DEFLATE, IDENTITY = "gzip", "deflate", "identity"
ENCODINGS = (IDENTITY, DEFLATE, GZIP)

# zlib's window bits: with a gzip header, and with zlib's own, which is what HTTP calls deflate.
_WINDOW_BITS = {GZIP: 16 + zlib.MAX_WBITS, DEFLATE: zlib.MAX_WBITS}


def too_large(size: int, limit: int) -> ResourceExhaustedError:
    """The refusal of a message, in the words of gRPC's own libraries."""
    return ResourceExhaustedError(f"Received message larger than max ({size} vs. {limit})")


def too_large_answer(size: int, limit: int) -> ResourceExhaustedError:
    """The error in place of an answer, likewise."""
    return ResourceExhaustedError(f"Sent message larger than max ({size} vs. {limit})")


def inflate(data: bytes, encoding: str, limit: int) -> bytes:
    """A message as it was before its compression.

    Args:
        data: The compressed bytes, all of them.
        encoding: `gzip` or `deflate`.
        limit: How large it may become, in bytes.

    Raises:
        ResourceExhaustedError: It is larger; no more than the limit was inflated.
        InternalError: The bytes are not of that encoding.
    """
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        message = inflater.decompress(data, limit + 1)
    except zlib.error as error:
        raise InternalError(f"The message's {encoding} bytes cannot be inflated: {error}") from None
    if len(message) > limit:
        raise ResourceExhaustedError(f"The message is larger than {limit} bytes after inflating")
    if not inflater.eof or inflater.unused_data:
        raise InternalError(f"The message's {encoding} bytes end too early, or go on behind their end")
    return message
