"""How many batches of one queue run side by side, learned by trying. Pure.

One is where it begins: whatever arrives while a batch runs makes up the next one, and small runs do not compete for
Python's lock. Two or more pay for models that leave cores idle or that wait for something. Nobody can tell
beforehand, so twice or half as many are tried. What counts is the rows done per second in which the queue had
anything running: smaller batches, contention and gaps are all in it.

A run that takes very long, stuck perhaps, is not counted: others may then run beside it.
"""

from __future__ import annotations

from pyserve.batching.trials import Trials, Turn


class Width:
    """Learns the width of one queue. Not thread-safe. Times are points on one monotonic clock, in seconds.

    Args:
        max_width: Upper limit, >= 1.
    """

    def __init__(self, max_width: int) -> None:
        powers = [1 << power for power in range(max_width.bit_length())]
        self._widths = sorted({*powers, max_width})
        self._trials = Trials(len(self._widths), Turn())
        self._running: dict[int, float] = {}  # run → when it began, oldest first
        self._last_run = 0
        self._busy_from = 0.0

    @property
    def usual(self) -> int:
        """The width that is in use when none is being tried."""
        return self._widths[self._trials.usual]

    @property
    def width(self) -> int:
        """The width in force."""
        return self._widths[self._trials.chosen]

    @property
    def is_trying(self) -> bool:
        """Whether two widths take turns."""
        return self._trials.is_trying

    @property
    def is_unusual(self) -> bool:
        """Whether another width than the usual one is in force."""
        return self.width != self.usual

    @property
    def is_free(self) -> bool:
        """Whether fewer batches run than may."""
        return len(self._running) < self.width

    def has_room(self, now: float, stuck_after_s: float) -> bool:
        """Whether another batch may begin; runs that began longer ago than `stuck_after_s` do not count."""
        return sum(now - began < stuck_after_s for began in self._running.values()) < self.width

    def room_at(self, stuck_after_s: float) -> float:
        """When there will be room even if nothing ends."""
        counted = sorted(self._running.values(), reverse=True)[: self.width]
        return counted[-1] + stuck_after_s if len(counted) == self.width else 0.0

    def begin(self, now: float) -> int:
        """A batch begins; returns a number for `end`."""
        if not self._running:
            self._busy_from = now
        self._last_run += 1
        self._running[self._last_run] = now
        return self._last_run

    def end(self, run: int, now: float, rows: int, *, may_try: bool = True) -> None:
        """A batch has ended; `may_try` says whether another width may be tried now."""
        del self._running[run]
        self._trials.ran(rows, now - self._busy_from, times=self.width, may_begin=may_try)
        self._busy_from = now
