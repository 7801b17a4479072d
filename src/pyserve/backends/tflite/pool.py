"""A bounded number of things of which each may be used by one thread at a time; more are made as they are needed.

Knows nothing of TensorFlow: `servable` keeps interpreters in it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from pyserve.errors import TIMED_OUT, DeadlineExceededError

T = TypeVar("T")


class Pool(Generic[T]):
    """Lends its items. Any thread may borrow.

    The item that came back last is lent first: it has its memory for the usual shapes, and a pool larger than the
    load does not fill up.

    Args:
        make: Makes an item; called without a lock, by the thread that needs one.
        size: Items at most, >= 1.
        first: The one that is there already.
    """

    def __init__(self, make: Callable[[], T], size: int, first: T) -> None:
        self._make = make
        self._size = size
        # Guards _idle and _made; whoever waits is told when an item comes back, or could be made.
        self._change = threading.Condition()
        self._idle: list[T] = [first]
        self._made = 1

    @contextmanager
    def borrow(self, timeout_s: float | None = None) -> Iterator[T]:
        """An item for the time of the context.

        Args:
            timeout_s: Seconds to wait for one; None: as long as it takes.

        Raises:
            DeadlineExceededError: None came free in time.
            BaseException: Whatever `make` raised.
        """
        item = self._take(timeout_s)
        try:
            yield item
        finally:
            with self._change:
                self._idle.append(item)
                self._change.notify()

    def clear(self) -> None:
        """Let go of the items that nobody has borrowed."""
        with self._change:
            self._made -= len(self._idle)
            self._idle.clear()
            self._change.notify_all()

    def _take(self, timeout_s: float | None) -> T:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._change:
            while not self._idle and self._made >= self._size:
                left_s = None if deadline is None else deadline - time.monotonic()
                if left_s is not None and left_s <= 0:
                    raise DeadlineExceededError(TIMED_OUT)
                self._change.wait(left_s)
            if self._idle:
                return self._idle.pop()
            self._made += 1
        try:
            return self._make()
        except BaseException:
            with self._change:
                self._made -= 1
                self._change.notify()
            raise
