"""Which of several settings of a queue gets most done, learned by trying. Pure.

The settings are in an order, the cheaper one first. From time to time a neighbour of the usual one takes turns with it:
usual, other, usual, other. A dearer setting must be clearly better, a cheaper one just as good. What counts is the rows
done per second.
"""

from __future__ import annotations

from dataclasses import dataclass

# Turns of a trial.
_TURNS = 4
# A dearer setting must be so much better.
_GAIN = 1.1
# Between two trials; the seconds are doubled after each trial that changed nothing.
_REST_RUNS = 16
_REST_S = 0.5
_REST_DOUBLINGS = 5


@dataclass(frozen=True, slots=True)
class Turn:
    """How long one turn is: so many runs and so many seconds, but of slow runs fewer are enough."""

    runs: int = 16
    seconds: float = 0.05
    slow_runs: int = 4
    slow_seconds: float = 1.0

    def is_over(self, runs: int, seconds: float, times: int) -> bool:
        """Whether so much will do, where `times` runs count as one."""
        return (runs >= self.runs * times and seconds >= self.seconds) or (
            runs >= self.slow_runs * times and seconds >= self.slow_seconds
        )


class Trials:
    """Learns the setting of one queue. Not thread-safe.

    Args:
        count: How many settings there are, >= 1.
        turn: How long each is tried at a time; longer than Python keeps its lock and the system a core.

    Attributes:
        usual: The setting that is in use when none is being tried.
        chosen: The setting in force.
    """

    def __init__(self, count: int, turn: Turn) -> None:
        self._count = count
        self._turn = turn
        self.usual = self.chosen = 0
        self._runs = self._rows = 0
        self._seconds = 0.0
        self._doublings = 0
        self._dearer_next = True
        self._rates: list[float] | None = None  # rows per second of the turns of a trial; None: no trial
        self._other = 0

    @property
    def is_trying(self) -> bool:
        """Whether a trial is under way."""
        return self._rates is not None

    def ran(self, rows: int, seconds: float, *, times: int = 1, may_begin: bool = True) -> None:
        """Count a run.

        Args:
            rows: That it did.
            seconds: That it added to those of the turn.
            times: Runs that count as one, because so many go on at a time.
            may_begin: Whether a trial may begin now.
        """
        if self._count == 1:
            return
        self._runs += 1
        self._rows += rows
        self._seconds += seconds
        if self._rates is None:
            rested = self._runs >= _REST_RUNS and self._seconds >= _REST_S * (1 << self._doublings)
            if rested and may_begin:
                self._begin()
        elif self._turn.is_over(self._runs, self._seconds, times):
            self._rates.append(self._rows / max(self._seconds, 1e-9))
            if len(self._rates) < _TURNS:
                self._turn_to(self._other if self.chosen == self.usual else self.usual)
            else:
                self._judge(self._rates)

    def _begin(self) -> None:
        can_rise, can_fall = self.usual + 1 < self._count, self.usual > 0
        rises = can_rise and (self._dearer_next or not can_fall)
        self._other = self.usual + (1 if rises else -1)
        self._dearer_next = not self._dearer_next
        self._rates = []
        self._turn_to(self.usual)

    def _judge(self, rates: list[float]) -> None:
        usual, other = rates[0::2], rates[1::2]
        rises = self._other > self.usual
        better = min(other) >= _GAIN * max(usual) if rises else sum(other) >= sum(usual)
        self._doublings = 0 if better else min(self._doublings + 1, _REST_DOUBLINGS)
        if better:
            self._dearer_next = rises
            self.usual = self._other
        self._rates = None
        self._turn_to(self.usual)

    def _turn_to(self, setting: int) -> None:
        self.chosen = setting
        self._rows = self._runs = 0
        self._seconds = 0.0
