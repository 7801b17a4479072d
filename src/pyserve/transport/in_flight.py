"""Counts the requests that are being answered, so that a stop can wait for exactly them."""

from __future__ import annotations

import asyncio
from types import TracebackType


class InFlight:
    """A count with an event for zero. For one event loop; `begin` and `end`, or `with in_flight:`, for each request."""

    def __init__(self) -> None:
        self.count = 0
        self._none = asyncio.Event()
        self._none.set()

    def begin(self) -> None:
        """A request comes."""
        if not self.count:
            self._none.clear()
        self.count += 1

    def end(self) -> None:
        """It is answered."""
        self.count -= 1
        if not self.count:
            self._none.set()

    def __enter__(self) -> None:
        self.begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    async def finished(self, within_s: float) -> bool:
        """Wait until no request is in flight, at most `within_s` seconds; whether that came to pass."""
        if not self.count:
            return True
        try:
            await asyncio.wait_for(self._none.wait(), within_s)
        except TimeoutError:
            return False
        return True
