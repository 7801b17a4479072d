"""Where tasks wait and become batches. Pure: time is an argument, nothing here knows threads, clocks or models.

A queue ends with one open batch, which takes tasks in; before it stand closed ones, oldest first. Tasks are never
reordered, and cut only where the policy allows it. Times are points in seconds on one clock of the caller's choice.

Source: TensorFlow, core/kernels/batching_util/shared_batch_scheduler.h.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from pyserve.errors import SHUTTING_DOWN, InvalidArgumentError, QueueFullError, UnavailableError

T = TypeVar("T")

QUEUE_FULL = "The batch scheduling queue to which this task was submitted is full; "


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How large and how old batches become.

    Attributes:
        max_task_rows: A larger task is refused.
        max_batch_rows: Rows of a full batch. A larger task is cut with `splitting`, and a batch of its own without.
        timeout_s: The oldest task of a batch that is not full waits at most so long for others, >= 0.
        max_batches: Batches that may wait, the open one included, >= 1.
        splitting: Whether tasks may be cut.
    """

    max_task_rows: int
    max_batch_rows: int
    timeout_s: float
    max_batches: int
    splitting: bool = False


class HasLimits(Protocol):
    """What a queue needs of a policy."""

    @property
    def limits(self) -> QueueLimits: ...


Entry: TypeAlias = tuple[T, int, int]
"""(task, start, stop): rows of a task, all of them unless it was cut. A plain tuple, for each request makes one."""


class Batch(Generic[T]):
    """Tasks that run together, in the order of their arrival.

    Attributes:
        entries: What it holds.
        rows: Of all entries.
        arrived: When its first entry came.
    """

    __slots__ = ("arrived", "entries", "rows")

    def __init__(self) -> None:
        self.entries: list[Entry[T]] = []
        self.rows = 0
        self.arrived = 0.0


class TaskQueue(Protocol[T]):
    """What every queue does; see `BatchQueue`."""

    def offer(self, task: T, rows: int, now: float) -> int: ...

    def due(self, now: float) -> bool: ...

    def wake_at(self) -> float | None: ...

    def take(self, now: float) -> Batch[T] | None: ...

    def ended(self, batch: Batch[T], now: float) -> None: ...

    def shut(self) -> None: ...


class BatchQueue(Generic[T]):
    """Tasks on their way into batches. Not thread-safe.

    Args:
        policy: Its limits hold for each task that is offered, and may change in between.
    """

    __slots__ = ("_closed", "_open", "_policy", "_shut")

    def __init__(self, policy: HasLimits) -> None:
        self._policy = policy
        self._closed: deque[Batch[T]] = deque()
        self._open: Batch[T] = Batch()
        self._shut = False

    def offer(self, task: T, rows: int, now: float) -> int:
        """Take a task in.

        Args:
            rows: Its rows, >= 1.

        Returns:
            Into how many entries it was cut; 1 when it stayed whole.

        Raises:
            InvalidArgumentError: It is too large.
            UnavailableError: The queue is full, or was shut.
        """
        if self._shut:
            raise UnavailableError(SHUTTING_DOWN)
        limits = self._policy.limits
        if rows > limits.max_task_rows:
            raise InvalidArgumentError(
                f"Task size {rows} is larger than maximum input batch size {limits.max_task_rows}"
            )
        open_rows = self._open.rows
        fits = open_rows + rows <= limits.max_batch_rows
        if limits.splitting:
            if not fits:
                return self._cut(task, rows, now, limits)
        elif not fits and open_rows:
            batches = len(self._closed) + 1
            if batches >= limits.max_batches:
                raise QueueFullError(
                    f"{QUEUE_FULL}currently {batches} batches enqueued and max_enqueued_batches is {limits.max_batches}"
                )
            self._close_open()
        self._add(task, 0, rows, now)
        return 1

    def due(self, now: float) -> bool:
        """Whether a batch is to be run at once if a thread is free."""
        if self._closed:
            return True
        rows = self._open.rows
        if not rows:
            return False
        limits = self._policy.limits
        return rows >= limits.max_batch_rows or now >= self._open.arrived + limits.timeout_s or self._shut

    def wake_at(self) -> float | None:
        """When a batch becomes due that is not yet; None when nothing waits for its time."""
        if not self._open.rows:
            return None
        return self._open.arrived + self._policy.limits.timeout_s

    def take(self, now: float) -> Batch[T] | None:
        """The oldest batch that is due, or None."""
        if self._closed:
            return self._closed.popleft()
        if not self.due(now):
            return None
        batch, self._open = self._open, Batch()
        return batch

    def ended(self, batch: Batch[T], now: float) -> None:
        """A batch is through. Any thread; nothing depends on it here."""

    def shut(self) -> None:
        """Take nothing in any more; what waits is due."""
        self._shut = True

    def _cut(self, task: T, rows: int, now: float, limits: QueueLimits) -> int:
        most, open_rows, batches = limits.max_batch_rows, self._open.rows, len(self._closed) + 1
        room = max(0, most - open_rows)
        capacity = (limits.max_batches - batches) * most + room
        if rows > capacity:
            raise QueueFullError(
                f"{QUEUE_FULL}task size is {rows} but scheduling capacity is only {capacity} "
                f"(num_enqueued_batches={batches}, max_enqueued_batches={limits.max_batches}, "
                f"open_batch_size={open_rows}, max_execution_batch_size={most})"
            )
        pieces = start = 0
        while start < rows:
            if self._open.rows >= most:
                self._close_open()
            stop = min(rows, start + most - self._open.rows)
            self._add(task, start, stop, now)
            start = stop
            pieces += 1
        return pieces

    def _add(self, task: T, start: int, stop: int, now: float) -> None:
        batch = self._open
        if not batch.rows:
            batch.arrived = now
        batch.entries.append((task, start, stop))
        batch.rows += stop - start

    def _close_open(self) -> None:
        self._closed.append(self._open)
        self._open = Batch()
