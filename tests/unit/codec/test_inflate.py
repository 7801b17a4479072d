"""Content codings of bodies: recognised, named, bounded."""

from __future__ import annotations

import gzip
import importlib
import zlib
from typing import Any

import cramjam
import lz4.frame
import pytest
import zstandard

from pyserve.codec.inflate import InflatedTooLargeError, InflateError, UnsupportedCodingError, decoded

TEXT = b"\x0a\x03sig" * 100


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


CODINGS = [
    ("", gzip.compress(TEXT, mtime=0)),
    ("", zlib.compress(TEXT)),
    ("", zlib.compress(TEXT, 9)),
    ("", zlib.compress(TEXT, 0)),
    ("gzip", gzip.compress(TEXT, mtime=0)),
    ("GZIP", gzip.compress(TEXT, mtime=0)),
    ("deflate", zlib.compress(TEXT)),
    ("deflate", raw_deflate(TEXT)),
    ("zlib", zlib.compress(TEXT)),
    ("zstd", zstandard.ZstdCompressor().compress(TEXT)),
    ("lz4", lz4.frame.compress(TEXT)),
    ("snappy", bytes(cramjam.snappy.compress_raw(TEXT))),
]


@pytest.mark.parametrize(("coding", "body"), CODINGS)
def test_codings(coding: str, body: bytes) -> None:
    """Each is undone, up to the limit and not a byte beyond."""
    assert decoded(body, coding, len(TEXT)) == TEXT
    with pytest.raises(InflatedTooLargeError, match="inflates to more than 499 bytes"):
        decoded(body, coding, len(TEXT) - 1)


@pytest.mark.parametrize("body", [TEXT, b"", b"x", b"xy", b"\x1f", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"])
def test_plain_bodies(body: bytes) -> None:
    """What begins as neither gzip nor zlib is taken as it is, other magic numbers included."""
    assert decoded(body, "", 10) == body
    assert decoded(body, "identity", 10) == body


@pytest.mark.parametrize(("coding", "body"), [row for row in CODINGS if row[0] != "snappy"])
def test_damaged_bodies(coding: str, body: bytes) -> None:
    """A body that is cut off is refused, and so is one that begins with something else."""
    with pytest.raises(InflateError):
        decoded(body[:-1], coding, 10**6)
    if coding:
        with pytest.raises(InflateError):
            decoded(b"\x0a" + body, coding, 10**6)


@pytest.mark.parametrize("body", [b"", b"\xff\xff\xff\xff\xff\xff", b"\x05abc"])
def test_damaged_snappy(body: bytes) -> None:
    """Without a length, or with one that the rest does not have."""
    with pytest.raises(InflateError):
        decoded(body, "snappy", 10**6)


def test_other_codings() -> None:
    """They are named, with those that are known."""
    with pytest.raises(
        UnsupportedCodingError, match=r"'br' is not supported; expected one of gzip, .*snappy"
    ):
        decoded(b"", "br", 10)


@pytest.mark.parametrize(
    ("coding", "package"), [("zstd", "zstandard"), ("lz4", "lz4"), ("snappy", "cramjam")]
)
def test_a_missing_package(coding: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A coding whose package is not installed is refused with the package's name."""

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UnsupportedCodingError, match=f"{coding} needs the package {package}"):
        decoded(b"", coding, 10)
