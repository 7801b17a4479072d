"""Batching by fixed numbers: TensorFlow Serving's BatchingParameters, checked and put into a policy. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pyserve.batching.member import Member
from pyserve.batching.queue import BatchQueue, QueueLimits
from pyserve.config import BatchingParameters
from pyserve.errors import InvalidArgumentError


def check(parameters: BatchingParameters) -> None:
    """Refuse what no queue can work by; called when a version is loaded.

    Raises:
        InvalidArgumentError: The first thing that is wrong, in TensorFlow Serving's order.

    Source: TensorFlow Serving, servables/tensorflow/bundle_factory_util.cc; TensorFlow,
    core/kernels/batching_util/shared_batch_scheduler.h (AddQueue).
    """
    most, allowed = parameters.max_batch_size, parameters.allowed_batch_sizes
    if allowed and allowed[-1] != most:
        raise InvalidArgumentError(
            "Last entry in allowed_batch_sizes must match max_batch_size; "
            f"last entry was {allowed[-1]}; expected {most}"
        )
    if most < 1:
        raise InvalidArgumentError(f"input_batch_size_limit must be positive; was {most}")
    if parameters.batch_timeout_micros < 0:
        raise InvalidArgumentError(
            f"batch_timeout_micros must be non-negative; was {parameters.batch_timeout_micros}"
        )
    splitting, waiting = parameters.enable_large_batch_splitting, parameters.max_enqueued_batches
    if waiting < (1 if splitting else 0):
        raise InvalidArgumentError(f"max_enqueued_batches must be positive; was {waiting}")
    if not splitting:
        return
    executed = _max_execution_batch_size(parameters)
    if executed < 1:
        raise InvalidArgumentError(f"max_execution_batch_size must be positive; was {executed}")
    if executed > most:
        raise InvalidArgumentError(
            "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal to "
            f"max_execution_batch_size. input_batch_size_limit was {most}; max_execution_batch_size was {executed}"
        )


def limits_of(parameters: BatchingParameters) -> QueueLimits:
    """What the queues of a version work by; the parameters have been checked."""
    splitting = parameters.enable_large_batch_splitting
    most = parameters.max_batch_size
    return QueueLimits(
        max_task_rows=most,
        max_batch_rows=_max_execution_batch_size(parameters) if splitting else most,
        timeout_s=parameters.batch_timeout_micros / 1e6,
        max_batches=max(1, parameters.max_enqueued_batches),
        splitting=splitting,
    )


def next_batch_size(rows: int, allowed: Sequence[int]) -> int:
    """Round a batch up to the first allowed size that holds it.

    Args:
        rows: Of the batch, >= 1.
        allowed: Sizes in rows, in ascending order; empty means every size is allowed.

    Returns:
        Rows to execute, >= rows; rows itself when it exceeds every allowed size.

    Source: TensorFlow Serving, batching/batching_util.cc (RoundToLowestAllowedBatchSize).
    """
    return next((size for size in allowed if size >= rows), rows)


class StaticPolicy:
    """A policy of fixed numbers, for any number of queues.

    Raises:
        InvalidArgumentError: The parameters are wrong.
    """

    refuses = True

    def __init__(self, parameters: BatchingParameters) -> None:
        check(parameters)
        self.limits = limits_of(parameters)
        self.pads_inner_dimensions = parameters.pad_variable_length_inputs
        self._allowed = parameters.allowed_batch_sizes

    def new_queue(self) -> BatchQueue[Member]:
        return BatchQueue(self)

    def padded_rows(self, rows: int) -> int:
        return next_batch_size(rows, self._allowed)


def _max_execution_batch_size(parameters: BatchingParameters) -> int:
    executed = parameters.max_execution_batch_size
    return parameters.max_batch_size if executed is None else executed
