"""The threads that run models. Tasks go in from any thread; each is answered on the thread that ran it.

Unbatched execution: every task runs alone, in the order of arrival, as many at a time as there are threads.
TensorFlow releases Python's lock while it works, so the threads really run side by side.
"""

from __future__ import annotations

import logging
import queue
import threading
import time

from pyserve.batching.task import Task
from pyserve.errors import SHUTTING_DOWN, UnavailableError

logger = logging.getLogger(__name__)


class Scheduler:
    """A pool of daemon threads in front of one queue.

    Args:
        num_threads: Model runs at the same time, >= 1.

    Thread-safety: `submit` may be called from any thread between `start` and `stop`; after `stop` it answers
    the task with UNAVAILABLE.
    """

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads
        self._queue: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        # Guards _stopped together with the puts, so that no task can slip in behind the stop marks.
        self._lock = threading.Lock()
        self._stopped = False

    def start(self) -> None:
        for number in range(self._num_threads):
            thread = threading.Thread(target=self._work, name=f"pyserve-run-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def submit(self, task: Task) -> None:
        with self._lock:
            if not self._stopped:
                self._queue.put(task)
                return
        task.drop(UnavailableError(SHUTTING_DOWN))

    def stop(self, timeout_s: float | None = None) -> bool:
        """Run what is queued, then end the threads.

        Returns:
            Whether all threads ended in time. A thread that is stuck inside a model cannot be ended; it is a
            daemon, so it does not keep the process alive.
        """
        with self._lock:
            if not self._stopped:
                self._stopped = True
                for _ in self._threads:
                    self._queue.put(None)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        stuck = [thread.name for thread in self._threads if thread.is_alive()]
        if stuck:
            logger.warning("Threads still inside a model at shutdown: %s", ", ".join(stuck))
        return not stuck

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            task.run()
            del task  # the loop variable would keep the answer's arrays until the next task
