"""BatchingParameters mean what TensorFlow Serving's mean, and are refused in its words."""

from __future__ import annotations

import pytest

from pyserve.batching.parameters import StaticPolicy, check, limits_of, next_batch_size
from pyserve.batching.queue import QueueLimits
from pyserve.config import BatchingParameters, PlatformOptions, ServerConfig
from pyserve.errors import InvalidArgumentError

P = BatchingParameters


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        (
            P(allowed_batch_sizes=(8, 16)),
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 16; expected 1000",
        ),
        (
            P(
                max_batch_size=64,
                allowed_batch_sizes=(8, 16),
                enable_large_batch_splitting=True,
                max_execution_batch_size=16,
            ),
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 16; expected 64",
        ),
        (P(max_batch_size=0), "input_batch_size_limit must be positive; was 0"),
        (P(max_batch_size=-3), "input_batch_size_limit must be positive; was -3"),
        (P(batch_timeout_micros=-1), "batch_timeout_micros must be non-negative; was -1"),
        (
            P(max_enqueued_batches=0, enable_large_batch_splitting=True),
            "max_enqueued_batches must be positive; was 0",
        ),
        (P(max_enqueued_batches=-1), "max_enqueued_batches must be positive; was -1"),
        (
            P(max_batch_size=8, enable_large_batch_splitting=True, max_execution_batch_size=9),
            "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal to "
            "max_execution_batch_size. input_batch_size_limit was 8; max_execution_batch_size was 9",
        ),
        (
            P(enable_large_batch_splitting=True, max_execution_batch_size=0),
            "max_execution_batch_size must be positive; was 0",
        ),
    ],
)
def test_refused_when_a_version_is_loaded(parameters: BatchingParameters, text: str) -> None:
    """Each mistake has its text."""
    with pytest.raises(InvalidArgumentError) as caught:
        check(parameters)
    assert caught.value.message == text
    with pytest.raises(InvalidArgumentError):
        StaticPolicy(parameters)


@pytest.mark.parametrize(
    ("parameters", "limits"),
    [
        (P(), QueueLimits(1000, 1000, 0.0, 10)),
        (
            P(max_batch_size=8, batch_timeout_micros=2500, max_enqueued_batches=3),
            QueueLimits(8, 8, 0.0025, 3),
        ),
        (P(max_enqueued_batches=0), QueueLimits(1000, 1000, 0.0, 1)),
        (P(max_execution_batch_size=5000), QueueLimits(1000, 1000, 0.0, 10)),
        (P(enable_large_batch_splitting=True), QueueLimits(1000, 1000, 0.0, 10, True)),
        (
            P(max_batch_size=64, enable_large_batch_splitting=True, max_execution_batch_size=16),
            QueueLimits(64, 16, 0.0, 10, True),
        ),
        # The order of the sizes is not checked.
        (P(max_batch_size=4, allowed_batch_sizes=(8, 2, 4)), QueueLimits(4, 4, 0.0, 10)),
    ],
)
def test_limits(parameters: BatchingParameters, limits: QueueLimits) -> None:
    """What the queues of a version work by."""
    check(parameters)
    assert limits_of(parameters) == limits


@pytest.mark.parametrize(
    ("rows", "allowed", "executed"),
    [(1, (4, 8), 4), (4, (4, 8), 4), (5, (4, 8), 8), (9, (4, 8), 9), (5, (), 5), (3, (8, 4), 8)],
)
def test_next_batch_size(rows: int, allowed: tuple[int, ...], executed: int) -> None:
    """The first size that is large enough; none: as it is."""
    assert next_batch_size(rows, allowed) == executed


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_are_checked_when_the_server_starts(threads: int) -> None:
    """A pool needs a thread, whoever asks for it."""
    text = f"num_batch_threads must be positive; was {threads}"
    with pytest.raises(InvalidArgumentError, match=text):
        ServerConfig(batching=P(num_batch_threads=threads))
    with pytest.raises(InvalidArgumentError, match=text):
        ServerConfig(platforms={"p": PlatformOptions(batching=P(num_batch_threads=threads))})


def test_other_numbers_are_not_checked_then() -> None:
    """They fail the loads of versions instead, as in TensorFlow Serving."""
    assert ServerConfig(batching=P(max_batch_size=0)).all_batching == (P(max_batch_size=0),)
