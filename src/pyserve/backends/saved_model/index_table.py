"""Reads `variables.index`: which bytes of which shard file a checkpoint needs.

Used by `completeness`; pure, bytes in and a value out, no TensorFlow. The file is a sorted string table in
LevelDB's format as TensorFlow's BundleWriter makes it:

    data block*  ·  metaindex block  ·  index block  ·  footer (48 bytes)
    block   = entries · restart offsets (uint32 each) · their count (uint32) · type byte · crc (4 bytes)
    entry   = varint shared · varint unshared · varint value length · key suffix · value
    footer  = metaindex handle · index handle · padding up to 40 bytes · magic (8 bytes)
    handle  = varint offset · varint size (without type byte and crc)

The entry with the empty key is a BundleHeaderProto, every other one a BundleEntryProto. Keys are not needed
here beyond "is it empty".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from pyserve.protos import tf

_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
_FOOTER_BYTES = 48
_UNCOMPRESSED = 0


class IndexTableError(ValueError):
    """The bytes are not a whole index table; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class ShardNeeds:
    """What a checkpoint needs of its shard files.

    Attributes:
        num_shards: Number of shard files, >= 1; None when compression hides it.
        min_bytes: Least size of each shard in bytes, by shard number; shards that hold nothing are left out.
    """

    num_shards: int | None
    min_bytes: dict[int, int]


def read_shard_needs(table: bytes) -> ShardNeeds:
    """What the shards must hold, from the content of `variables.index`.

    A compressed block is not looked into: what it would ask for is unknown, and its shards get no minimum.

    Raises:
        IndexTableError: The table is cut off or damaged.
    """
    if len(table) < _FOOTER_BYTES or table[-8:] != _MAGIC:
        raise IndexTableError("its end is missing")
    try:
        return _read(table)
    except (IndexError, DecodeError) as error:
        raise IndexTableError("it is damaged") from error


def _read(table: bytes) -> ShardNeeds:
    footer = table[-_FOOTER_BYTES:]
    _, at = _handle(footer, 0)
    index_handle, _ = _handle(footer, at)
    num_shards: int | None = None
    min_bytes: dict[int, int] = {}
    for _, block_handle in _entries(_block(table, index_handle)):
        for has_key, value in _entries(_block(table, _handle(block_handle, 0)[0])):
            if has_key:
                entry = tf.BundleEntryProto.FromString(value)
                end = entry.offset + entry.size
                min_bytes[entry.shard_id] = max(end, min_bytes.get(entry.shard_id, 0))
            else:
                num_shards = max(1, tf.BundleHeaderProto.FromString(value).num_shards)
    return ShardNeeds(num_shards, min_bytes)


def _block(table: bytes, handle: tuple[int, int]) -> bytes:
    """The entries of a block; none at all when it is compressed."""
    offset, size = handle
    if offset + size + 5 > len(table):
        raise IndexError("block beyond the end")
    if table[offset + size] != _UNCOMPRESSED:
        return b""
    restarts = int.from_bytes(table[offset + size - 4 : offset + size], "little")
    end = size - 4 * (restarts + 1)
    if end < 0:
        raise IndexError("more restarts than bytes")
    return table[offset : offset + end]


def _entries(block: bytes) -> Iterator[tuple[bool, bytes]]:
    """(whether the key is not empty, value) of each entry."""
    at = 0
    while at < len(block):
        shared, at = _varint(block, at)
        unshared, at = _varint(block, at)
        length, at = _varint(block, at)
        at += unshared
        if at + length > len(block):
            raise IndexError("entry beyond the block")
        yield shared + unshared > 0, block[at : at + length]
        at += length


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError("varint too long")
