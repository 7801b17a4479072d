"""Text-format configuration files: one way to read and parse them, one way to report what is wrong with them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from pyserve.errors import InvalidArgumentError, file_error
from pyserve.protos import ParseError, parse_text

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)


def read_text(path: str) -> str:
    """A file's text. Bytes that are no UTF-8 become replacement characters, for the parser to stumble over.

    Raises:
        ServingError: It cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise file_error(error) from error


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
