"""What one queue has done: sizes of its batches, how full they were, padding, waiting and running times.

Each batch costs a few steps and no lock (`observe/metrics.py`); whoever asks adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyserve.batching.advice import Figures
from pyserve.batching.policy import BatchRun
from pyserve.observe.metrics import Distribution, Histogram, exponential_limits

# A bucket ends before its limit: sizes 1, 2, 3-4, 5-8 and so on.
_SIZES = tuple((1 << power) + 1 for power in range(14))
_PADDING = (1, *_SIZES)
_PERCENT = (*range(10, 100, 10), 100)
_SECONDS = exponential_limits(50e-6, 2, 22)


class QueueStatistics:
    """Counts what becomes of a queue's batches. Any thread may tell and ask.

    Args:
        max_rows: Asked at each batch: the rows of a full one.
    """

    def __init__(self, max_rows: Callable[[], int]) -> None:
        self._max_rows = max_rows
        self.rows = Histogram("rows of a batch", (), _SIZES)
        self.tasks = Histogram("requests of a batch", (), _SIZES)
        self.fill = Histogram("rows of a full batch that were there, in percent", (), _PERCENT)
        self.padding = Histogram("rows added to a batch", (), _PADDING)
        self.waits = Histogram("seconds a request waited", (), _SECONDS)
        self.runs = Histogram("seconds a batch ran", (), _SECONDS)

    def taken(self, rows: Sequence[int], tensors: int) -> None:
        """Nothing is counted before it has run."""

    def ran(self, run: BatchRun) -> None:
        """A batch was run."""
        self.rows.observe((), run.rows)
        self.tasks.observe((), len(run.waits_s))
        self.fill.observe((), 100 * run.rows / self._max_rows())
        self.padding.observe((), run.padded_rows - run.rows)
        self.runs.observe((), run.ran_s)
        self.waits.observe_all((), run.waits_s)

    def figures(self) -> Figures:
        """The sums, as far as advice needs them. Batches that are counted meanwhile may be in some of them only."""
        rows, fill = distribution(self.rows), distribution(self.fill)
        waits, runs = distribution(self.waits), distribution(self.runs)
        return Figures(
            batches=rows.count,
            tasks=waits.count,
            rows=round(rows.sum),
            padded_rows=round(rows.sum + distribution(self.padding).sum),
            single=rows.buckets[0],
            full=fill.buckets[-1],
            mean_wait_s=waits.sum / max(1, waits.count),
            mean_run_s=runs.sum / max(1, runs.count),
        )


def distribution(histogram: Histogram) -> Distribution:
    """What a histogram without labels has seen."""
    return histogram.values().get((), Distribution((0,) * (len(histogram.limits) + 1), 0.0))
