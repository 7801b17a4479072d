"""What runs of different sizes cost, learned from past runs, and the size up to which batches pay. Pure.

For each size (the powers of two, and the upper limit) the curve keeps the last few runs: the *typical* time of a run,
their median, decides whether the size is within the target; the *best* cost of a row decides which size is fastest. The
limit climbs from size to size as long as rows get cheaper, and stays at the smallest size that is as good as any.

What was learned can become wrong:

- One run far off its size's typical time is an accident. If it broke the target, the next run is smaller.
- Four in a row mean that the model has changed: what was known is forgotten, and learned again from there.
- Small changes are found by looking again, from time to time, at what lies above the limit; the longer looking has
  found nothing new, the rarer.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator

# Runs remembered per size: enough that their median and minimum are steady, few enough to follow a model.
_WINDOW = 8
# Runs of a size before it is judged.
_TRIES = 3
# Runs asked for at a size that bring larger ones instead (a request's rows are not cut) before it is given up.
_GIVE_UP = 6
# Sizes are as good as each other when a row costs at most this much more. Affine costs then end within 7 % of the best.
_AS_GOOD = 1.05
# A size whose rows cost so many times as much is judged after one run, and nothing is expected above it.
_FAR_WORSE = 1.25
# The size in use is not left before its typical run breaks the target by so much: noise alone moves a median.
_HYSTERESIS = 1.1
# Sizes to look at above the best one: a size that is no better can have one above it that is.
_LOOK_AHEAD = 2
# A run is far off when it takes so many times the typical time, or less than its reciprocal.
_FAR_OFF = 1.5
_FAR_OFF_RUNS = 4
# Runs between two looks above the limit.
_LOOK_AGAIN = 64
_LOOK_AGAIN_MAX = 4096
# What a batch costs beside its run: a thread wakes up, locks change hands, the loop is told. Also no run takes nothing.
_OVERHEAD_S = 1e-4
# Where one row alone takes longer than half of the target, a run may take this many times as long as that row.
_FLOOR = 2.0


class _Size:
    """The last runs of one size."""

    __slots__ = ("_runs", "best_s", "passed_by", "rows", "typical_s")

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._runs: deque[tuple[int, float]] = deque(maxlen=_WINDOW)
        self.typical_s = 0.0
        """Median time of a run."""
        self.best_s = 0.0
        """Least time of a row."""
        self.passed_by = 0
        """Runs asked for at this size that were larger."""

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, rows: int, seconds: float) -> None:
        self._runs.append((rows, seconds))
        times = sorted(seconds for _, seconds in self._runs)
        self.typical_s = times[len(times) // 2]
        self.best_s = min(seconds / rows for rows, seconds in self._runs)

    def forget(self) -> None:
        self._runs.clear()
        self.passed_by = 0

    @property
    def is_unmet(self) -> bool:
        """Nothing is known of it, and nothing will be: runs of this size do not happen."""
        return not self._runs and self.passed_by >= _GIVE_UP

    def is_open(self, best_s: float) -> bool:
        """Too little is known of it, where rows cost `best_s` elsewhere, and asking may help."""
        if len(self._runs) >= _TRIES or self.passed_by >= _GIVE_UP:
            return False
        return not self._runs or self.best_s <= best_s * _FAR_WORSE


class ThroughputCurve:
    """Learns the limit of one queue. Not thread-safe.

    Args:
        target_s: How long a run may take. Not kept by models of which one row alone takes longer than half of it.
        max_rows: Upper limit of a batch, >= 1.

    Attributes:
        limit: Rows that the next batch may have, a power of two or `max_rows`.
    """

    def __init__(self, target_s: float, max_rows: int) -> None:
        self._target_s = target_s
        powers = [1 << power for power in range(max_rows.bit_length())]
        self._sizes = [_Size(rows) for rows in sorted({*powers, max_rows})]
        self._limits = [size.rows for size in self._sizes]
        self._level = 0  # the size that is in use when nothing is being tried
        self._asked = 0  # the size that the limit was made of
        self._cap: int | None = None  # the size not to exceed after a run that broke the target
        self._far_off: list[tuple[int, float]] = []
        self._slower = False  # which way those are off
        self._runs_until_look = self._look_again = _LOOK_AGAIN
        self._level_at_look = 0
        self.limit = self._limits[0]

    def usual_s(self, rows: int) -> float | None:
        """What a run of so many rows usually takes, in seconds; None while that is not known."""
        size = self._sizes[self.level_of(rows)]
        return size.typical_s if size else None

    def size_for(self, rows: int) -> int:
        """The next size that holds so many rows; as many where none does."""
        return max(rows, self._limits[self.level_of(rows)])

    def level_of(self, rows: int) -> int:
        """Position of the size that a run counts under: the next one that holds it, else the largest."""
        return min(bisect_left(self._limits, rows), len(self._limits) - 1)

    def ran(self, rows: int, seconds: float, *, first: bool) -> None:
        """Learn from a run.

        Args:
            rows: With padding, >= 1. May exceed the limit: a request's rows are not cut.
            seconds: That the run took.
            first: No run had so many rows before.
        """
        level = self.level_of(rows)
        seconds += _OVERHEAD_S
        if level > self._asked:
            self._sizes[self._asked].passed_by += 1
        if self._is_usual(level, rows, seconds, first=first):
            self._sizes[level].add(rows, seconds)
            self._cap = None
            self._far_off.clear()
        self._look_again_sometimes()
        self._asked = self._choose()
        if self._cap is not None:
            self._asked = min(self._asked, self._cap)
        self.limit = self._limits[self._asked]

    def _is_usual(self, level: int, rows: int, seconds: float, *, first: bool) -> bool:
        """Whether a run says something about its size; if not, what it says instead is noted."""
        size = self._sizes[level]
        if not size:
            # A first run may compile, allocate and fill caches, so it does not count; the next one does.
            return not first
        slower = seconds > size.typical_s * _FAR_OFF
        if not slower and seconds * _FAR_OFF >= size.typical_s:
            return True
        if first and slower:
            return False
        if slower and seconds > self.allowed_s():
            self._cap = self._within_target(level, seconds)
        if slower is not self._slower:
            self._far_off.clear()
        self._slower = slower
        self._far_off.append((rows, seconds))
        if len(self._far_off) >= _FAR_OFF_RUNS:
            self._believe(self._far_off.copy())
        return False

    def _believe(self, runs: list[tuple[int, float]]) -> None:
        """Take runs that were far off for what is usual now."""
        levels = {self.level_of(rows) for rows, _ in runs}
        if self._level in levels:
            levels = set(range(len(self._sizes)))
            self._cap = None
            self._runs_until_look = self._look_again = _LOOK_AGAIN
        for level in levels:  # of a size that was only tried, just the size was misjudged
            self._sizes[level].forget()
        for rows, seconds in runs:
            self._sizes[self.level_of(rows)].add(rows, seconds)
        self._far_off.clear()

    def _within_target(self, level: int, seconds: float) -> int:
        """The largest size below one that just took `seconds`, that would keep the target if all got slower alike."""
        allowed_s = self.allowed_s()
        slowdown = seconds / self._sizes[level].typical_s
        for below in range(level - 1, 0, -1):
            size = self._sizes[below]
            share = size.rows / self._sizes[level].rows
            if (size.typical_s * slowdown if size else seconds * share) <= allowed_s:
                return below
        return 0

    def allowed_s(self) -> float:
        """How long a run may take, in seconds."""
        smallest = next((size for size in self._sizes if not size.is_unmet), None)
        return max(self._target_s, _FLOOR * smallest.typical_s if smallest else 0.0)

    def _choose(self) -> int:
        """The size to ask for next; notes which one is in use."""
        allowed_s = self.allowed_s()
        good = [
            level
            for level in self._known()
            if self._sizes[level].typical_s <= allowed_s * (_HYSTERESIS if level == self._level else 1.0)
        ]
        if not good:
            return self._descend()
        as_good_s = min(self._sizes[level].best_s for level in good) * _AS_GOOD
        if self._level not in good or self._sizes[self._level].best_s > as_good_s:
            self._level = next(level for level in good if self._sizes[level].best_s <= as_good_s)
        best_s = self._sizes[self._level].best_s
        for level in range(self._level + 1, min(self._level + 1 + _LOOK_AHEAD, len(self._sizes))):
            size = self._sizes[level]
            if size.is_open(best_s) and self._expected_s(level) <= allowed_s:
                return level
            if level not in good or size.best_s > best_s * _FAR_WORSE:
                break
        if self._level > 0 and self._sizes[self._level - 1].is_open(best_s):
            return self._level - 1
        return self._level

    def _known(self) -> Iterator[int]:
        return (level for level, size in enumerate(self._sizes) if size)

    def _descend(self) -> int:
        """The size to ask for when no known one keeps the target."""
        lowest = next(self._known(), None)
        if lowest is None:
            return self._level
        reachable = [level for level in range(lowest) if not self._sizes[level].is_unmet]
        scale = self._target_s / self._sizes[lowest].typical_s * self._sizes[lowest].rows
        fitting = [level for level in reachable if self._sizes[level].rows <= scale]
        return max(fitting, default=min(reachable, default=lowest))

    def _expected_s(self, level: int) -> float:
        """What a run of a size is expected to take: on the line through the two sizes below, if they are known."""
        size, below = self._sizes[level], self._sizes[level - 1]
        if size:
            return size.typical_s
        if level == 1:
            return below.typical_s
        if not (second := self._sizes[level - 2]):
            return below.typical_s * size.rows / below.rows
        slope = (below.typical_s - second.typical_s) / (below.rows - second.rows)
        return below.typical_s + max(0.0, slope) * (size.rows - below.rows)

    def _look_again_sometimes(self) -> None:
        """Forget what is above the size in use, once in a while, so that it is looked at again."""
        if self._asked != self._level or self._cap is not None:
            return
        self._runs_until_look -= 1
        if self._runs_until_look > 0:
            return
        found_nothing = self._level == self._level_at_look
        self._look_again = min(2 * self._look_again, _LOOK_AGAIN_MAX) if found_nothing else _LOOK_AGAIN
        self._runs_until_look = self._look_again
        self._level_at_look = self._level
        for position, size in enumerate(self._sizes):
            if position > self._level or not size:
                size.forget()
