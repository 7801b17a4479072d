"""What the queues of each version work by and have done: remembered while the version is open, told when asked."""

from __future__ import annotations

from collections.abc import Callable

from pyserve.batching.adaptive import AdaptivePolicy
from pyserve.batching.advice import Rules
from pyserve.batching.layout import Layout
from pyserve.batching.queue import QueueLimits
from pyserve.batching.report import Json, QueueReport
from pyserve.batching.statistics import QueueStatistics
from pyserve.config import BatchingParameters
from pyserve.servable import ServableId


class _Version:
    """What is known of one version; lists only grow, a step at a time."""

    def __init__(self, note: str) -> None:
        self.note = note
        self.queues: list[Callable[[], QueueReport]] = []
        self.alone: list[Json] = []


class BatchingReports:
    """Remembers queues by version. Thread-safe: what is asked for while it grows may lack the newest queue."""

    def __init__(self) -> None:
        self._versions: dict[ServableId, _Version] = {}

    def open(self, id: ServableId, note: str) -> None:
        """A version takes tasks from now on; `note` says how they are batched."""
        self._versions[id] = _Version(note)

    def close(self, id: ServableId) -> None:
        """Forget a version. Does nothing for an unknown one."""
        self._versions.pop(id, None)

    def json(self, id: ServableId) -> Json:
        """All of a version, for JSON."""
        found = self._versions.get(id) or _Version("requests run alone: the version is not open")
        return {
            "model": id.name,
            "version": id.version,
            "note": found.note,
            "queues": [report().json() for report in found.queues.copy()],
            "alone": found.alone.copy(),
        }

    def add_alone(self, id: ServableId, layout: Layout, why: str) -> None:
        """Tasks of a kind share no batches."""
        kind: Json = {"signatures": list(layout.signatures), "outputs": _outputs(layout), "why": why}
        self._versions[id].alone.append(kind)

    def add_static(
        self,
        id: ServableId,
        layout: Layout,
        parameters: BatchingParameters,
        limits: QueueLimits,
        threads: int,
    ) -> QueueStatistics:
        """A queue that works by parameters; what is to be told about its batches."""
        statistics = QueueStatistics(lambda: limits.max_batch_rows)
        rules = Rules(
            adaptive=False,
            max_rows=limits.max_batch_rows,
            timeout_s=limits.timeout_s,
            threads=threads,
            pads=bool(parameters.allowed_batch_sizes),
        )
        shown: dict[str, object] = {
            "max_batch_size": limits.max_task_rows,
            "batch_timeout_micros": parameters.batch_timeout_micros,
            "max_enqueued_batches": limits.max_batches,
            "num_batch_threads": threads,
            "allowed_batch_sizes": list(parameters.allowed_batch_sizes),
            "pad_variable_length_inputs": parameters.pad_variable_length_inputs,
            "enable_large_batch_splitting": limits.splitting,
            "max_execution_batch_size": limits.max_batch_rows,
        }
        report = QueueReport(layout.signatures, _outputs(layout), shown, rules, statistics)
        self._versions[id].queues.append(lambda: report)
        return statistics

    def add_adaptive(
        self, id: ServableId, layout: Layout, policy: AdaptivePolicy, target_s: float
    ) -> QueueStatistics:
        """A queue whose sizes are learned; what is to be told about its batches."""
        statistics = QueueStatistics(lambda: policy.limit)

        def report() -> QueueReport:
            rules = Rules(
                adaptive=True,
                max_rows=policy.limit,
                timeout_s=0.0,
                threads=policy.width,
                target_s=target_s,
                pads=policy.pads,
                indivisible=policy.indivisible,
            )
            shown: dict[str, object] = {
                "batching_target_latency_ms": target_s * 1000,
                "rows learned": rules.max_rows,
                "batches at once learned": rules.threads,
                "pause learned, ms": policy.pause_s * 1000,
                "padding": rules.pads,
            }
            return QueueReport(layout.signatures, _outputs(layout), shown, rules, statistics)

        self._versions[id].queues.append(report)
        return statistics


def _outputs(layout: Layout) -> list[str]:
    return [name for name, _ in layout.outputs]
