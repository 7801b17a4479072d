"""What a version's queues work by and have done, as a value that JSON can hold. Pure.

This is what `GET /pyserve/models/NAME/batching` answers and `pyserve explain` shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pyserve.batching.advice import Rules, advice
from pyserve.batching.statistics import QueueStatistics, distribution
from pyserve.observe.metrics import Histogram

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class QueueReport:
    """One queue at this moment.

    Attributes:
        signatures: Whose requests it takes.
        outputs: Which outputs those ask for.
        parameters: What is in force, by the names of BatchingParameters or of flags.
        rules: The same, as far as advice needs it.
        statistics: What it has done.
    """

    signatures: Sequence[str]
    outputs: Sequence[str]
    parameters: Mapping[str, object]
    rules: Rules
    statistics: QueueStatistics

    def json(self) -> Json:
        """All of it, with one sentence of advice."""
        found = self.statistics
        figures = found.figures()
        return {
            "signatures": list(self.signatures),
            "outputs": list(self.outputs),
            "parameters": dict(self.parameters),
            "batches": figures.batches,
            "requests": figures.tasks,
            "rows": figures.rows,
            "padding_rows": figures.padded_rows - figures.rows,
            "histograms": {
                "rows": _json(found.rows),
                "requests": _json(found.tasks),
                "fill_percent": _json(found.fill),
                "padding_rows": _json(found.padding),
                "wait_s": _json(found.waits),
                "run_s": _json(found.runs),
            },
            "advice": advice(self.rules, figures),
        }


def _json(histogram: Histogram) -> Json:
    """Mean, and the buckets that are not empty: from a limit (included) to the next (not included)."""
    found = distribution(histogram)
    limits = (None, *histogram.limits, None)
    return {
        "mean": found.sum / max(1, found.count),
        "buckets": [
            {"from": low, "below": high, "count": count}
            for (low, high), count in zip(pairwise(limits), found.buckets, strict=True)
            if count
        ],
    }
