"""A new version of a model appears whole or not at all, beside the versions that are served."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pyserve.errors import AlreadyExistsError, InvalidArgumentError, file_error


def next_version(base: Path) -> int:
    """One more than the highest number in a model's directory; 1 where there is none."""
    if not base.exists():
        return 1
    return 1 + max((int(child.name) for child in base.iterdir() if child.name.isdecimal()), default=0)


@dataclass(slots=True)
class Arriving:
    """A version in the making; `path` is where it stands now."""

    path: Path


@contextmanager
def new_version(base: Path, number: int | None = None) -> Iterator[Arriving]:
    """A directory to make a version in, which gets its number when the context ends well, and is removed when not.

    It stands in the model's directory under a name that no server takes for a version, so that giving it the number is
    one rename.

    Args:
        base: The model's directory; made when it is missing.
        number: Of the version; None: the next one when the context ends.

    Raises:
        InvalidArgumentError: `base` is no directory.
        AlreadyExistsError: There is such a version.
        ServingError: What the operating system says.
    """
    if base.exists() and not base.is_dir():
        raise InvalidArgumentError(f"{base} is no directory; expected the model's, which holds its versions")
    if number is not None:
        _refuse_existing(base / str(number))
    is_new = not base.exists()
    try:
        base.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=base, prefix=".convert-"))
    except OSError as error:
        raise file_error(error) from error
    try:
        version = Arriving(staging)
        yield version
        staging.chmod(0o755)  # the server may run as somebody else
        target = base / str(next_version(base) if number is None else number)
        _refuse_existing(target)
        try:
            staging.rename(target)
        except OSError as error:
            raise file_error(error) from error
        version.path = target
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if is_new:
            with suppress(OSError):  # it holds the version
                base.rmdir()


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise AlreadyExistsError(f"{target} is there already")
