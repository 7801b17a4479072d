"""The reader of `variables.index`, against tables written here byte by byte."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import pytest

from pyserve.backends.saved_model.index_table import IndexTableError, read_shard_needs
from pyserve.protos import tf

MAGIC = 0xDB4775248B80FB57


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def block(pairs: Iterable[tuple[bytes, bytes]], restart_every: int = 16) -> bytes:
    out, restarts, last = bytearray(), [], b""
    for number, (key, value) in enumerate(pairs):
        shared = 0
        if number % restart_every == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(last), len(key)) and last[shared] == key[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    for restart in restarts or [0]:
        out += restart.to_bytes(4, "little")
    return bytes(out + len(restarts or [0]).to_bytes(4, "little"))


def table(blocks: Iterable[list[tuple[bytes, bytes]]], compressed: int = 0) -> bytes:
    out = bytearray()

    def append(content: bytes, kind: int = 0) -> bytes:
        handle = varint(len(out)) + varint(len(content))
        out.extend(content + bytes([kind]) + b"crc!")
        return handle

    index = [(pairs[-1][0] + b"~", append(block(pairs, 3), compressed)) for pairs in blocks]
    meta_handle = append(block([]))
    index_handle = append(block(index, 1))
    out.extend((meta_handle + index_handle).ljust(40, b"\0") + MAGIC.to_bytes(8, "little"))
    return bytes(out)


def header(num_shards: int) -> tuple[bytes, bytes]:
    return b"", tf.BundleHeaderProto(num_shards=num_shards).SerializeToString()


def entry(key: str, shard: int, offset: int, size: int) -> tuple[bytes, bytes]:
    proto = tf.BundleEntryProto(dtype=1, shard_id=shard, offset=offset, size=size)
    return key.encode(), proto.SerializeToString()


WHOLE = table(
    [
        [header(2), entry("layer/a", 0, 0, 100), entry("layer/ab", 1, 0, 7), entry("layer/b", 0, 100, 300)],
        [
            entry("layer/c", 1, 7, 1_000_000),
            entry("layer/d", 0, 10, 5),
            *[entry(f"z{i:04}", 0, i, 0) for i in range(40)],
        ],
    ]
)


def test_the_furthest_byte_of_each_shard_is_found() -> None:
    """The least size of a shard is the largest offset + size of its entries, over all blocks."""
    needs = read_shard_needs(WHOLE)
    assert needs.num_shards == 2
    assert needs.min_bytes == {0: 400, 1: 1_000_007}


def test_every_cut_is_noticed() -> None:
    """A table that lacks bytes at its end is an error, wherever it was cut."""
    for length in range(len(WHOLE)):
        with pytest.raises(IndexTableError):
            read_shard_needs(WHOLE[:length])


def test_damage_is_an_error_or_another_answer_but_never_another_exception() -> None:
    """Whatever single byte is overwritten, only IndexTableError may come out."""
    for position in range(len(WHOLE)):
        damaged = bytearray(WHOLE)
        damaged[position] ^= 0xFF
        with contextlib.suppress(IndexTableError):
            read_shard_needs(bytes(damaged))


def test_compressed_blocks_are_not_guessed_at() -> None:
    """A compressed table says nothing about shards, and is no error."""
    needs = read_shard_needs(table([[header(1), entry("a", 0, 0, 9)]], compressed=1))
    assert needs.num_shards is None
    assert needs.min_bytes == {}


def test_a_header_alone_is_a_table_without_needs() -> None:
    """A checkpoint without variables needs its shard files, but no bytes in them."""
    needs = read_shard_needs(table([[header(1)]]))
    assert (needs.num_shards, needs.min_bytes) == (1, {})
