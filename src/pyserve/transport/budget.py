"""One budget for the bytes of all requests in flight, so that many of them, or a few huge ones, cannot take all memory.

A request holds its bytes from their arrival until it is answered. Belongs to one event loop: nothing here is locked.
"""

from __future__ import annotations

import asyncio
import collections
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pyserve.errors import ResourceExhaustedError

# How long a body may wait for others to be answered before it is refused. Whoever waits holds what it has read so far;
# without an end, bodies that wait for each other would do so for ever.
WAIT_S = 5.0

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_FALLBACK_BYTES = 1 << 30  # where the size of the memory cannot be asked for
_UNLIMITED = 2**31 - 1


def memory_bytes() -> int:
    """The memory that this process may use: the machine's, or its container's."""
    sizes: list[int] = []
    with suppress(AttributeError, OSError, ValueError):
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):
            sizes.append(int(Path(path).read_text()))
    return min((size for size in sizes if size > 0), default=_FALLBACK_BYTES)


class ByteBudget:
    """Counts bytes in flight against a limit.

    Args:
        limit: In bytes, > 0.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        # Who waits for how many bytes, in the order of arrival; a large request is not starved by small ones.
        self._waiting: collections.deque[tuple[int, asyncio.Future[None]]] = collections.deque()

    def holding(self) -> Holding:
        """An account for one request; a context manager that gives everything back."""
        return Holding(self)

    def _try_take(self, count: int) -> bool:
        if self._waiting or self.used + count > self.limit:
            return False
        self.used += count
        return True

    def _give_back(self, count: int) -> None:
        self.used -= count
        while self._waiting:
            wanted, future = self._waiting[0]
            if not future.done():
                if self.used + wanted > self.limit:
                    return
                self.used += wanted
                future.set_result(None)
            self._waiting.popleft()

    async def _wait(self, count: int, within_s: float) -> bool:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, future))
        try:
            await asyncio.wait([future], timeout=within_s)
        except asyncio.CancelledError:
            if future.done():
                self._give_back(count)
            raise
        finally:
            if not future.done():
                future.cancel()
                self._give_back(0)  # those behind may fit
        return not future.cancelled()

    def exhausted(self, count: int) -> ResourceExhaustedError:
        return ResourceExhaustedError(
            f"The server has {self.used} bytes of requests in flight, and no room for {count} more: the limit is "
            f"{self.limit} (--max_inflight_bytes). Try again later"
        )


class Holding:
    """What one request holds of the budget."""

    __slots__ = ("_budget", "count")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.count = 0

    def take(self, count: int) -> None:
        """Hold `count` bytes more, at once.

        Raises:
            ResourceExhaustedError: There is no room for them.
        """
        if not self.try_take(count):
            raise self._budget.exhausted(count)

    def try_take(self, count: int) -> bool:
        """Hold `count` bytes more, if there is room for them at once."""
        if not self._budget._try_take(count):
            return False
        self.count += count
        return True

    def give_back(self) -> None:
        """Hold nothing any more."""
        count, self.count = self.count, 0
        if count:
            self._budget._give_back(count)

    async def take_or_wait(self, count: int, within_s: float = WAIT_S) -> None:
        """Hold `count` bytes more, waiting until others are answered.

        Raises:
            ResourceExhaustedError: There was no room within `within_s` seconds, or there never can be.
        """
        if not self._budget._try_take(count):
            fits = self.count + count <= self._budget.limit
            if not fits or not await self._budget._wait(count, within_s):
                raise self._budget.exhausted(count)
        self.count += count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()


def default_max_connections() -> int:
    """Half of the files that this process may open: models, threads and logs need some too."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return _UNLIMITED
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else max(1, soft // 2)
