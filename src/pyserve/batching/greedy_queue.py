"""Where tasks wait whose batches are made up when they leave: of everything there is, up to the limit of that moment.

The queue of adaptive batching. Pure: time is an argument. Nothing is refused and nothing is cut, unless a limit of
waiting rows is given.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

from pyserve.batching.queue import QUEUE_FULL, Batch, Entry
from pyserve.errors import SHUTTING_DOWN, QueueFullError, UnavailableError

T = TypeVar("T")


class Gate(Protocol):
    """What the queue needs of a policy; see `adaptive.py`."""

    @property
    def limit(self) -> int: ...

    def may_begin(self, now: float) -> bool: ...

    def may_begin_at(self) -> float: ...

    def began(self, now: float) -> int: ...

    def ended(self, number: int, now: float, rows: int, tasks: int) -> None: ...


class GreedyQueue(Generic[T]):
    """Tasks in the order of their arrival. Not thread-safe.

    Args:
        policy: Says how large a batch may be, and whether one may leave; is told of each that does.
        max_waiting_rows: Beyond so many a task is refused, unless it is the only one; None: never.
    """

    __slots__ = ("_arrivals", "_entries", "_max_waiting_rows", "_policy", "_rows", "_running", "_shut")

    def __init__(self, policy: Gate, max_waiting_rows: int | None = None) -> None:
        self._policy = policy
        self._max_waiting_rows = max_waiting_rows
        self._entries: deque[Entry[T]] = deque()
        self._arrivals: deque[float] = deque()
        self._rows = 0
        self._running: dict[Batch[T], int] = {}
        self._shut = False

    def offer(self, task: T, rows: int, now: float) -> int:
        """Take a task in.

        Args:
            rows: Its rows, >= 1.

        Returns:
            Into how many entries it was cut: 1.

        Raises:
            UnavailableError: The queue is full, or was shut.
        """
        if self._shut:
            raise UnavailableError(SHUTTING_DOWN)
        most = self._max_waiting_rows
        if most is not None and self._entries and self._rows + rows > most:
            raise QueueFullError(f"{QUEUE_FULL}{self._rows} rows are waiting and at most {most} may")
        self._entries.append((task, 0, rows))
        self._arrivals.append(now)
        self._rows += rows
        return 1

    def due(self, now: float) -> bool:
        """Whether a batch is to be run at once if a thread is free."""
        return bool(self._entries) and (self._shut or self._policy.may_begin(now))

    def wake_at(self) -> float | None:
        """When a batch becomes due that is not yet, because others run; None when nothing waits."""
        return self._policy.may_begin_at() if self._entries else None

    def take(self, now: float) -> Batch[T] | None:
        """The next batch, to be handed to `ended` later; None when none is due."""
        if not self.due(now):
            return None
        entries, limit = self._entries, self._policy.limit
        batch: Batch[T] = Batch()
        batch.arrived = self._arrivals[0]
        while entries:
            rows = entries[0][2]
            if batch.rows and batch.rows + rows > limit:
                break
            batch.entries.append(entries.popleft())
            self._arrivals.popleft()
            batch.rows += rows
        self._rows -= batch.rows
        self._running[batch] = self._policy.began(now)
        return batch

    def ended(self, batch: Batch[T], now: float) -> None:
        """A batch is through, whatever became of it. Any thread: taking from a dictionary is one step."""
        self._policy.ended(self._running.pop(batch), now, batch.rows, len(batch.entries))

    def shut(self) -> None:
        """Take nothing in any more; what waits is due."""
        self._shut = True
