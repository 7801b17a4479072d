"""Configuration files that cannot be read: TensorFlow's codes, and its form of text."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyserve.codec.text_file import read_text
from pyserve.errors import Code, ServingError

# Seen with TensorFlow 2.21's own file system layer.
FAILURES = {
    "none": (Code.NOT_FOUND, "No such file or directory"),
    "directory": (Code.FAILED_PRECONDITION, "Is a directory"),
    "file/below": (Code.FAILED_PRECONDITION, "Not a directory"),
    "loop": (Code.UNKNOWN, "Too many levels of symbolic links"),
    "n" * 300: (Code.INVALID_ARGUMENT, "File name too long"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_cannot_be_read(tmp_path: Path, name: str) -> None:
    """The code says what is wrong, the text names the file."""
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ServingError) as caught:
        read_text(str(tmp_path / name))
    code, text = FAILURES[name]
    assert (caught.value.code, caught.value.message) == (code, f"{tmp_path / name}; {text}")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    """They are left for the parser to stumble over."""
    file = tmp_path / "file"
    file.write_bytes(b"a \xff b")
    assert read_text(str(file)) == "a \ufffd b"
