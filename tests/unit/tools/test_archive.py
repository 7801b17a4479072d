"""Archives: what is unpacked, and what is refused as a whole."""

from __future__ import annotations

import gzip
import io
import random
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
    unpack(path, into, UnpackLimits(max_bytes=10_000, max_members=30))
    files = {str(file.relative_to(into)): file.read_bytes() for file in into.rglob("*") if file.is_file()}
    assert files == {"m/saved_model.pb": b"x" * 5000, "m/empty": b"", "deep/er/file": b"y" * 512, long: b"z"}
    assert (into / "m/saved_model.pb").stat().st_mode & 0o7111 == 0


GLOBALS = b"".join(b"8 %03d=x\n" % number for number in range(200))
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
    "many directories": ([member("a/" * 10 + "b"), member("c/" * 10 + "d")], ResourceExhaustedError, "more than 20"),
    "deep": ([member("a/" * 65 + "b")], InvalidArgumentError, "path of member 'a/a/.* is too long"),
    "long": ([member("a" * 4097)], InvalidArgumentError, "too long"),
    "global headers": ([member("p", GLOBALS, type=tarfile.XGLTYPE), member("a")], InvalidArgumentError, "global head"),
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


def chain_of_headers(path: Path) -> None:
    """Each header is for the next one."""
    info = tarfile.TarInfo("x")
    info.type = tarfile.XHDTYPE
    with gzip.open(path, "wb") as file:
        file.write(info.tobuf() * 3000)


def sparse_map(path: Path) -> None:
    """A file that is said to have a billion pieces, of which a list is made."""
    said = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
    with gzip.open(path, "wb") as file:
        for kind, content in ((tarfile.XHDTYPE, said), (tarfile.REGTYPE, b"999999999\n" + b"0\n" * 500_000)):
            info = tarfile.TarInfo("x")
            info.type, info.size = kind, len(content)
            file.write(info.tobuf() + content + bytes(-len(content) % 512))


@pytest.mark.parametrize("make", [huge_header, endless_padding, chain_of_headers, sparse_map])
def test_bombs(tmp_path: Path, into: Path, make: Callable[[Path], None]) -> None:
    """They are refused by what they say, before it is read or written."""
    make(tmp_path / "a")
    with pytest.raises(ServingError, match=r"headers of|becomes larger"):
        unpack(tmp_path / "a", into, UnpackLimits(max_bytes=2**39))
    assert list(into.iterdir()) == []


def test_an_endless_end(tmp_path: Path, into: Path) -> None:
    """Padding is read for the checksum behind it, but not any amount."""
    path = archive(tmp_path / "a", member("a", b"x"), mode="w:")
    packed = gzip.compress(path.read_bytes() + bytes(20 * 2**20), 1)
    path.write_bytes(packed)
    with pytest.raises(InvalidArgumentError, match="goes on behind its end"):
        unpack(path, into, UnpackLimits())


@pytest.mark.parametrize("size", [-1, -1024, -(2**40)])
@pytest.mark.parametrize("before", [0, 1])
def test_negative_sizes(tmp_path: Path, into: Path, size: int, before: int) -> None:
    """They would make room for others, and lead back in the archive."""
    info = tarfile.TarInfo("n")
    info.size = size
    whole = archive(tmp_path / "a", member("a", b"x"), mode="w:").read_bytes()
    (tmp_path / "a").write_bytes(whole[: before * 1024] + info.tobuf(tarfile.GNU_FORMAT) + whole)
    with pytest.raises(InvalidArgumentError, match=f"a member of {size} bytes"):
        unpack(tmp_path / "a", into, LIMITS)


@pytest.mark.parametrize("said", [b"20 GNU.sparse.map=a\n", b"0 GNU.sparse.map=a\n"])
def test_headers_that_make_no_sense(tmp_path: Path, into: Path, said: bytes) -> None:
    """They are the archive's fault, and told so."""
    path = archive(tmp_path / "a", member("p", said, type=tarfile.XHDTYPE), member("a"))
    with pytest.raises(InvalidArgumentError, match="no tar archive, or damaged"):
        unpack(path, into, LIMITS)


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


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("place", [0.3, 0.5, 0.7, 0.99])
def test_a_flipped_bit(tmp_path: Path, into: Path, mode: str, place: float) -> None:
    """One wrong bit in the weights of a model is not served: the checksum is looked at, though it comes last."""
    path = archive(tmp_path / "a", member("a", random.Random(1).randbytes(9000)), mode=mode)
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 1
    path.write_bytes(data)
    with pytest.raises(InvalidArgumentError, match="damaged"):
        unpack(path, into, LIMITS)


@pytest.mark.parametrize("rest", [b"", b"U" * 512, b"U" * 100])
def test_an_end_that_is_none(tmp_path: Path, into: Path, rest: bytes) -> None:
    """An archive ends by a block of zeros: cut off between two members, or with a damaged header, it is not whole."""
    path = archive(tmp_path / "a", member("a", b"x"), mode="w:")
    path.write_bytes(path.read_bytes()[:1024] + rest)
    with pytest.raises(InvalidArgumentError, match="damaged, or cut off"):
        unpack(path, into, LIMITS)
