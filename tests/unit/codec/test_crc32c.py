"""CRC-32C against published values, and the quick way for long messages against the plain one."""

from __future__ import annotations

import random

import pytest

from pyserve.codec.crc32c import crc32c, masked


def one_byte(state: int) -> int:
    """The definition, bit by bit."""
    for _ in range(8):
        state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state


def by_definition(data: bytes) -> int:
    state = 0xFFFFFFFF
    for byte in data:
        state = one_byte(state ^ byte)
    return state ^ 0xFFFFFFFF


def by_table(data: bytes) -> int:
    """For messages that are too long to go bit by bit."""
    table = [one_byte(byte) for byte in range(256)]
    state = 0xFFFFFFFF
    for byte in data:
        state = table[(state ^ byte) & 0xFF] ^ state >> 8
    return state ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0x00000000),
        (b"123456789", 0xE3069283),
        # RFC 3720, B.4
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_values(data: bytes, expected: int) -> None:
    """The check values of the algorithm's catalogue and of RFC 3720."""
    assert crc32c(data) == expected


@pytest.mark.parametrize("size", [8191, 8192, 8193, 8194, 8195, 8196, 65535, 100_001])
def test_long_messages(size: int) -> None:
    """Around the change from the plain way to lanes, and beyond, every bit counts as defined."""
    data = random.Random(size).randbytes(size)
    assert crc32c(data) == by_definition(data)


@pytest.mark.parametrize("extra", [0, 1, 3, 4, 8192, 8193])
def test_several_blocks(extra: int) -> None:
    """A message of more than one block, whatever is left for the last one."""
    data = random.Random(extra).randbytes(2**20 + extra)
    assert crc32c(data) == by_table(data)


def test_masked() -> None:
    """The form in TFRecord files: turned right by 15 bits, plus a constant, modulo 2^32."""
    assert masked(0) == 0xA282EAD8
    assert masked(0xFFFFFFFF) == 0xA282EAD7
    assert masked(0xE3069283) == ((0xE3069283 >> 15 | 0xE3069283 << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32
