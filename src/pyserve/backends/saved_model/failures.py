"""TensorFlow's exceptions become ServingError here, where they enter.

Recognised by shape (`error_code`, `message`), so that nothing of TensorFlow is imported. The text is what C++
says: TensorFlow Serving passes it on unchanged, and its clients match on it. What Python adds around it (a
heading, the places in the program that built the graph) is taken off again.
"""

from __future__ import annotations

from pyserve.errors import (
    InternalError,
    InvalidArgumentError,
    ResourceExhaustedError,
    ServingError,
    error_for,
    file_error,
)

MAX_MESSAGE_CHARS = 8192
"""Far more than the 1024 bytes that reach a caller, and little enough for a log line."""

_HEADING = "Graph execution error:\n\n"
_TRAILERS = ("\n\nOriginal stack trace for", "\n\nErrors may have originated from an input operation")


def bare_text(message: str) -> str:
    """TensorFlow's own text of an error, without what its Python side added; of bounded length.

    Node references such as ` [[{{node x}}]]` belong to the text and stay.
    """
    text = message.removeprefix(_HEADING)
    if text.startswith("Detected at node") and "\nNode: " in text:
        # Where the graph was built, line by line; then the node's name on its own line; then the text of C++.
        text = text.split("\nNode: ", 1)[1].partition("\n")[2]
    for trailer in _TRAILERS:
        text = text.split(trailer, 1)[0]
    text = text.strip()
    return text if len(text) <= MAX_MESSAGE_CHARS else text[:MAX_MESSAGE_CHARS] + "..."


def to_serving_error(error: BaseException) -> ServingError:
    """The ServingError for anything that TensorFlow raised; one that is ours already is returned as it is."""
    if isinstance(error, ServingError):
        return error
    code, message = getattr(error, "error_code", None), getattr(error, "message", None)
    if isinstance(code, int) and isinstance(message, str):
        return error_for(code, bare_text(message))
    if isinstance(error, OSError) and error.filename is not None:
        return file_error(error)
    if isinstance(error, MemoryError):
        return ResourceExhaustedError("Not enough memory to run the model")
    if isinstance(error, KeyError) and error.args:
        return InvalidArgumentError(bare_text(str(error.args[0])))
    if isinstance(error, ValueError | TypeError):
        return InvalidArgumentError(bare_text(str(error)))
    return InternalError(bare_text(f"{type(error).__name__}: {error}"))
