"""Whether all of a TensorFlow Lite file is there, from its bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pyserve.backends.tflite.backend import TfLiteBackend
from pyserve.backends.tflite.completeness import cut_off, incomplete_reason
from pyserve.config import TensorFlowOptions, TfLiteOptions


def model(data: bytes = b"weights!", behind: tuple[int, int] | None = None) -> bytes:
    """A flatbuffer with a Model table that has one Buffer, and nothing else.

    Laid out as: header, Model's vtable and table, vector of buffers, Buffer's vtable and table, the data.
    """
    model_vtable = struct.pack("<7H", 14, 8, 0, 0, 0, 0, 4)  # field 4 stands at 4 in the table
    model_table_at = 8 + len(model_vtable) + 2  # 2 bytes of padding
    vector_at = model_table_at + 8
    buffer_vtable_at = vector_at + 8
    buffer_vtable = struct.pack("<5H", 10, 24, 4, 8 if behind else 0, 16 if behind else 0) + bytes(2)
    buffer_table_at = buffer_vtable_at + len(buffer_vtable)
    data_at = buffer_table_at + 24
    return b"".join(
        [
            struct.pack("<I4s", model_table_at, b"TFL3"),
            model_vtable + bytes(2),
            struct.pack("<iI", model_table_at - 8, vector_at - (model_table_at + 4)),
            struct.pack("<II", 1, buffer_table_at - (vector_at + 4)),
            buffer_vtable,
            struct.pack(
                "<iIQQ",
                buffer_table_at - buffer_vtable_at,
                data_at - (buffer_table_at + 4),
                *(behind or (0, 0)),
            ),
            struct.pack("<I", len(data)),
            data,
        ]
    )


def reason(content: bytes) -> str | None:
    return cut_off(lambda at, size: content[at : at + size], len(content))


def test_whole() -> None:
    """A model with all its bytes lacks nothing, nor does a file that is no model, or has no buffers."""
    assert reason(model()) is None
    assert reason(model(b"")) is None
    assert reason(b"something else") is None


@pytest.mark.parametrize("size", range(len(model())))
def test_cut_off(size: int) -> None:
    """Wherever it is cut, something is missing."""
    found = reason(model()[:size])
    assert found is not None
    assert str(size) in found


def test_buffers_behind_the_flatbuffer() -> None:
    """The buffers of very large models stand behind everything else, and count too."""
    whole = len(model(behind=(1, 1))) + 100
    content = model(behind=(whole - 100, 100))
    assert reason(content) == f"model.tflite has {whole - 100} of at least {whole} bytes"
    assert reason(content + bytes(100)) is None


def test_references_out_of_the_file(tmp_path: Path) -> None:
    """Damaged references, backwards ones too, are no reason to fail."""
    content = bytearray(model())
    struct.pack_into("<i", content, struct.unpack_from("<I", content)[0], 2**30)
    file = tmp_path / "model.tflite"
    file.write_bytes(content)
    assert incomplete_reason(file) == f"model.tflite is cut off after {len(content)} bytes"


def test_the_backend_asks_the_file_that_it_would_load(tmp_path: Path) -> None:
    """With a model.tflite only that counts; without one the SavedModel does."""
    backend = TfLiteBackend(TfLiteOptions(prefer_tflite_model=True), TensorFlowOptions())
    assert backend.incomplete_reason(str(tmp_path)) == "there is no saved_model.pb yet"
    file = tmp_path / "model.tflite"
    file.write_bytes(model()[:-1])
    found = f"model.tflite has {len(model()) - 1} of at least {len(model())} bytes"
    assert backend.incomplete_reason(str(tmp_path)) == found
    file.write_bytes(model())
    assert backend.incomplete_reason(str(tmp_path)) is None
    file.unlink()
    assert incomplete_reason(file) == f"{file}; No such file or directory"
