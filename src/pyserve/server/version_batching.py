"""What batching means for each version: its parameters, found when it is loaded, and its place in the scheduler."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from pyserve.batching.layout import Layout
from pyserve.batching.parameters import StaticPolicy
from pyserve.batching.policy import BatchRun, QueueRules
from pyserve.batching.scheduler import Scheduler
from pyserve.codec.batching_parameters import VERSION_FILE, parse_batching_parameters
from pyserve.codec.text_file import read_text
from pyserve.config import BatchingParameters, PlatformOptions, ServerConfig
from pyserve.lifecycle.monitor import Monitor, ServableState, State
from pyserve.observe.serving_metrics import ServingMetrics
from pyserve.servable import Servable, ServableId

logger = logging.getLogger(__name__)


class VersionBatching:
    """Opens versions in the scheduler when they are loaded, and closes them when they are gone. Thread-safe.

    Args:
        config: Whether and how requests are batched.
        platform_of: Name of a model → its platform; None when it is not configured.
        scheduler: Where versions are opened.
        metrics: What batches are counted in.
    """

    def __init__(
        self,
        config: ServerConfig,
        platform_of: Callable[[str], str | None],
        scheduler: Scheduler,
        metrics: ServingMetrics,
    ) -> None:
        self._config = config
        self._platform_of = platform_of
        self._scheduler = scheduler
        self._observer = BatchMetrics(metrics)

    def open(self, id: ServableId, path: str, servable: Servable) -> Sequence[int]:
        """Let the scheduler take tasks for a version, as its parameters say.

        Returns:
            Sizes of batches that it will be run with beside any others, ascending.

        Raises:
            InvalidArgumentError: The parameters are wrong, or its own file of them.
            ServingError: Its own file cannot be read.
        """
        parameters = self._parameters(id, path)
        if parameters is None:
            self._scheduler.open(id, servable)
            return ()
        rules = QueueRules(StaticPolicy(parameters), self._observer)
        logger.info("Wrapping session to perform batch processing")

        def rules_for(layout: Layout) -> QueueRules:
            return rules

        self._scheduler.open(id, servable, rules_for)
        return sorted(set(parameters.allowed_batch_sizes))

    def close_when_gone(self, monitor: Monitor) -> None:
        """Close each version that comes to its end, from now on."""

        def changed(state: ServableState) -> None:
            # The version may be on its way back already when the news of its end is late.
            newest = monitor.state(state.id)
            if state.state is State.END and newest is not None and newest.state is State.END:
                self._scheduler.close(state.id)

        monitor.subscribe(changed)

    def _parameters(self, id: ServableId, path: str) -> BatchingParameters | None:
        options: ServerConfig | PlatformOptions = self._config
        if self._config.platforms is not None:
            options = self._config.platforms.get(self._platform_of(id.name) or "", PlatformOptions())
        if options.batching is None or not options.enable_per_model_batching_parameters:
            return options.batching
        file = Path(path) / VERSION_FILE
        if not file.exists():
            return None
        return parse_batching_parameters(read_text(str(file)), str(file))


class BatchMetrics:
    """Counts batches as TensorFlow Serving does; an observer of every queue.

    Source: TensorFlow Serving, batching/batching_session.cc.
    """

    def __init__(self, metrics: ServingMetrics) -> None:
        self._metrics = metrics

    def taken(self, rows: Sequence[int], tensors: int) -> None:
        for _ in range(tensors):
            self._metrics.input_batch_size.observe_all((), rows)

    def ran(self, run: BatchRun) -> None:
        metrics = self._metrics
        metrics.queuing_latency.observe_all(("",), [wait_s * 1e6 for wait_s in run.waits_s])
        metrics.wrapped_run_count.add()
        metrics.padding_size.observe((str(run.padded_rows),), run.padded_rows - run.rows)
        metrics.processed_batch_size.observe((), run.padded_rows)


def run_threads(config: ServerConfig) -> int:
    """How many runs of one model there may be at the same time.

    With batching what its parameters say, one per core by default. Without, one per core or operation that TensorFlow
    may run at the same time, and one more so that a core is not idle while a thread hands over its results.
    """
    cores = os.cpu_count() or 1
    batched = [parameters.num_batch_threads or cores for parameters in config.all_batching]
    if batched:
        return max(batched)
    return config.num_run_threads or (config.tensorflow.inter_op_parallelism or cores) + 1


def thread_name(config: ServerConfig) -> str:
    """What the names of the threads that run models begin with."""
    return next((parameters.thread_pool_name for parameters in config.all_batching), "pyserve-run")
