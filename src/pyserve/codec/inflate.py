"""Content codings of request bodies, undone up to a limit: nothing is inflated beyond it."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pyserve.errors import InvalidArgumentError

GZIP = 16 + zlib.MAX_WBITS
ZLIB = zlib.MAX_WBITS
_RAW_DEFLATE = -zlib.MAX_WBITS
# zstd's package has no limit of its own. Four bytes can become 128 KiB, so this much can become 32 MiB.
_ZSTD_SLICE_BYTES = 1024


class InflateError(InvalidArgumentError):
    """A body that cannot be inflated; the message is a clause about it: "it is …"."""


class InflatedTooLargeError(InflateError):
    """It would become larger than the limit."""

    @classmethod
    def of(cls, limit: int) -> InflatedTooLargeError:
        return cls(f"it inflates to more than {limit} bytes")


class UnsupportedCodingError(InvalidArgumentError):
    """A content coding that is not known, or whose package is not installed."""


def inflate(body: bytes, limit: int, wbits: int = GZIP) -> bytes:
    """The bytes of a gzip or zlib body.

    Args:
        limit: In bytes.
        wbits: `GZIP` or `ZLIB`.

    Raises:
        InflateError: It is not of the format, is cut off, or inflates to more than the limit.
    """
    inflater = zlib.decompressobj(wbits)
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise InflateError(f"it is not valid {'gzip' if wbits == GZIP else 'zlib'}: {error}") from error
    if len(inflated) > limit:
        raise InflatedTooLargeError.of(limit)
    if not inflater.eof:
        raise InflateError("it is cut off")
    return inflated


def is_gzip(body: bytes) -> bool:
    """Whether a body begins as gzip does."""
    return body[:2] == b"\x1f\x8b"


def is_zlib(body: bytes) -> bool:
    """Whether a body begins as zlib with its usual window does; by chance some that begin with an `x` do too."""
    return body[:1] == b"\x78" and int.from_bytes(body[:2], "big") % 31 == 0


def decoded(body: bytes, coding: str, limit: int) -> bytes:
    """A body without the coding that its Content-Encoding names.

    Args:
        coding: `gzip`, `deflate`, `zlib`, `zstd`, `lz4` (frames), `snappy` (raw) or `identity`, in any case. Empty: a
            body that begins as gzip or zlib does is inflated, any other is taken as it is.
        limit: In bytes.

    Raises:
        UnsupportedCodingError: Another coding, or one whose package is missing.
        InflateError: The body is not of the format, is cut off, or inflates to more than the limit.
    """
    name = coding.strip().lower()
    if not name:
        name = "gzip" if is_gzip(body) else "zlib" if is_zlib(body) else "identity"
    decode = _CODINGS.get(name)
    if decode is None:
        raise UnsupportedCodingError(
            f"Content-Encoding {coding[:100]!r} is not supported; expected one of {', '.join(_CODINGS)}"
        )
    return decode(body, limit)


def _gzip(body: bytes, limit: int) -> bytes:
    return inflate(body, limit)


def _deflate(body: bytes, limit: int) -> bytes:
    """zlib as the standard has it, or bare deflate as some clients do."""
    return inflate(body, limit, ZLIB if is_zlib(body) else _RAW_DEFLATE)


def _zlib(body: bytes, limit: int) -> bytes:
    return inflate(body, limit, ZLIB)


def _zstd(body: bytes, limit: int) -> bytes:
    package = _package("zstd", "zstandard", "zstandard")
    inflater = package.ZstdDecompressor().decompressobj()
    parts: list[bytes] = []
    size = 0
    try:
        for start in range(0, len(body), _ZSTD_SLICE_BYTES):
            if inflater.eof:
                break
            parts.append(inflater.decompress(body[start : start + _ZSTD_SLICE_BYTES]))
            size += len(parts[-1])
            if size > limit:
                raise InflatedTooLargeError.of(limit)
    except package.ZstdError as error:
        raise InflateError(f"it is not valid zstd: {error}") from error
    if not inflater.eof:
        raise InflateError("it is cut off")
    return b"".join(parts)


def _lz4(body: bytes, limit: int) -> bytes:
    package = _package("lz4", "lz4.frame", "lz4")
    inflater = package.LZ4FrameDecompressor()
    try:
        found: bytes = inflater.decompress(body, max_length=limit + 1)
    except RuntimeError as error:
        raise InflateError(f"it is not a valid LZ4 frame: {error}") from error
    if len(found) > limit:
        raise InflatedTooLargeError.of(limit)
    if not inflater.eof:
        raise InflateError("it is cut off")
    return found


def _snappy(body: bytes, limit: int) -> bytes:
    package = _package("snappy", "cramjam", "cramjam").snappy
    try:
        if _snappy_length(body) > limit:  # before memory is taken
            raise InflatedTooLargeError.of(limit)
        return bytes(package.decompress_raw(body))
    except InflateError:
        raise
    except Exception as error:  # the package has one class of its own for everything
        raise InflateError(f"it is not valid raw snappy: {error}") from error


def _snappy_length(body: bytes) -> int:
    """How long a raw snappy body becomes: a varint at its beginning says so."""
    length = 0
    for place, byte in enumerate(body[:5]):
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return length
    raise InflateError("it is not valid raw snappy: it has no length")


def _package(coding: str, module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UnsupportedCodingError(
            f"Content-Encoding {coding} needs the package {package}, which the server does not have "
            "(pip install 'pyserve[compression]')"
        ) from None


_CODINGS: Mapping[str, Callable[[bytes, int], bytes]] = MappingProxyType(
    {
        "gzip": _gzip,
        "x-gzip": _gzip,
        "deflate": _deflate,
        "zlib": _zlib,
        "zstd": _zstd,
        "lz4": _lz4,
        "snappy": _snappy,
        "identity": lambda body, limit: body,
    }
)
