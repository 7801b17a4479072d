"""Protobuf text format over the private pool: configuration files in, readable messages out.

Any messages are written and read expanded, `[type.googleapis.com/full.Name] { ... }`, for every message that
the pool describes.
"""

from __future__ import annotations

from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from pyserve.protos.registry import pool

M = TypeVar("M", bound=Message)


class ParseError(ValueError):
    """The text is not text format of the message.

    `str()` is C++'s `<line>:<column>: <reason>`; without a known place, the reason alone. It never quotes the
    text at length, which may hold a private key.

    Attributes:
        line, column: The place in the text, from 1; 0 where it is unknown.
        reason: What is wrong there.
    """

    def __init__(self, reason: str, line: int = 0, column: int = 0) -> None:
        super().__init__(f"{line}:{column}: {reason}" if line else reason)
        self.line = line
        self.column = column
        self.reason = reason


def parse_text(text: str, message: M) -> M:
    """Fill a message from text format, and return it. Empty text leaves it as it is.

    Accepted as in C++: `field {` and `field: {`, commas or semicolons between fields, either kind of quote,
    `#` comments, `[1, 2]` for repeated fields.

    Args:
        message: Of any pool; what an Any holds is looked up in the private pool.

    Raises:
        ParseError: With the place; the message is then filled in part.
    """
    try:
        text_format.Parse(text, message, descriptor_pool=pool)
    except text_format.ParseError as error:
        line, column = error.GetLine() or 0, error.GetColumn() or 0
        reason = str(error).removeprefix(f"{line}:{column} : ")
        # Python's parser, unlike C++'s, repeats the whole line in most reasons.
        reason = reason.removeprefix(f"'{text.split(chr(10))[line - 1]}': ") if line else reason
        raise ParseError(reason, line, column) from None
    except ValueError as error:
        # Escapes that make no UTF-8 pass the parser and fail in the message.
        raise ParseError(str(error)) from error
    except RecursionError:
        raise ParseError("the text is nested too deeply") from None
    return message


def to_text(message: Message, *, one_line: bool = False) -> str:
    """Text format of a message, as C++ prints it: fields by number, bytes outside ASCII escaped.

    Args:
        message: Of any pool; an Any is expanded if the private pool describes its content.
        one_line: Everything on one line, for logs and error messages.
    """
    return text_format.MessageToString(message, as_one_line=one_line, as_utf8=False, descriptor_pool=pool)
