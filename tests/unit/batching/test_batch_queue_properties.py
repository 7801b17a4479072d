"""Whatever is offered and taken in whatever order: no row is lost, none comes twice, and limits and times are held."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from pyserve.batching.queue import BatchQueue, QueueLimits
from pyserve.errors import InvalidArgumentError, UnavailableError


@dataclass
class Fixed:
    limits: QueueLimits


LIMITS = st.builds(
    lambda most, extra, timeout_ms, waiting, splitting: QueueLimits(
        most + extra if splitting else most, most, timeout_ms / 1000, waiting, splitting
    ),
    st.integers(1, 8), st.integers(0, 20), st.integers(0, 5), st.integers(1, 4), st.booleans(),
)  # fmt: skip
OFFERS, WAITS, TAKES = st.integers(1, 30), st.integers(0, 4), st.just("take")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), OFFERS), st.tuples(st.just("wait"), WAITS), st.tuples(TAKES, st.just(0))
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(LIMITS, STEPS)
def test_rows_limits_and_times(limits: QueueLimits, steps: list[tuple[str, int]]) -> None:
    """Every accepted row comes out once, in order; no batch is too large; due means due.

    A thread that takes whenever the queue says so never leaves a task waiting beyond the timeout.
    """
    queue: BatchQueue[int] = BatchQueue(Fixed(limits))
    now = 0.0
    accepted: dict[int, int] = {}
    arrived: dict[int, float] = {}
    ran: dict[int, list[int]] = {}
    order: list[int] = []

    def take() -> None:
        was_due = queue.due(now)
        batch = queue.take(now)
        assert (batch is not None) is was_due
        if batch is None:
            return
        assert 0 < batch.rows <= limits.max_batch_rows
        assert batch.rows == sum(stop - start for _, start, stop in batch.entries)
        for item, start, stop in batch.entries:
            assert start < stop
            ran.setdefault(item, []).extend(range(start, stop))
            order.append(item)

    def waiting() -> list[int]:
        return [item for item, rows in accepted.items() if len(ran.get(item, ())) < rows]

    for number, (step, amount) in enumerate(steps):
        if step == "offer":
            try:
                queue.offer(number, amount, now)
            except InvalidArgumentError:
                assert amount > limits.max_task_rows
            except UnavailableError:
                assert amount <= limits.max_task_rows
                # An empty queue has room, but for what no number of batches could hold.
                assert waiting() or amount > limits.max_batches * limits.max_batch_rows
            else:
                accepted[number] = amount
                arrived[number] = now
        elif step == "wait":
            # A free thread: it sleeps no longer than `wake_at`, and takes what is due then.
            until = now + amount / 1000
            while queue.due(now):
                take()
            while (at := queue.wake_at()) is not None and at <= until:
                now = max(now, at)
                take()
            now = until
            assert not [item for item in waiting() if now >= arrived[item] + limits.timeout_s]
        else:
            take()
    queue.shut()
    while queue.due(now):
        take()
    assert ran == {item: list(range(rows)) for item, rows in accepted.items()}
    assert order == sorted(order)
