"""What a queue asks about its batches, and whom it tells about them. `parameters.py` has the policy of fixed numbers.

A queue asks anew at every task, so a policy may learn from the runs that it is told about and change its mind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


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


class BatchRun(NamedTuple):
    """One run of a batch, successful or not.

    Attributes:
        rows: Of the tasks.
        padded_rows: The same with padding: what the model was given.
        waits_s: How long each task had waited, in seconds.
        ran_s: Merging, model and splitting, in seconds.
    """

    rows: int
    padded_rows: int
    waits_s: Sequence[float]
    ran_s: float


class Policy(Protocol):
    """Decides for one queue, or for several. Methods may be called from any thread."""

    @property
    def limits(self) -> QueueLimits:
        """What holds for the next task."""
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
