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
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from pyserve.errors import InvalidArgumentError, ResourceExhaustedError, file_error

# Headers of a member are read whole, and what they say is kept; more of them than this is an attack.
_MAX_HEADER_BYTES = 1 << 16
_MAX_GLOBAL_HEADERS = 100
_CHUNK_BYTES = 1 << 20
# Blocks of headers and padding beside the content of each member.
_OVERHEAD_BYTES = 1 << 14
# Padding behind the end, which is one block of zeros or more.
_MAX_PADDING_BYTES = 1 << 24
_END = bytes(tarfile.BLOCKSIZE)
_MAX_NAME = 4096
_MAX_DEPTH = 64
_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".bz2", ".tar.xz", ".txz")


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """What an archive may become.

    Attributes:
        max_bytes: Content of all files.
        max_members: Files and directories, those that only a path names included.
    """

    max_bytes: int = 64 * 2**30
    max_members: int = 100_000


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive that can be unpacked."""
    return name.lower().endswith(_SUFFIXES)


def unpack(archive: Path, into: Path, limits: UnpackLimits) -> None:
    """Unpack a tar archive, plain or compressed by gzip, bzip2 or xz, into an empty directory.

    Raises:
        InvalidArgumentError: It is no such archive, is cut off, does not have its checksum, or has a member with a path
            that leads outside or is too long, a link, a device, a sparse file, or a name for the second time.
        ResourceExhaustedError: It has more members, or becomes larger, than allowed.
        ServingError: The disk's own error.
    """
    try:
        with archive.open("rb") as file, _decompressed(file) as plain:
            stream = _Bounded(
                plain, limits.max_bytes + _OVERHEAD_BYTES * (limits.max_members + 1), archive.name
            )
            with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:") as tar:
                _unpack_members(tar, stream, into, limits, archive.name)
            _read_to_the_end(stream, archive.name)
    except (tarfile.TarError, EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidArgumentError(f"{archive.name} is no tar archive, or damaged: {error}") from error
    except (ValueError, IndexError, RecursionError) as error:  # tarfile's, about headers that make no sense
        raise InvalidArgumentError(f"{archive.name} is no tar archive, or damaged: {error}") from error
    except OSError as error:
        if error.errno is None:  # a decompressor's
            raise InvalidArgumentError(f"{archive.name} is damaged: {error}") from error
        raise file_error(error) from error


def _unpack_members(
    tar: tarfile.TarFile, stream: _Bounded, into: Path, limits: UnpackLimits, archive: str
) -> None:
    size = count = 0
    made = {PurePosixPath()}
    while (member := _next_member(tar, stream, archive)) is not None:
        count += 1
        size += member.size
        if size > limits.max_bytes:
            raise ResourceExhaustedError(f"{archive} becomes larger than {limits.max_bytes} bytes")
        path = _inside(member, archive)
        made.update((path, *path.parents))
        if max(count, len(made) - 1) > limits.max_members:
            raise ResourceExhaustedError(f"{archive} has more than {limits.max_members} members")
        target = into / path
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


def _next_member(tar: tarfile.TarFile, stream: _Bounded, archive: str) -> tarfile.TarInfo | None:
    """The next member; None at the archive's end.

    Raises:
        InvalidArgumentError: What follows is neither, or too much of it is headers.
    """
    with stream.reading_headers():
        member = tar.next()
    tar.members = []  # type: ignore[attr-defined]  # else the headers of all are kept
    if len(tar.pax_headers) > _MAX_GLOBAL_HEADERS:
        raise InvalidArgumentError(f"{archive} has more than {_MAX_GLOBAL_HEADERS} global headers")
    if member is None and stream.last != _END:  # tarfile takes whatever is no header for the end
        raise InvalidArgumentError(f"{archive} is damaged, or cut off")
    if member is not None and member.size < 0:
        raise InvalidArgumentError(f"{archive} has a member of {member.size} bytes")
    return member


def _read_to_the_end(stream: _Bounded, archive: str) -> None:
    """Read the padding: only at a compressed file's very end its checksum is compared.

    Raises:
        InvalidArgumentError: There is too much.
    """
    for _ in range(_MAX_PADDING_BYTES // _CHUNK_BYTES):
        if not stream.read(_CHUNK_BYTES):
            return
    raise InvalidArgumentError(f"{archive} goes on behind its end")


def _inside(member: tarfile.TarInfo, archive: str) -> PurePosixPath:
    if len(member.name) > _MAX_NAME or member.name.count("/") > _MAX_DEPTH:
        raise InvalidArgumentError(f"{archive}: the path of member {member.name[:100]!r}… is too long")
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
    """A stream of which not more than so many bytes are read, nor many at once, and few for headers.

    Attributes:
        last: What the last read gave.
    """

    def __init__(self, stream: IO[bytes], limit: int, name: str) -> None:
        self._stream = stream
        self._limit = limit
        self._name = name
        self._readable = _MAX_HEADER_BYTES  # in one piece, or as headers; opening reads the first ones
        self._headers = True
        self.last = b""

    @contextmanager
    def reading_headers(self) -> Iterator[None]:
        """What is read meanwhile are headers of one member."""
        self._readable, self._headers = _MAX_HEADER_BYTES, True
        try:
            yield
        finally:
            self._readable, self._headers = _CHUNK_BYTES, False

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._readable:
            raise InvalidArgumentError(f"{self._name} has headers of more than {_MAX_HEADER_BYTES} bytes")
        if self._headers:
            self._readable -= size
        self.last = self._stream.read(size)
        self._check()
        return self.last

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
