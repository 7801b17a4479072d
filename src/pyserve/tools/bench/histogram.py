"""Durations counted in buckets that grow with the value: small, quick to fill, and to be added up over processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

_TICKS_PER_S = 10**7
_BITS = 7
"""A power of two is cut into 2^7 buckets, so that a value is known to 0.8 %."""
_SUB = 1 << _BITS


@dataclass(slots=True)
class Histogram:
    """Durations in seconds, from 0.1 microseconds on.

    Attributes:
        counts: Number of values by bucket; see `bounds`.
        max_s: The largest value, exactly.
        sum_s: All values added up.
    """

    counts: dict[int, int] = field(default_factory=dict)
    max_s: float = 0.0
    sum_s: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    @property
    def mean_s(self) -> float:
        count = self.count
        return self.sum_s / count if count else 0.0

    def add(self, seconds: float, number: int = 1) -> None:
        """Count a value; a negative one counts as zero."""
        seconds = max(seconds, 0.0)
        ticks = int(seconds * _TICKS_PER_S)
        shift = ticks.bit_length() - _BITS - 1
        bucket = ticks if shift <= 0 else (shift << _BITS) + (ticks >> shift)
        self.counts[bucket] = self.counts.get(bucket, 0) + number
        self.sum_s += seconds * number
        if seconds > self.max_s:
            self.max_s = seconds

    def merge(self, other: Histogram) -> None:
        for bucket, number in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + number
        self.max_s = max(self.max_s, other.max_s)
        self.sum_s += other.sum_s

    def percentile(self, percent: float) -> float:
        """The value that `percent` of all do not exceed, in seconds; 0 when there is none."""
        wanted = self.count * percent / 100
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                low, high = bounds(bucket)
                return min((low + high) / 2, self.max_s)
        return 0.0

    def between(self, edges: list[float]) -> list[int]:
        """How many values lie between each two neighbours of `edges`, which ascend, in seconds."""
        found = [0] * (len(edges) - 1)
        place = 0
        for bucket in sorted(self.counts):
            low, high = bounds(bucket)
            while place < len(found) - 1 and (low + high) / 2 >= edges[place + 1]:
                place += 1
            found[place] += self.counts[bucket]
        return found

    def points(self) -> Iterator[tuple[float, float]]:
        """(value in seconds, share of all values up to it), ascending."""
        count, seen = self.count, 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            yield min(bounds(bucket)[1], self.max_s), seen / count


def bounds(bucket: int) -> tuple[float, float]:
    """Where a bucket begins and ends, in seconds."""
    shift = max((bucket >> _BITS) - 1, 0)
    low = (bucket - (shift << _BITS)) << shift
    return low / _TICKS_PER_S, (low + (1 << shift)) / _TICKS_PER_S
