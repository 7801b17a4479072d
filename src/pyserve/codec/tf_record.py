"""TFRecord files: records of bytes with checksums, read one by one and made. No TensorFlow.

    record = length (uint64) · masked crc32c of those 8 bytes (uint32) · data · masked crc32c of the data (uint32)

all little-endian. Texts of errors, and what counts as the end, are those of TensorFlow's reader
(lib/io/record_reader.cc), whose words TensorFlow Serving passes on.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from pyserve.codec.crc32c import crc32c, masked
from pyserve.errors import DataLossError

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
HEADER_BYTES = _LENGTH.size + _CRC.size
_PIECE = 1 << 24
"""Data is read in pieces: a length is believed only as far as there are bytes."""


def read_records(stream: BinaryIO) -> Iterator[bytes]:
    """The records of a file from where it stands to its end, each read when it is asked for.

    As in TensorFlow, a header that is cut off is the end of the file.

    Raises:
        DataLossError: A record is damaged or cut off; the records before it have been given.
    """
    offset = 0
    while len(header := stream.read(HEADER_BYTES)) == HEADER_BYTES:
        length_bytes, (length_crc,) = header[: _LENGTH.size], _CRC.unpack_from(header, _LENGTH.size)
        if masked(crc32c(length_bytes)) != length_crc:
            hint = " (Is this even a TFRecord file?)" if offset == 0 else ""
            raise DataLossError(f"corrupted record at {offset}{hint}")
        (length,) = _LENGTH.unpack(length_bytes)
        data = _read(stream, length)
        crc = stream.read(_CRC.size)
        if len(data) < length or len(crc) < _CRC.size:
            raise DataLossError(f"truncated record at {offset}' failed with Read less bytes than requested")
        if masked(crc32c(data)) != _CRC.unpack(crc)[0]:
            raise DataLossError(f"corrupted record at {offset + HEADER_BYTES}")
        yield data
        offset += HEADER_BYTES + length + _CRC.size


def encode_record(data: bytes) -> bytes:
    """One record as it stands in a file."""
    length = _LENGTH.pack(len(data))
    return b"".join((length, _CRC.pack(masked(crc32c(length))), data, _CRC.pack(masked(crc32c(data)))))


def _read(stream: BinaryIO, length: int) -> bytes:
    pieces: list[bytes] = []
    while length > 0 and (piece := stream.read(min(length, _PIECE))):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)
