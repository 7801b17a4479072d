"""The queue places, closes, times, cuts and refuses tasks as TensorFlow Serving's does; time is an argument."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from pyserve.batching.queue import Batch, BatchQueue, QueueLimits
from pyserve.errors import InvalidArgumentError, ServingError, UnavailableError

LIMITS = QueueLimits(max_task_rows=4, max_batch_rows=4, timeout_s=0.5, max_batches=3)
CUTTING = QueueLimits(max_task_rows=20, max_batch_rows=4, timeout_s=0.5, max_batches=3, splitting=True)


@dataclass
class Changing:
    """A policy that changes its mind when it is told to."""

    limits: QueueLimits


def a_queue(limits: QueueLimits = LIMITS) -> BatchQueue[str]:
    return BatchQueue(Changing(limits))


def shown(batch: Batch[str] | None) -> list[str] | None:
    """Entries as `name`, or `name[start:stop]` where they were cut."""
    if batch is None:
        return None
    assert batch.rows == sum(stop - start for _, start, stop in batch.entries)
    return [f"{name}[{start}:{stop}]" for name, start, stop in batch.entries]


def taken(queue: BatchQueue[str], now: float) -> list[list[str]]:
    """All batches that are due."""
    batches = []
    while (batch := shown(queue.take(now))) is not None:
        batches.append(batch)
    return batches


def test_an_open_batch_waits_for_its_time() -> None:
    """Not due before the first task has waited for the timeout, and then at once."""
    queue = a_queue()
    assert (queue.wake_at(), queue.due(0.0), queue.take(0.0)) == (None, False, None)
    assert queue.offer("a", 1, now=1.0) == 1
    queue.offer("b", 1, now=1.4)
    assert queue.wake_at() == 1.5
    assert not queue.due(1.49)
    assert queue.take(1.49) is None
    assert queue.due(1.5)
    assert shown(queue.take(1.5)) == ["a[0:1]", "b[0:1]"]
    assert (queue.wake_at(), queue.due(9.0)) == (None, False)


def test_without_a_timeout_everything_is_due() -> None:
    """Timeout 0: whatever waits runs as soon as a thread is free, and tasks that wait together run together."""
    queue = a_queue(replace(LIMITS, timeout_s=0.0))
    queue.offer("a", 1, now=1.0)
    queue.offer("b", 2, now=1.0)
    assert taken(queue, 1.0) == [["a[0:1]", "b[0:2]"]]


def test_a_full_batch_is_due_at_once() -> None:
    """A task that exactly fills the batch makes it ready."""
    queue = a_queue()
    queue.offer("a", 3, now=1.0)
    assert not queue.due(1.0)
    queue.offer("b", 1, now=1.0)
    assert taken(queue, 1.0) == [["a[0:3]", "b[0:1]"]]


def test_what_does_not_fit_closes_the_batch() -> None:
    """The closed batch is due though it is not full; the new one waits, for the time of its own first task."""
    queue = a_queue()
    queue.offer("a", 3, now=1.0)
    queue.offer("b", 2, now=1.2)
    queue.offer("c", 1, now=1.3)
    assert queue.wake_at() == 1.7
    assert taken(queue, 1.3) == [["a[0:3]"]]
    assert taken(queue, 1.7) == [["b[0:2]", "c[0:1]"]]


def test_closed_batches_go_first_and_in_order() -> None:
    """The oldest batch runs first."""
    queue = a_queue()
    for name in "abc":
        queue.offer(name, 3, now=1.0)
    assert taken(queue, 1.0) == [["a[0:3]"], ["b[0:3]"]]
    assert taken(queue, 2.0) == [["c[0:3]"]]


@pytest.mark.parametrize("limits", [LIMITS, CUTTING])
def test_too_large(limits: QueueLimits) -> None:
    """A task above the limit of a request is refused, splitting or not, and nothing is left of it."""
    queue = a_queue(limits)
    most = limits.max_task_rows
    with pytest.raises(InvalidArgumentError) as caught:
        queue.offer("a", most + 1, now=1.0)
    assert caught.value.message == f"Task size {most + 1} is larger than maximum input batch size {most}"
    queue.shut()
    assert not queue.due(1.0)


def test_full_without_splitting() -> None:
    """A task is refused when it needs another batch and there are enough; one that fits is taken however many wait."""
    queue = a_queue()
    for name in "abc":
        queue.offer(name, 3, now=1.0)
    with pytest.raises(UnavailableError) as caught:
        queue.offer("d", 2, now=1.0)
    assert caught.value.message == (
        "The batch scheduling queue to which this task was submitted is full; currently 3 batches enqueued and "
        "max_enqueued_batches is 3"
    )
    queue.offer("e", 1, now=1.0)
    assert taken(queue, 9.0) == [["a[0:3]"], ["b[0:3]"], ["c[0:3]", "e[0:1]"]]


def test_one_enqueued_batch() -> None:
    """max_enqueued_batches = 1 allows only one open batch at a time; batches that run do not count."""
    queue = a_queue(replace(LIMITS, max_batches=1))
    queue.offer("a", 4, now=1.0)
    with pytest.raises(UnavailableError):
        queue.offer("b", 1, now=1.0)
    assert taken(queue, 1.0) == [["a[0:4]"]]
    queue.offer("b", 1, now=1.0)


def test_full_with_splitting() -> None:
    """What counts is the room in the batches that may still come, and in the open one."""
    queue = a_queue(CUTTING)
    queue.offer("a", 5, now=1.0)
    with pytest.raises(UnavailableError) as caught:
        queue.offer("b", 8, now=1.0)
    assert caught.value.message == (
        "The batch scheduling queue to which this task was submitted is full; task size is 8 but scheduling "
        "capacity is only 7 (num_enqueued_batches=2, max_enqueued_batches=3, open_batch_size=1, "
        "max_execution_batch_size=4)"
    )
    assert queue.offer("b", 7, now=1.0) == 2
    assert taken(queue, 9.0) == [["a[0:4]"], ["a[4:5]", "b[0:3]"], ["b[3:7]"]]


@pytest.mark.parametrize(
    ("before", "rows", "pieces"),
    [
        (0, 4, [["b[0:4]"]]),
        (0, 9, [["b[0:4]"], ["b[4:8]"], ["b[8:9]"]]),
        (1, 3, [["a[0:1]", "b[0:3]"]]),
        (1, 9, [["a[0:1]", "b[0:3]"], ["b[3:7]"], ["b[7:9]"]]),
        (4, 5, [["a[0:4]"], ["b[0:4]"], ["b[4:5]"]]),
    ],
)
def test_pieces(before: int, rows: int, pieces: list[list[str]]) -> None:
    """The first piece fills the room that is left, or a batch if there is none; the last one is the rest."""
    queue = a_queue(CUTTING)
    if before:
        queue.offer("a", before, now=1.0)
    count = queue.offer("b", rows, now=1.0)
    batches = taken(queue, 9.0)
    assert batches == pieces
    assert count == sum(name.startswith("b") for batch in batches for name in batch)


def test_shut() -> None:
    """What waits is due at once, and nothing is taken in any more."""
    queue = a_queue()
    queue.offer("a", 1, now=1.0)
    queue.shut()
    with pytest.raises(ServingError, match="The server is shutting down"):
        queue.offer("b", 1, now=1.0)
    assert queue.due(1.0)
    assert taken(queue, 1.0) == [["a[0:1]"]]
    assert not queue.due(1.0)


def test_a_policy_may_change_its_mind() -> None:
    """QueueLimits are those of the moment; a task larger than a batch, when it is not cut, is a batch of its own."""
    policy = Changing(replace(LIMITS, max_task_rows=100))
    queue: BatchQueue[str] = BatchQueue(policy)
    queue.offer("a", 2, now=1.0)
    queue.offer("b", 7, now=1.0)
    policy.limits = replace(policy.limits, max_batch_rows=16)
    queue.offer("c", 5, now=1.0)
    assert taken(queue, 9.0) == [["a[0:2]"], ["b[0:7]", "c[0:5]"]]
    queue.offer("d", 1, now=1.0)
    policy.limits = replace(policy.limits, timeout_s=0.0)
    assert queue.due(1.0)
