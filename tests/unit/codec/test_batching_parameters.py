"""The text of BatchingParameters as a value: what is set counts, what is not has TensorFlow Serving's default."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyserve.codec.batching_parameters import parse_batching_parameters
from pyserve.config import BatchingParameters
from pyserve.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", BatchingParameters()),
        (
            "max_batch_size { value: 0 } batch_timeout_micros { value: 0 } max_enqueued_batches { value: 0 } "
            "num_batch_threads { value: 0 } enable_large_batch_splitting { value: false } "
            "max_execution_batch_size {} thread_pool_name {}",
            BatchingParameters(
                max_batch_size=0,
                max_enqueued_batches=0,
                num_batch_threads=0,
                max_execution_batch_size=0,
                thread_pool_name="",
            ),
        ),
        (
            "allowed_batch_sizes: [8, 16] allowed_batch_sizes: 128 pad_variable_length_inputs: true",
            BatchingParameters(allowed_batch_sizes=(8, 16, 128), pad_variable_length_inputs=True),
        ),
        (
            "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 5 }",
            BatchingParameters(enable_large_batch_splitting=True, max_execution_batch_size=5),
        ),
    ],
)
def test_fields(text: str, expected: BatchingParameters) -> None:
    """Each field has its place; a 0 that is written is a 0."""
    assert parse_batching_parameters(text, "/p") == expected


def test_the_sample_of_the_reference(tfs_testdata: Path) -> None:
    """TensorFlow Serving's own file."""
    text = (tfs_testdata / "batching_config.txt").read_text()
    assert parse_batching_parameters(text, "/p") == BatchingParameters(
        max_batch_size=128, max_enqueued_batches=1_000_000, num_batch_threads=8
    )


def test_what_cannot_be_parsed(caplog: pytest.LogCaptureFixture) -> None:
    """The error names the file, the log the message and the place."""
    with pytest.raises(InvalidArgumentError, match=r"^INVALID_ARGUMENT: Invalid protobuf file: '/p'$"):
        parse_batching_parameters("max_batch_size: 8", "/p")
    assert "Error parsing text-format tensorflow.serving.BatchingParameters: 1:" in caplog.text
