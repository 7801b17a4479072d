"""What a version's code raises, as ServingError with file and line. The traceback stays in the server's log."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

from pyserve.backends.saved_model.failures import bare_text, to_serving_error
from pyserve.errors import InternalError, InvalidArgumentError, ServingError


def load_error(error: BaseException, directory: Path) -> ServingError:
    """The error of a load that the version's code has failed; a ServingError is returned as it is."""
    if isinstance(error, ServingError):
        return error
    found = place(error, directory)
    where = f"{directory / found}: " if found else f"{directory}: "
    return InternalError(bare_text(where + _words(error, directory)))


def run_error(error: BaseException, directory: Path) -> ServingError:
    """The error of a request that the version's code has failed.

    An error of TensorFlow keeps its code. A ValueError counts as the caller's
    mistake: it is what numpy raises for shapes that do not fit, which nobody has checked before.
    """
    if isinstance(getattr(error, "error_code", None), int) or isinstance(error, MemoryError):
        return to_serving_error(error)
    found = place(error, directory)
    kind = InvalidArgumentError if isinstance(error, ValueError) else InternalError
    return kind(bare_text(_words(error, directory) + (f" ({found})" if found else "")))


def place(error: BaseException, directory: Path) -> str | None:
    """`file:line` of the innermost of the version's own lines that the error has come through; None without any.

    Returns:
        The file relative to the directory.
    """
    root = str(directory) + os.sep
    lines = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename is not None:
        lines.append((error.filename, error.lineno or 1))
    for file, line in reversed(lines):
        if file.startswith(root):
            return f"{file.removeprefix(root)}:{line}"
    return None


def _words(error: BaseException, directory: Path) -> str:
    text = str(error.msg if isinstance(error, SyntaxError) else error)
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is not None and (directory / f"{missing}.py").is_file():
        said += f"; a file of the same version is imported by `from . import {missing}`"
    return said
