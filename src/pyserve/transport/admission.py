"""How many requests of a service may be answered at the same time, and how many in a second."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pyserve.errors import QueueFullError, ResourceExhaustedError


class Admission:
    """Counts the requests of one service. Thread-safe.

    Args:
        capacity: Requests that may run or wait at the same time.
        rate_limit: Requests per second; 0: any number. A second's worth may come at once.
        clock: `time.monotonic`.
    """

    def __init__(self, capacity: int, rate_limit: float, clock: Callable[[], float]) -> None:
        self._capacity = capacity
        self._rate_limit = rate_limit
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows
        self._inside = 0
        self._burst = self._tokens = max(1.0, rate_limit)
        self._filled_at = clock()

    def check_rate(self) -> None:
        """Let one more request of this second in.

        Raises:
            ResourceExhaustedError: There were as many as may be.
        """
        if not self._rate_limit:
            return
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate_limit)
            self._filled_at = now
            if self._tokens < 1:
                raise ResourceExhaustedError(f"More than {self._rate_limit:g} requests per second")
            self._tokens -= 1

    def enter(self) -> None:
        """Let a request run or wait, until it `leave`s.

        Raises:
            QueueFullError: As many as may be do already.
        """
        with self._lock:
            if self._inside >= self._capacity:
                raise QueueFullError(f"The queue is full: {self._inside} requests run or wait already")
            self._inside += 1

    def leave(self) -> None:
        """A request that entered is over."""
        with self._lock:
            self._inside -= 1
