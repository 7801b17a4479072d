"""How long a queue rests between two batches, learned by trying. Pure.

After idleness a request never waits: its batch leaves at once. But where requests keep coming, a moment's rest after
each batch lets more of them share the next one, and every batch costs a thread's wake-up, a change of Python's lock,
and a run through code that the caches have lost. For small models those cost several times what the model does.
Whether a rest gains anything depends on the callers and the front end too, so nobody can tell beforehand; longer and
shorter ones are tried, and a longer one must get a tenth more done.
"""

from __future__ import annotations

from pyserve.batching.trials import Trials, Turn

PAUSES_S = (0.0, 0.0005, 0.001, 0.002, 0.004)
"""What is tried. More would be felt by callers, and beside a longer run it would no longer matter."""

# Longer turns than those of widths: what is compared depends on when callers come.
_TURN = Turn(runs=32, seconds=0.1)
# A queue whose runs take so long gains nothing worth a trial.
_SLOW_RUN_S = 4 * PAUSES_S[-1]
# After so many batches of one task nobody is there to wait for.
_ALONE = 16
# Beyond the pause, a gap of this length means that nobody called.
_IDLE_S = 0.02


class Pause:
    """Learns the pause of one queue. Not thread-safe. Times are points on one monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._trials = Trials(len(PAUSES_S), _TURN)
        self._began = self._ended = 0.0
        self._alone = 0  # batches of one task since the last of several

    @property
    def usual_s(self) -> float:
        """The pause that is in use when none is being tried."""
        return PAUSES_S[self._trials.usual]

    @property
    def is_trying(self) -> bool:
        """Whether two pauses take turns."""
        return self._trials.is_trying

    @property
    def over_at(self) -> float:
        """When the next batch may begin."""
        return self._ended + PAUSES_S[self._trials.chosen]

    def begin(self, now: float) -> None:
        """A batch begins."""
        self._began = now

    def end(self, now: float, rows: int, tasks: int, *, may_try: bool = True) -> None:
        """A batch of so many tasks has ended; `may_try` says whether another pause may be tried now."""
        self._alone = 0 if tasks > 1 else self._alone + 1
        run_s = now - self._began
        gap_s = min(self._began - self._ended, PAUSES_S[self._trials.chosen] + _IDLE_S)
        self._ended = now
        worth = run_s < _SLOW_RUN_S and (self._alone < _ALONE or self._trials.usual > 0)
        self._trials.ran(rows, run_s + max(0.0, gap_s), may_begin=may_try and worth)
