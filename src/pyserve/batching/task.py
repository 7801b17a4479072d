"""One request's work for a model: the inputs on the way in, outputs or an error on the way out.

Two things end a task, and they are not the same. It is *answered* once: by the thread that ran it, or earlier
by a timer or a caller that gave up. It *ends* when the thread that took it is through with it, and only then
is the servable handle given back: a version is never unloaded under a running model, even if nobody waits
for the answer any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence

from pyserve.batching import layout
from pyserve.batching.layout import Layout
from pyserve.dtypes import Array
from pyserve.errors import TIMED_OUT, DeadlineExceededError, ServingError, as_serving_error
from pyserve.servable import ServableHandle


class Task:
    """A run of one signature, waiting, running or answered.

    Args:
        handle: Right to use the servable; the task owns it from now on.
        signature_key: Which signature to run.
        inputs: Validated arrays by alias, defaults filled in.
        outputs: Aliases wanted.
        deadline: Point on `time.monotonic()` after which nobody waits for the answer; None: no limit.

    `on_answer(task)` is called once, on the thread that answers; set it before submitting. From then on exactly
    one of `result` and `error` is not None. `answer` may be called from any thread.

    `submitted_at` and `answered_at` are points on `time.perf_counter()`, for metrics; whoever submits sets the first.
    A queue notes `queued_at`, a point on `time.monotonic()`.
    """

    __slots__ = (
        "_answered", "answered_at", "deadline", "error", "handle", "inputs", "on_answer", "outputs", "queued_at",
        "result", "signature_key", "submitted_at",
    )  # fmt: skip

    def __init__(
        self,
        handle: ServableHandle,
        signature_key: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        deadline: float | None = None,
    ) -> None:
        self.handle = handle
        self.signature_key = signature_key
        self.inputs = inputs
        self.outputs = outputs
        self.deadline = deadline
        self.result: dict[str, Array] | None = None
        self.error: ServingError | None = None
        self.on_answer: Callable[[Task], None] | None = None
        self.submitted_at = self.answered_at = self.queued_at = 0.0
        self._answered = threading.Lock()  # taken once and never given back: the right to answer

    @property
    def answered(self) -> bool:
        return self._answered.locked()

    def time_left(self) -> float:
        """Seconds until the deadline, negative once it has passed; infinite without one."""
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()

    def answer(self, result: dict[str, Array] | None, error: ServingError | None = None) -> bool:
        """Answer the caller, unless somebody did already; returns whether this call was the one."""
        if not self._answered.acquire(blocking=False):
            return False
        self.result = result
        self.error = error
        if error is not None:
            # It would hold the frames that it passed through, and they the arrays of the request, in a cycle.
            error.__traceback__ = error.__cause__ = error.__context__ = None
        self.answered_at = time.perf_counter()
        if self.on_answer is not None:
            self.on_answer(self)
        return True

    def expire(self) -> bool:
        """Answer with DEADLINE_EXCEEDED; a model that is already running runs on, unobserved."""
        return self.answer(None, DeadlineExceededError(TIMED_OUT))

    def drop(self, error: ServingError) -> None:
        """End a task that will never run."""
        self.answer(None, error)
        self.end()

    def end(self) -> None:
        """Let go of the inputs and the servable. Called by the thread that took the task, when it is through."""
        self.inputs = {}
        self.handle.release()

    def batch_key(self) -> Hashable | None:
        """Tasks of one version with equal keys have equal layouts; None: it runs alone."""
        return self.signature_key, tuple(self.outputs)

    def layout(self) -> Layout:
        """How it lies in a batch; only for tasks with a `batch_key`."""
        return layout.of_signature(self.handle.servable, self.signature_key, self.outputs)

    def compute(self, inputs: Mapping[str, Array], timeout_s: float | None) -> dict[str, Array]:
        """Have the servable compute the outputs, on this thread.

        Args:
            inputs: This task's, or those of a batch that it runs in, by the same names.

        Raises:
            ServingError: The model's failure.
        """
        return self.handle.servable.run(self.signature_key, inputs, self.outputs, timeout_s)

    def is_over(self, now: float) -> bool:
        """Whether it need not run at `now`, on `time.monotonic()`: it was answered, or its deadline has passed.

        One that is late is answered with DEADLINE_EXCEEDED.
        """
        if not self.answered and self.deadline is not None and now >= self.deadline:
            self.expire()
        return self.answered

    def run(self) -> None:
        """Run the signature on this thread, answer, and end the task. Never raises.

        A task that was answered meanwhile, or whose deadline has passed, is not run.
        """
        try:
            now = time.monotonic()
            if not self.is_over(now):
                timeout_s = None if self.deadline is None else self.deadline - now
                self.answer(self.compute(self.inputs, timeout_s))
        except Exception as error:  # a broken servable must not take its thread along
            self.answer(None, as_serving_error(error))
        finally:
            self.end()
