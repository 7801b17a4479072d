"""Counters and histograms that cost almost nothing on the request path, and a registry that knows them by name.

Whoever observes something writes into a cell of the observing thread; whoever reads adds the cells up. So no
observation takes a lock, and none is ever lost:

- A cell has one writer, the thread with its ident. An ident is given again only after its thread has ended, and the
  new thread then goes on with the old one's cells.
- A reader copies dictionaries and lists whole, each in one step of the interpreter, and never iterates over what a
  writer may be changing. It may see an observation a moment late, never half of a count.

Values only grow, but for those of gauges. The text of the metrics page is made in `observe/prometheus.py`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import get_ident
from typing import ClassVar, cast

Labels = tuple[str, ...]
"""Values of a metric's labels, in the order in which it declares them."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a histogram has seen under one set of labels.

    Attributes:
        buckets: Observations per bucket, not cumulative; one more than the histogram has limits.
        sum: Of all observed values.
    """

    buckets: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        return sum(self.buckets)


class Counter:
    """A number per set of labels that only grows. Any thread may add and read.

    Args:
        name: Raw name, e.g. `/tensorflow/serving/request_count`.
        labels: Names of its labels.
    """

    kind: ClassVar[str] = "counter"

    def __init__(self, name: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.labels = tuple(labels)
        self._threads: dict[int, dict[Labels, int]] = {}

    def add(self, labels: Labels = (), amount: int = 1) -> None:
        """Count `amount` more, which is negative only for a gauge."""
        cells = self._threads.get(get_ident())
        if cells is None:
            cells = self._threads.setdefault(get_ident(), {})
        cells[labels] = cells.get(labels, 0) + amount

    def values(self) -> Mapping[Labels, int]:
        """The count for each set of labels seen so far, sorted by labels."""
        totals: dict[Labels, int] = {}
        for cells in self._threads.copy().values():
            for labels, value in cells.copy().items():
                totals[labels] = totals.get(labels, 0) + value
        return dict(sorted(totals.items()))


class Gauge(Counter):
    """A number per set of labels that may also fall; one of text, as TensorFlow has them, never has a value here."""

    kind: ClassVar[str] = "gauge"


class Histogram:
    """A distribution per set of labels. Any thread may observe and read.

    Args:
        name: Raw name.
        labels: Names of its labels.
        limits: Upper bounds of the buckets, ascending and exclusive: a value equal to one belongs to the next bucket.
            Above the last one follows an open bucket.
    """

    kind: ClassVar[str] = "histogram"

    def __init__(self, name: str, labels: Sequence[str], limits: Sequence[float]) -> None:
        self.name = name
        self.labels = tuple(labels)
        self.limits = tuple(limits)
        self._none: list[float] = [0] * (len(self.limits) + 1) + [0.0]
        # Per thread and labels: the buckets' counts, which stay int, and behind them the sum.
        self._threads: dict[int, dict[Labels, list[float]]] = {}

    def observe(self, labels: Labels, value: float) -> None:
        """Put one value into its bucket."""
        cell = self._cell(labels)
        cell[bisect_right(self.limits, value)] += 1
        cell[-1] += value

    def observe_all(self, labels: Labels, values: Sequence[float]) -> None:
        """Put several values into their buckets, for less than one after another costs."""
        cell, limits = self._cell(labels), self.limits
        for value in values:
            cell[bisect_right(limits, value)] += 1
        cell[-1] += sum(values)

    def _cell(self, labels: Labels) -> list[float]:
        cells = self._threads.get(get_ident())
        if cells is None:
            cells = self._threads.setdefault(get_ident(), {})
        cell = cells.get(labels)
        if cell is None:
            cell = cells[labels] = self._none.copy()
        return cell

    def values(self) -> Mapping[Labels, Distribution]:
        """The distribution for each set of labels seen so far, sorted by labels."""
        totals: dict[Labels, list[float]] = {}
        for cells in self._threads.copy().values():
            for labels, cell in cells.copy().items():
                seen = cell.copy()
                total = totals.get(labels)
                totals[labels] = seen if total is None else [a + b for a, b in zip(total, seen, strict=True)]
        return {
            labels: Distribution(cast("tuple[int, ...]", tuple(total[:-1])), total[-1])
            for labels, total in sorted(totals.items())
        }


Metric = Counter | Histogram


class Registry:
    """Metrics by raw name. Filled once, by whoever makes it; read by any thread."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}

    def counter(self, name: str, *labels: str) -> Counter:
        return self._add(Counter(name, labels))

    def gauge(self, name: str, *labels: str) -> Gauge:
        gauge = Gauge(name, labels)
        self._add(gauge)
        return gauge

    def histogram(self, name: str, *labels: str, limits: Sequence[float]) -> Histogram:
        histogram = Histogram(name, labels, limits)
        self._metrics[name] = histogram
        return histogram

    def _add(self, counter: Counter) -> Counter:
        self._metrics[counter.name] = counter
        return counter

    def metrics(self) -> list[Metric]:
        """All of them, sorted by raw name."""
        return [metric for _, metric in sorted(self._metrics.items())]

    def read(self, name: str) -> int:
        """A counter's value by its raw name, for its first set of labels alone.

        That is how TensorFlow Serving reads metrics for HandleReloadConfigRequest: the first set in sorted order
        counts, and what is unknown, has no value yet, or is no whole number is 0.
        """
        metric = self._metrics.get(name)
        if not isinstance(metric, Counter):
            return 0
        return next(iter(metric.values().values()), 0)


def exponential_limits(first: float, factor: float, count: int) -> tuple[float, ...]:
    """`count` bucket limits, each `factor` times the one before."""
    limits = [first]
    while len(limits) < count:
        limits.append(limits[-1] * factor)
    return tuple(limits)
