"""TensorFlow's exceptions become ServingError with the bare text of C++."""

from __future__ import annotations

import pytest

from pyserve.backends.saved_model.failures import MAX_MESSAGE_CHARS, bare_text, to_serving_error
from pyserve.errors import Code, NotFoundError

OP_TEXT = "Input to reshape is a tensor with 4 values\n\t [[{{node Reshape}}]]"


class OpError(Exception):
    """Shaped as `tf.errors.OpError`."""

    def __init__(self, error_code: int, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code
        self.message = message


@pytest.mark.parametrize(
    "message",
    [
        OP_TEXT,
        f"Graph execution error:\n\n{OP_TEXT}",
        f"Graph execution error:\n\n{OP_TEXT}\n\nOriginal stack trace for 'Reshape':\n  File x\n",
        "Graph execution error:\n\nDetected at node 'Reshape' defined at (most recent call last):\n"
        '    File "x.py", line 1, in f\n\n    y = 1\n'
        f"Node: 'Reshape'\n{OP_TEXT}\n\nOriginal stack trace for 'Reshape':",
        f"{OP_TEXT}\n\nErrors may have originated from an input operation.\nInput Source operations: x",
    ],
)
def test_what_python_added_is_taken_off(message: str) -> None:
    """Whatever way the text came, what remains is that of the op with its node."""
    assert bare_text(message) == OP_TEXT


def test_long_texts_are_cut() -> None:
    """No message grows without bound."""
    assert len(bare_text("x" * 100_000)) == MAX_MESSAGE_CHARS + 3


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OpError(3, OP_TEXT), Code.INVALID_ARGUMENT, OP_TEXT),
        (
            OpError(4, "Timed out waiting for notification"),
            Code.DEADLINE_EXCEEDED,
            "Timed out waiting for notification",
        ),
        (OpError(5, "a"), Code.NOT_FOUND, "a"),
        (OpError(99, "a"), Code.UNKNOWN, "a"),
        (MemoryError(), Code.RESOURCE_EXHAUSTED, "Not enough memory to run the model"),
        (ValueError("bad"), Code.INVALID_ARGUMENT, "bad"),
        (TypeError("bad"), Code.INVALID_ARGUMENT, "bad"),
        (KeyError("no such node"), Code.INVALID_ARGUMENT, "no such node"),
        (RuntimeError("odd"), Code.INTERNAL, "RuntimeError: odd"),
    ],
)
def test_codes(error: Exception, code: Code, message: str) -> None:
    """TensorFlow's codes are kept; Python's own exceptions get the nearest."""
    translated = to_serving_error(error)
    assert (translated.code, translated.message) == (code, message)


def test_our_own_errors_pass() -> None:
    """A ServingError is not wrapped again."""
    error = NotFoundError("x")
    assert to_serving_error(error) is error
