"""How many batches of one queue run side by side, learned by trying. Pure.

One is where it begins: whatever arrives while a batch runs makes up the next one, and small runs do not compete for
Python's lock. Two or more pay for models that leave cores idle or that wait for something. Nobody can tell beforehand,
so from time to time another width, twice or half as many, takes turns with the present one. What counts is the rows
done per second in which the queue had anything running: smaller batches, contention and gaps are all in it.

A run that takes very long, stuck perhaps, is not counted: others may then run beside it.
"""

from __future__ import annotations

# One turn: so many runs for each batch that may run at once, and so many busy seconds, longer than Python keeps its
# lock and the system a core; but for slow runs fewer of them are enough.
_TURN_RUNS = 16
_TURN_S = 0.05
_SLOW_TURN_RUNS = 4
_SLOW_TURN_S = 1.0
# Turns of a trial: present, other, present, other.
_TURNS = 4
# A wider one must be so much better; a narrower one just as good.
_WIDER_GAIN = 1.1
# Between two trials; the busy seconds are doubled after each trial that changed nothing.
_REST_RUNS = 16
_REST_S = 0.5
_REST_DOUBLINGS = 6


class Width:
    """Learns the width of one queue. Not thread-safe. Times are points on one monotonic clock, in seconds.

    Args:
        max_width: Upper limit, >= 1.

    Attributes:
        usual: The width that is in use when none is being tried.
        width: The width in force.
    """

    def __init__(self, max_width: int) -> None:
        self._max = max_width
        self.usual = self.width = 1
        self._running: dict[int, float] = {}  # run → when it began, oldest first
        self._last_run = 0
        self._busy_from = 0.0
        self._busy_s = 0.0
        self._rows = self._runs = 0
        self._doublings = 0
        self._wider_next = True
        self._rates: list[float] | None = None  # rows per second of the turns of a trial; None: no trial
        self._other = 1

    @property
    def is_trying(self) -> bool:
        """Whether the width in force is not the usual one."""
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

    def end(self, run: int, now: float, rows: int) -> None:
        """A batch has ended."""
        del self._running[run]
        if self._max == 1:
            return
        self._busy_s += now - self._busy_from
        self._busy_from = now
        self._rows += rows
        self._runs += 1
        if self._rates is None:
            if self._runs >= _REST_RUNS and self._busy_s >= _REST_S * (1 << self._doublings):
                self._begin_trial()
            return
        enough = self._runs >= _TURN_RUNS * self.width and self._busy_s >= _TURN_S
        if not enough and (self._runs < _SLOW_TURN_RUNS * self.width or self._busy_s < _SLOW_TURN_S):
            return
        self._rates.append(self._rows / max(self._busy_s, 1e-9))
        if len(self._rates) < _TURNS:
            self._turn_to(self._other if self.width == self.usual else self.usual)
        else:
            self._judge(self._rates)

    def _begin_trial(self) -> None:
        wider, narrower = min(2 * self.usual, self._max), self.usual // 2
        can_widen, can_narrow = wider > self.usual, narrower >= 1
        self._other = wider if can_widen and (self._wider_next or not can_narrow) else narrower
        self._wider_next = not self._wider_next
        self._rates = []
        self._turn_to(self.usual)

    def _judge(self, rates: list[float]) -> None:
        present, other = rates[0::2], rates[1::2]
        better = (
            min(other) >= _WIDER_GAIN * max(present)
            if self._other > self.usual
            else sum(other) >= sum(present)
        )
        self._doublings = 0 if better else min(self._doublings + 1, _REST_DOUBLINGS)
        if better:
            self._wider_next = self._other > self.usual
            self.usual = self._other
        self._rates = None
        self._turn_to(self.usual)

    def _turn_to(self, width: int) -> None:
        self.width = width
        self._rows = self._runs = 0
        self._busy_s = 0.0
