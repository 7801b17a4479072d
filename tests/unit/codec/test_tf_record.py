"""TFRecord files as bytes: whole, cut off and damaged at each place, in TensorFlow's words."""

from __future__ import annotations

import io

import pytest

from pyserve.codec.tf_record import encode_record, read_records
from pyserve.errors import DataLossError

# What tf.io.TFRecordWriter makes of the two records.
FIRST, SECOND = b"hello" * 10, b"x"
WRITTEN = bytes.fromhex(
    "3200000000000000241956ec68656c6c6f68656c6c6f68656c6c6f68656c"
    "6c6f68656c6c6f68656c6c6f68656c6c6f68656c6c6f68656c6c6f68656c"
    "6c6f91ab603201000000000000000175de4178503daa61"
)
START_OF_SECOND = 12 + len(FIRST) + 4


def flipped(at: int) -> bytes:
    return WRITTEN[:at] + bytes([WRITTEN[at] ^ 1]) + WRITTEN[at + 1 :]


def test_written_as_tensorflow_writes() -> None:
    """The bytes are those of TensorFlow's own writer."""
    assert encode_record(FIRST) + encode_record(SECOND) == WRITTEN


def test_read_back() -> None:
    """Records come in the order of the file; an empty file has none; an empty record is one."""
    assert list(read_records(io.BytesIO(WRITTEN))) == [FIRST, SECOND]
    assert list(read_records(io.BytesIO())) == []
    assert list(read_records(io.BytesIO(encode_record(b"")))) == [b""]


@pytest.mark.parametrize("size", [1, 11, START_OF_SECOND, START_OF_SECOND + 1, START_OF_SECOND + 11])
def test_cut_header(size: int) -> None:
    """A header that is cut off ends the file without an error, as TensorFlow's reader has it."""
    assert list(read_records(io.BytesIO(WRITTEN[:size]))) == [FIRST][: size // START_OF_SECOND]


TRUNCATED = "truncated record at {}' failed with Read less bytes than requested"


@pytest.mark.parametrize(
    ("data", "before", "text"),
    [
        (b"this is no TFRecord file at all", 0, "corrupted record at 0 (Is this even a TFRecord file?)"),
        (flipped(0), 0, "corrupted record at 0 (Is this even a TFRecord file?)"),  # length
        (flipped(9), 0, "corrupted record at 0 (Is this even a TFRecord file?)"),  # its checksum
        (flipped(14), 0, "corrupted record at 12"),  # data
        (flipped(START_OF_SECOND - 1), 0, "corrupted record at 12"),  # its checksum
        (WRITTEN[:12], 0, TRUNCATED.format(0)),
        (WRITTEN[:20], 0, TRUNCATED.format(0)),
        (WRITTEN[: START_OF_SECOND - 4], 0, TRUNCATED.format(0)),
        (WRITTEN[: START_OF_SECOND - 1], 0, TRUNCATED.format(0)),
        (flipped(START_OF_SECOND), 1, f"corrupted record at {START_OF_SECOND}"),
        (flipped(len(WRITTEN) - 1), 1, f"corrupted record at {START_OF_SECOND + 12}"),
        (WRITTEN[:-1], 1, TRUNCATED.format(START_OF_SECOND)),
    ],
)
def test_damage(data: bytes, before: int, text: str) -> None:
    """What stands before the damage is given; then DATA_LOSS says where it is."""
    records = read_records(io.BytesIO(data))
    assert [next(records) for _ in range(before)] == [FIRST][:before]
    with pytest.raises(DataLossError) as caught:
        next(records)
    assert caught.value.message == text


def test_a_length_is_not_believed() -> None:
    """A record that claims more than there is takes no memory for it."""

    class Counting(io.BytesIO):
        asked = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.asked = max(self.asked, size or 0)
            return super().read(size)

    header = encode_record(bytes(1 << 26))[:12]
    stream = Counting(header + b"only this")
    with pytest.raises(DataLossError, match="truncated record at 0"):
        next(read_records(stream))
    assert stream.asked <= 1 << 24
