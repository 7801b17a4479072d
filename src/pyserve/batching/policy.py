"""What a queue asks about its batches, and whom it tells about them.

`parameters.py` has the policy of fixed numbers, `adaptive.py` the one that learns. A queue asks anew at every task, so
a policy may change its mind.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pyserve.batching.member import Member
from pyserve.batching.queue import TaskQueue


class Outcome(enum.Enum):
    """What became of a run."""

    DONE = enum.auto()
    FAILED = enum.auto()
    INDIVISIBLE = enum.auto()  # the model gave something that cannot be told apart row by row


class BatchRun(NamedTuple):
    """One run of a batch, successful or not.

    Attributes:
        rows: Of the tasks.
        padded_rows: The same with padding: what the model was given.
        waits_s: How long each task had waited, in seconds.
        ran_s: Merging, model and splitting, in seconds.
        outcome: Whether the tasks got what they asked for.
    """

    rows: int
    padded_rows: int
    waits_s: Sequence[float]
    ran_s: float
    outcome: Outcome = Outcome.DONE


class Policy(Protocol):
    """Decides for one queue, or for several. Methods may be called from any thread."""

    @property
    def refuses(self) -> bool:
        """Whether a task that cannot share a batch is refused, as in TensorFlow Serving. Else it runs alone."""
        ...

    def new_queue(self) -> TaskQueue[Member]:
        """A queue that works by this policy."""
        ...

    @property
    def pads_inner_dimensions(self) -> bool:
        """Whether tasks of different inner shapes are padded to run together."""
        ...

    def padded_rows(self, rows: int) -> int:
        """Rows to execute for a batch of `rows` >= 1; no less."""
        ...


class Observer(Protocol):
    """Is told about one queue, or about several. Methods may be called from any thread; they never raise or block."""

    def taken(self, rows: Sequence[int], tensors: int) -> None:
        """Tasks of so many rows each, with so many input tensors, leave the queue.

        A task that was cut is among them once, whole; so is one that nobody waits for any more, and that will not run.
        """
        ...

    def ran(self, run: BatchRun) -> None:
        """A batch was run."""
        ...


class QueueRules(NamedTuple):
    """What a new queue needs to know."""

    policy: Policy
    observer: Observer


class Observers:
    """Several observers as one.

    Args:
        observers: Each is told everything, in this order.
    """

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def taken(self, rows: Sequence[int], tensors: int) -> None:
        for observer in self._observers:
            observer.taken(rows, tensors)

    def ran(self, run: BatchRun) -> None:
        for observer in self._observers:
            observer.ran(run)
