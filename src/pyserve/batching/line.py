"""Where the tasks of one kind wait for a thread, and how they are run when they get one.

Two kinds with one interface: in a `SingleLine` every task runs alone, in a `BatchLine` they share batches. Both leave
locking to the scheduler: everything but `run` is called under its lock.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from pyserve.batching.batch_run import run_batch
from pyserve.batching.member import Member
from pyserve.batching.policy import QueueRules
from pyserve.batching.queue import Batch
from pyserve.batching.task import Task

Run = Callable[[], None]
"""What a line gives to a thread. It answers and ends its tasks, and never raises."""


class Line(Protocol):
    """What a turn is given to. Times are on `time.monotonic()`."""

    def due(self, now: float) -> bool:
        """Whether there is something to run at once."""
        ...

    def wake_at(self) -> float | None:
        """When something becomes due by itself; None when nothing does."""
        ...

    def take(self, now: float) -> Run | None:
        """The next thing to run, or None."""
        ...

    def shut(self) -> None:
        """Everything that waits is due."""
        ...


class SingleLine:
    """Tasks that run alone, in the order of their arrival."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: deque[Task] = deque()

    def offer(self, task: Task) -> None:
        self._tasks.append(task)

    def due(self, now: float) -> bool:
        return bool(self._tasks)

    def wake_at(self) -> None:
        return None

    def take(self, now: float) -> Run | None:
        return self._tasks.popleft().run if self._tasks else None

    def shut(self) -> None:
        pass


class BatchLine:
    """Tasks that share batches.

    Args:
        rules: Of its queue.
        repeatable: Whether its model may be run again after a failure.
    """

    __slots__ = ("_queue", "_repeatable", "_rules")

    def __init__(self, rules: QueueRules, *, repeatable: bool) -> None:
        self._queue = rules.policy.new_queue()
        self._rules = rules
        self._repeatable = repeatable

    def offer(self, member: Member, now: float) -> None:
        """Let a task wait.

        Raises:
            InvalidArgumentError, UnavailableError: The queue's refusal.
        """
        member.task.queued_at = now
        pieces = self._queue.offer(member, member.rows, now)
        if pieces > 1:
            member.was_cut(pieces)

    def due(self, now: float) -> bool:
        return self._queue.due(now)

    def wake_at(self) -> float | None:
        return self._queue.wake_at()

    def take(self, now: float) -> Run | None:
        batch = self._queue.take(now)
        if batch is None:
            return None
        return lambda: self._run(batch)

    def _run(self, batch: Batch[Member]) -> None:
        try:
            run_batch(batch.entries, self._rules, repeatable=self._repeatable)
        finally:
            self._queue.ended(batch, time.monotonic())

    def shut(self) -> None:
        self._queue.shut()
