"""Unpacks a tar archive from somewhere else: nothing outside of the directory, nothing but files and directories.

An archive is refused as a whole, with the name of the member that is wrong, rather than unpacked without it. No link is
ever made, so no later member can leave by one.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from pyserve.errors import InvalidArgumentError, ResourceExhaustedError, file_error

# Headers of a member are read whole; longer names than this are an attack.
_MAX_HEADER_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20
# Blocks of headers and padding beside the content of each member.
_OVERHEAD_BYTES = 1 << 14
_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".bz2", ".tar.xz", ".txz")


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """What an archive may become.

    Attributes:
        max_bytes: Content of all files.
        max_members: Files and directories.
    """

    max_bytes: int = 64 * 2**30
    max_members: int = 100_000


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive that can be unpacked."""
    return name.lower().endswith(_SUFFIXES)


def unpack(archive: Path, into: Path, limits: UnpackLimits) -> None:
    """Unpack a tar archive, plain or compressed by gzip, bzip2 or xz, into an empty directory.

    Raises:
        InvalidArgumentError: It is no such archive, is cut off, or has a member with a path that leads outside, a link,
            a device, a sparse file, or a name for the second time.
        ResourceExhaustedError: It has more members, or becomes larger, than allowed.
        ServingError: The disk's own error.
    """
    try:
        with archive.open("rb") as file, _decompressed(file) as plain:
            stream = _Bounded(
                plain, limits.max_bytes + _OVERHEAD_BYTES * (limits.max_members + 1), archive.name
            )
            with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:") as tar:
                _unpack_members(tar, into, limits, archive.name)
    except (tarfile.TarError, EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise InvalidArgumentError(f"{archive.name} is no tar archive, or damaged: {error}") from error
    except OSError as error:
        if error.errno is None:  # a decompressor's
            raise InvalidArgumentError(f"{archive.name} is damaged: {error}") from error
        raise file_error(error) from error


def _unpack_members(tar: tarfile.TarFile, into: Path, limits: UnpackLimits, archive: str) -> None:
    size = count = 0
    while (member := tar.next()) is not None:
        count += 1
        size += member.size
        if count > limits.max_members:
            raise ResourceExhaustedError(f"{archive} has more than {limits.max_members} members")
        if size > limits.max_bytes:
            raise ResourceExhaustedError(f"{archive} becomes larger than {limits.max_bytes} bytes")
        target = into / _inside(member, archive)
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        if not member.isreg() or member.issparse():
            raise InvalidArgumentError(f"{archive}: member {member.name!r} is neither a file nor a directory")
        content = tar.extractfile(member)
        assert content is not None
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with target.open("xb") as out:
                shutil.copyfileobj(content, out, _CHUNK_BYTES)
        except (FileExistsError, IsADirectoryError):
            raise InvalidArgumentError(f"{archive}: member {member.name!r} is there twice") from None
    if not count:
        raise InvalidArgumentError(f"{archive} is empty")


def _inside(member: tarfile.TarInfo, archive: str) -> PurePosixPath:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\0" in member.name or "\\" in member.name:
        raise InvalidArgumentError(f"{archive}: member {member.name!r} leads outside of the archive")
    return path


def _decompressed(file: IO[bytes]) -> IO[bytes]:
    head = file.read(6)
    file.seek(0)
    if head[:2] == b"\x1f\x8b":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if head[:3] == b"BZh":
        return bz2.BZ2File(file)
    if head == b"\xfd7zXZ\0":
        return lzma.LZMAFile(file)
    return file


class _Bounded(io.RawIOBase):
    """A stream of which not more than so many bytes are read, nor many at once."""

    def __init__(self, stream: IO[bytes], limit: int, name: str) -> None:
        self._stream = stream
        self._limit = limit
        self._name = name

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise InvalidArgumentError(f"{self._name} has a header of {size} bytes")
        found = self._stream.read(size)
        self._check()
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and offset > self._limit:
            self._refuse()
        place = self._stream.seek(offset, whence)
        self._check()
        return place

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def _check(self) -> None:
        if self._stream.tell() > self._limit:
            self._refuse()

    def _refuse(self) -> None:
        raise ResourceExhaustedError(f"{self._name} becomes larger than {self._limit} bytes")
