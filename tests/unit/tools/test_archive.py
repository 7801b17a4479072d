"""Archives: what is unpacked, and what is refused as a whole."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyserve.errors import InvalidArgumentError, ResourceExhaustedError, ServingError
from pyserve.tools.archive import UnpackLimits, is_archive, unpack

LIMITS = UnpackLimits(max_bytes=10_000, max_members=20)


def member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz", **how: Any) -> Path:
    with tarfile.open(path, mode, **how) as tar:  # type: ignore[call-overload]
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def into(tmp_path: Path) -> Path:
    directory = tmp_path / "into"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("mode", ["w:", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_what_is_unpacked(tmp_path: Path, into: Path, mode: str, format_: int) -> None:
    """Files and directories, by any of the compressions; rights are ours, not the archive's."""
    long = "d/" * 20 + "long" * 20
    path = archive(
        tmp_path / "a",
        member("./m/", type=tarfile.DIRTYPE),
        member("./m/saved_model.pb", b"x" * 5000, mode=0o4777),
        member("m/empty"),
        member("deep/er/file", b"y" * 512),
        member(long, b"z"),
        mode=mode,
        format=format_,
    )
    unpack(path, into, LIMITS)
    files = {str(file.relative_to(into)): file.read_bytes() for file in into.rglob("*") if file.is_file()}
    assert files == {"m/saved_model.pb": b"x" * 5000, "m/empty": b"", "deep/er/file": b"y" * 512, long: b"z"}
    assert (into / "m/saved_model.pb").stat().st_mode & 0o7111 == 0


HOSTILE: dict[str, tuple[list[tuple[tarfile.TarInfo, bytes]], type[ServingError], str]] = {
    "parent": ([member("../evil", b"x")], InvalidArgumentError, "'../evil' leads outside"),
    "parent inside": ([member("a/../../evil", b"x")], InvalidArgumentError, "leads outside"),
    "absolute": ([member("/evil", b"x")], InvalidArgumentError, "'/evil' leads outside"),
    "backslash": ([member("..\\evil", b"x")], InvalidArgumentError, "leads outside"),
    "symlink": ([member("l", type=tarfile.SYMTYPE, linkname="/etc")], InvalidArgumentError, "'l' is neither a file"),
    "hard link": ([member("l", type=tarfile.LNKTYPE, linkname="/etc/passwd")], InvalidArgumentError, "neither"),
    "device": ([member("d", type=tarfile.CHRTYPE)], InvalidArgumentError, "'d' is neither a file"),
    "block device": ([member("d", type=tarfile.BLKTYPE)], InvalidArgumentError, "neither"),
    "pipe": ([member("p", type=tarfile.FIFOTYPE)], InvalidArgumentError, "neither"),
    "twice": ([member("a", b"x"), member("./a", b"y")], InvalidArgumentError, "'./a' is there twice"),
    "over a directory": ([member("a/b", b"x"), member("a", b"y")], InvalidArgumentError, "'a' is there twice"),
    "large file": ([member("a", bytes(10_001))], ResourceExhaustedError, "becomes larger than 10000 bytes"),
    "large in sum": ([member("a", bytes(6000)), member("b", bytes(6000))], ResourceExhaustedError, "larger"),
    "many": ([member(str(n)) for n in range(21)], ResourceExhaustedError, "more than 20 members"),
    "nothing": ([], InvalidArgumentError, "is empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_refused(tmp_path: Path, into: Path, name: str) -> None:
    """With the member's name; nothing appears outside."""
    members, error, text = HOSTILE[name]
    path = archive(tmp_path / "a.tar.gz", *members)
    with pytest.raises(error, match=text):
        unpack(path, into, LIMITS)
    assert {file.name for file in tmp_path.iterdir()} == {"a.tar.gz", "into"}
    assert not Path("/evil").exists()


def test_a_file_below_a_file(tmp_path: Path, into: Path) -> None:
    """A path through a file of the archive is an error with a text."""
    path = archive(tmp_path / "a.tar.gz", member("a", b"x"), member("a/b", b"y"))
    with pytest.raises(ServingError):
        unpack(path, into, LIMITS)


def huge_header(path: Path) -> None:
    """A header that says that 64 MiB of names follow."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 64 * 2**20
    with gzip.open(path, "wb") as file:
        file.write(info.tobuf() + bytes(64 * 2**20))


def endless_padding(path: Path) -> None:
    """A file of an unknown type with a size, whose content is skipped and not counted."""
    info = tarfile.TarInfo("x")
    info.size = 2**40
    with gzip.open(path, "wb") as file:
        file.write(info.tobuf())


@pytest.mark.parametrize("make", [huge_header, endless_padding])
def test_bombs(tmp_path: Path, into: Path, make: Callable[[Path], None]) -> None:
    """They are refused by what they say, before it is read or written."""
    make(tmp_path / "a")
    with pytest.raises(ServingError, match=r"header of|becomes larger"):
        unpack(tmp_path / "a", into, UnpackLimits(max_bytes=2**39))
    assert list(into.iterdir()) == []


@pytest.mark.parametrize("cut", [10, 100, -600])
def test_damaged_archives(tmp_path: Path, into: Path, cut: int) -> None:
    """One that is cut off, or is none."""
    whole = archive(tmp_path / "a.tar.gz", member("a", bytes(range(256)) * 20)).read_bytes()
    for data in (whole[:cut], b"no archive at all" * 100, b""):
        (tmp_path / "b").write_bytes(data)
        with pytest.raises(InvalidArgumentError):
            unpack(tmp_path / "b", into, LIMITS)
        for file in into.iterdir():
            file.unlink()


def test_names() -> None:
    """What is taken for an archive."""
    assert all(map(is_archive, ("a.tar.gz", "a.TGZ", "a.tar", "a.tar.bz2", "a.bz2", "a.tar.xz")))
    assert not any(map(is_archive, ("a.zip", "a.pb", "tar", "saved_model.pb")))
