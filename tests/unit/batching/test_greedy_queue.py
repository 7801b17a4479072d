"""The queue of adaptive batching: everything that waits leaves together, nothing is lost, turned round or held back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserve.batching.adaptive import AdaptivePolicy
from pyserve.batching.greedy_queue import GreedyQueue
from pyserve.batching.queue import Batch
from pyserve.errors import UnavailableError

Queue = GreedyQueue[int]


def learned(limit: int, max_width: int = 1) -> AdaptivePolicy:
    """A policy that has learned to allow batches of `limit` rows."""
    policy = AdaptivePolicy(0.5, limit, max_width)
    for _ in range(100):
        policy.learn(policy.limit, 0.01)
    assert policy.limit == limit
    return policy


def tasks_of(batch: Batch[int] | None) -> list[int]:
    assert batch is not None
    return [task for task, _, _ in batch.entries]


def test_a_single_task_leaves_at_once() -> None:
    """Nothing is waited for."""
    queue = Queue(learned(8))
    assert not queue.due(0.0)
    assert queue.wake_at() is None
    queue.offer(1, 1, 0.0)
    assert queue.due(0.0)
    assert tasks_of(queue.take(0.0)) == [1]


def test_what_arrives_during_a_run_leaves_together() -> None:
    """While a batch runs others gather; when it has ended they go, up to the limit."""
    queue = Queue(learned(8))
    queue.offer(0, 1, 0.0)
    running = queue.take(0.0)
    assert running is not None
    for task in range(1, 12):
        queue.offer(task, 1, 0.1)
    assert queue.take(0.2) is None
    queue.ended(running, 0.3)
    second = queue.take(0.3)
    assert tasks_of(second) == list(range(1, 9))
    assert second is not None
    assert (second.rows, second.arrived) == (8, 0.1)
    queue.ended(second, 0.4)
    assert tasks_of(queue.take(0.4)) == [9, 10, 11]


def test_the_limit_of_the_moment_counts() -> None:
    """A limit that was learned while tasks waited holds for them."""
    policy = AdaptivePolicy(0.5, 8, 1)
    queue = Queue(policy)
    for task in range(8):
        queue.offer(task, 1, 0.0)
    for _ in range(100):
        policy.learn(policy.limit, 0.01)
    assert tasks_of(queue.take(1.0)) == list(range(8))


def test_a_large_task_goes_alone_and_whole() -> None:
    """A task above the limit is neither refused nor cut, and takes nobody along."""
    queue = Queue(learned(8))
    for task, rows in ((1, 3), (2, 100), (3, 1)):
        assert queue.offer(task, rows, 0.0) == 1
    batches = []
    while (batch := queue.take(0.0)) is not None:
        queue.ended(batch, 0.0)
        batches.append(tasks_of(batch))
    assert batches == [[1], [2], [3]]


def test_a_stuck_run_lets_others_pass_in_time() -> None:
    """The queue says when to look again although nothing has ended."""
    queue = Queue(learned(8))
    queue.offer(1, 1, 0.0)
    queue.take(0.0)
    queue.offer(2, 1, 0.1)
    assert not queue.due(0.1)
    again = queue.wake_at()
    assert again is not None
    assert not queue.due(again - 0.01)
    assert tasks_of(queue.take(again)) == [2]


def test_full() -> None:
    """With a limit of waiting rows what does not fit is refused, unless nothing else waits."""
    queue = Queue(learned(8), max_waiting_rows=10)
    queue.offer(1, 50, 0.0)
    with pytest.raises(UnavailableError, match="50 rows are waiting and at most 10 may"):
        queue.offer(2, 1, 0.0)
    queue.take(0.0)
    for task in range(10):
        queue.offer(task, 1, 0.0)
    with pytest.raises(UnavailableError, match="queue to which this task was submitted is full"):
        queue.offer(99, 1, 0.0)


def test_shut() -> None:
    """After the end what waits may leave, whatever runs, and nothing comes in."""
    queue = Queue(learned(8))
    queue.offer(1, 1, 0.0)
    queue.take(0.0)
    queue.offer(2, 1, 0.0)
    queue.shut()
    assert tasks_of(queue.take(0.0)) == [2]
    with pytest.raises(UnavailableError):
        queue.offer(3, 1, 0.0)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["offer", "take", "end"]), st.integers(1, 40)), max_size=120),
    st.integers(1, 3),
)
def test_nothing_is_lost_or_turned_round(steps: list[tuple[str, int]], max_width: int) -> None:
    """Every task leaves once, in order; no batch of several tasks is above the limit, and never more than may run."""
    policy = learned(16, max_width)
    queue: GreedyQueue[tuple[int, int]] = GreedyQueue(policy)
    running: list[Batch[tuple[int, int]]] = []
    left: list[tuple[int, int]] = []
    offered: list[tuple[int, int]] = []
    for now, (step, rows) in enumerate(steps):
        if step == "offer":
            offered.append((len(offered), rows))
            queue.offer(offered[-1], rows, 0.001 * now)
        elif step == "take" and (batch := queue.take(0.001 * now)) is not None:
            assert len(batch.entries) == 1 or batch.rows <= policy.limit
            assert batch.rows == sum(task[1] for task, _, _ in batch.entries)
            left += [task for task, _, _ in batch.entries]
            running.append(batch)
            assert len(running) <= max_width
        elif step == "end" and running:
            queue.ended(running.pop(0), 0.001 * now)
    queue.shut()
    while (batch := queue.take(1e6)) is not None:
        left += [task for task, _, _ in batch.entries]
    assert left == offered
