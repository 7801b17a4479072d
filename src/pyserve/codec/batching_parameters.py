"""`BatchingParameters` of `--batching_parameters_file`, of a platform, and of a version's own file."""

from __future__ import annotations

from typing import Any

from pyserve.codec.text_file import parse_file
from pyserve.config import BatchingParameters
from pyserve.protos import tfs

VERSION_FILE = "batching_params.pbtxt"
"""In a version directory, with `--enable_per_model_batching_parameters`."""


def parse_batching_parameters(text: str, path: str) -> BatchingParameters:
    """The parameters of a file's text; the numbers themselves are not checked.

    Args:
        text: Text format of `tensorflow.serving.BatchingParameters`.
        path: Where it came from, for messages.

    Raises:
        InvalidArgumentError: The text cannot be parsed.
    """
    return batching_parameters(parse_file(text, path, tfs.BatchingParameters()))


def batching_parameters(message: tfs.BatchingParameters) -> BatchingParameters:
    """The message as a value: a field that is not set has its default; one that is set counts, be it 0."""
    given: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is not None:
            value = value.value
        given[field.name] = tuple(value) if field.name == "allowed_batch_sizes" else value
    return BatchingParameters(**given)
