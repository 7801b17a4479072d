"""The policy of `--batching_mode=adaptive` for one queue: batches that need no tuning. Pure but for a lock.

A batch leaves as soon as a worker may take it, with everything that waits, up to a limit: no request waits for others
to come. Batches form because others run, or because the queue rests a moment between two of them; with one request at
a time each runs alone, as without batching. How many rows a batch may have is learned in `curve.py`, how many batches
run at once in `width.py`, and how long the rest is in `pause.py`.

Batches are not padded, but for graphs that prove to be compiled anew for each number of rows: those get the curve's
sizes and no other.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from pyserve.batching.curve import ThroughputCurve
from pyserve.batching.greedy_queue import GreedyQueue
from pyserve.batching.member import Member
from pyserve.batching.pause import Pause
from pyserve.batching.policy import BatchRun, Outcome
from pyserve.batching.width import Width

MAX_ROWS = 1024
"""Upper limit of a batch when no parameters set one: beyond it no model was seen to gain."""

# A first run of a size took so many times what is usual, and so many seconds more: something was compiled for it.
_COMPILED_TIMES = 4.0
_COMPILED_S = 0.005
# So many such runs, each with a usual one of a known size behind it, are a property of the graph.
_COMPILED_RUNS = 4
# Of the runs that the limit did not concern.
_LEARN_ONE_OF = 8
# A run that takes longer than allowed by this factor is no longer waited for.
_STUCK_TIMES = 2.0
_STUCK_LEAST_S = 1.0


class AdaptivePolicy:
    """Decides for one queue when a batch leaves and how large it is. Thread-safe.

    Times are points on one monotonic clock, in seconds.

    Args:
        target_s: How long a run may take, > 0.
        max_rows: Upper limit of a batch, >= 1.
        max_width: Upper limit of the batches that run at once, >= 1.
        max_waiting_rows: Beyond so many a task is refused, unless it is the only one; None: never.
        pads_inner_dimensions: Pad tasks of different inner shapes to run together.
    """

    refuses = False

    def __init__(
        self,
        target_s: float,
        max_rows: int,
        max_width: int,
        max_waiting_rows: int | None = None,
        *,
        pads_inner_dimensions: bool = False,
    ) -> None:
        self.pads_inner_dimensions = pads_inner_dimensions
        self._max_waiting_rows = max_waiting_rows
        self._lock = threading.Lock()  # guards everything below; held for microseconds
        self._curve = ThroughputCurve(target_s, max_rows)
        self._width = Width(max_width)
        self._pause = Pause()
        self._seen: set[int] = set()
        self._unlearned = 0
        self._may_have_compiled = False
        self._compiled = 0
        self._pads = False
        self._indivisible = False

    def new_queue(self) -> GreedyQueue[Member]:
        """A queue that works by this policy."""
        return GreedyQueue(self, self._max_waiting_rows)

    @property
    def limit(self) -> int:
        """Rows that the next batch may have. A larger request makes a batch of its own."""
        return 1 if self._indivisible else self._curve.limit

    @property
    def indivisible(self) -> bool:
        """The model gave something that cannot be told apart row by row: every request runs alone from then on."""
        return self._indivisible

    @property
    def width(self) -> int:
        """Batches that may run at once; for a few runs, now and then, another number is tried."""
        return self._width.usual

    @property
    def pause_s(self) -> float:
        """Rest between two batches, in seconds; for a few runs, now and then, another one is tried."""
        return self._pause.usual_s

    @property
    def pads(self) -> bool:
        """Whether batches are padded to the curve's sizes."""
        return self._pads

    def padded_rows(self, rows: int) -> int:
        """Rows to run for so many rows, >= them."""
        return self._curve.size_for(rows) if self._pads and not self._indivisible else rows

    def may_begin(self, now: float) -> bool:
        """Whether a batch may leave, given a free worker and something that waits."""
        with self._lock:
            if now < self._pause.over_at:
                return False
            return self._width.is_free or self._width.has_room(now, self._stuck_after_s())

    def may_begin_at(self) -> float:
        """When a batch may leave even if none of those that run ends."""
        with self._lock:
            return max(self._pause.over_at, self._width.room_at(self._stuck_after_s()))

    def began(self, now: float) -> int:
        """A batch leaves; returns a number for `ended`."""
        with self._lock:
            self._pause.begin(now)
            return self._width.begin(now)

    def taken(self, rows: Sequence[int], tensors: int) -> None:
        """Nothing is learned before something has run."""

    def ran(self, run: BatchRun) -> None:
        """A batch was run, or the part of one that can run together."""
        if run.outcome is Outcome.DONE:
            self.learn(run.padded_rows, run.ran_s)
        elif run.outcome is Outcome.INDIVISIBLE:
            self._indivisible = True

    def learn(self, rows: int, seconds: float) -> None:
        """A run succeeded.

        Args:
            rows: With padding, >= 1.
            seconds: That it took.
        """
        with self._lock:
            if self._width.is_unusual:
                return  # runs beside more or fewer others than usual would mislead
            first = rows not in self._seen
            self._seen.add(rows)
            if not first and 2 * rows <= self._curve.limit:
                # The limit did not matter: one of a few is enough, and learning costs as much as a small model.
                self._unlearned += 1
                if self._unlearned < _LEARN_ONE_OF:
                    return
            self._unlearned = 0
            self._notice_compilation(rows, seconds, first=first)
            self._curve.ran(rows, seconds, first=first)

    def ended(self, number: int, now: float, rows: int, tasks: int) -> None:
        """A batch of so many rows, those of so many tasks, is through, whatever became of it."""
        with self._lock:
            # One at a time: two trials at once would judge each other.
            self._width.end(number, now, rows, may_try=not self._pause.is_trying)
            self._pause.end(now, rows, tasks, may_try=not self._width.is_trying)

    def _notice_compilation(self, rows: int, seconds: float, *, first: bool) -> None:
        usual_s = self._curve.usual_s(rows)
        if usual_s is None:
            return
        slow = seconds > _COMPILED_TIMES * usual_s and seconds > usual_s + _COMPILED_S
        if first:
            self._may_have_compiled = slow
            if not slow:
                self._compiled = 0
        elif self._may_have_compiled:
            self._may_have_compiled = False
            if not slow:  # else the model is slow at present, whatever it runs
                self._compiled += 1
                self._pads = self._pads or self._compiled >= _COMPILED_RUNS

    def _stuck_after_s(self) -> float:
        return max(_STUCK_LEAST_S, _STUCK_TIMES * self._curve.allowed_s())
