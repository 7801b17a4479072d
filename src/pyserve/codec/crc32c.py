"""CRC-32C (Castagnoli), the checksum of TFRecord files, over any bytes. Pure; Python and numpy have none of their own.

A short message goes byte by byte through a table. A long one is cut into lanes of equal length that numpy takes
forward side by side, two bytes a step; the lanes' results are then merged pairwise. That rests on the checksum being
linear: with a start value of zero, crc(a + b) = crc(a) · x^(8·len(b)) + crc(b), as polynomials over GF(2).
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np

from pyserve.dtypes import Array

_POLYNOMIAL = 0x82F63B78
"""Bit-reversed, as is every value here: the highest bit stands for x^0."""
_ONE = 1 << 31
_X8 = 1 << 23
_ALL = 0xFFFFFFFF
_MASK_DELTA = 0xA282EAD8
_SHORT = 8192
"""Bytes up to which the plain loop is quicker: it takes some 0.1 µs per byte, the lanes 1 ms to set up."""
_BLOCK = 1 << 20
"""Bytes that go through the lanes at once: bounded memory, and what a step touches stays in the cache."""


def crc32c(data: bytes) -> int:
    """The CRC-32C of some bytes; `crc32c(b"123456789")` is 0xE3069283."""
    if len(data) <= _SHORT:
        return _plain(data, _ALL) ^ _ALL
    state = _ALL
    for start in range(0, len(data), _BLOCK):
        block = memoryview(data)[start : start + _BLOCK]
        state = _plain(bytes(block), state) if len(block) <= _SHORT else _in_lanes(block, state)
    return state ^ _ALL


def masked(crc: int) -> int:
    """A checksum as TFRecord stores it: turned and shifted, so that data which holds checksums stays checkable."""
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & _ALL


def _byte_step(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value


_TABLE = tuple(_byte_step(value) for value in range(256))


def _plain(data: bytes, state: int) -> int:
    table = _TABLE
    for byte in data:
        state = table[(state ^ byte) & 0xFF] ^ state >> 8
    return state


@cache
def _word_table() -> Array:
    """What two bytes do to the state, by their value. Made when first needed: 256 KiB."""
    table = np.array(_TABLE, np.uint32)
    words = np.arange(1 << 16, dtype=np.uint32)
    for _ in range(2):
        words = table[words & 0xFF] ^ words >> 8
    return words


def _in_lanes(block: memoryview, state: int) -> int:
    """The state after a block of at least four bytes."""
    size = len(block)
    lanes = 1 << (size.bit_length() + 1) // 2
    length = 2 * -(-size // (2 * lanes))
    # From a zero state leading zeros change nothing, so they fill the first lane up; the state itself counts as
    # added to the first four bytes.
    padded = np.zeros(lanes * length, np.uint8)
    message = padded[-size:]
    message[:] = np.frombuffer(block, np.uint8)
    message[:4] ^= np.frombuffer(state.to_bytes(4, "little"), np.uint8)
    table = _word_table()
    states = np.zeros(lanes, np.uint32)
    for words in np.ascontiguousarray(padded.view("<u2").reshape(lanes, -1).T):
        states = table[(states ^ words) & 0xFFFF] ^ states >> 16
    while len(states) > 1:
        states = _times(states[0::2], _power(length)) ^ states[1::2]
        length *= 2
    return int(states[0])


def _times(values: Array, factor: int) -> Array:
    """Each value · factor, as polynomials."""
    product = np.zeros_like(values)
    for bit in range(31, -1, -1):
        product ^= np.where(values >> bit & 1, np.uint32(factor), np.uint32(0))
        factor = factor >> 1 ^ (_POLYNOMIAL if factor & 1 else 0)
    return product


@lru_cache(maxsize=256)
def _power(length: int) -> int:
    """x^(8·length): what `length` further bytes of zeros do to a state."""
    power, square = np.array([_ONE], np.uint32), _X8
    while length:
        if length & 1:
            power = _times(power, square)
        square = int(_times(np.array([square], np.uint32), square)[0])
        length >>= 1
    return int(power[0])
