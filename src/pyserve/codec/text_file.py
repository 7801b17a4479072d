"""Text-format configuration files: one way to read and parse them, one way to report what is wrong with them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from pyserve.errors import InvalidArgumentError, NotFoundError, PermissionDeniedError, UnknownError
from pyserve.protos import ParseError, parse_text

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)


def read_text(path: str) -> str:
    """A file's text. Bytes that are no UTF-8 become replacement characters, for the parser to stumble over.

    Raises:
        NotFoundError, PermissionDeniedError, UnknownError: It cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}; No such file or directory") from error
    except PermissionError as error:
        raise PermissionDeniedError(f"{path}; Permission denied") from error
    except OSError as error:
        raise UnknownError(f"{path}; {error.strerror}") from error


def parse_file(text: str, path: str, message: M) -> M:
    """Fill a message from a file's text, and return it. Empty text leaves it empty.

    The place of a mistake goes to the log, in protobuf's words: that is where TensorFlow Serving's operators and
    scripts look for it. The error carries the path.

    Raises:
        InvalidArgumentError: The text is not text format of the message.
    """
    try:
        return parse_text(text, message)
    except ParseError as error:
        logger.error("Error parsing text-format %s: %s", message.DESCRIPTOR.full_name, error)
        raise InvalidArgumentError(f"Invalid protobuf file: '{path}'") from error
