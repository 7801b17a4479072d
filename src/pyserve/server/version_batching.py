"""What batching means for each version: its parameters, found when it is loaded, and its place in the scheduler."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pyserve.batching.adaptive import MAX_ROWS, AdaptivePolicy
from pyserve.batching.layout import Layout
from pyserve.batching.open_version import RulesFor
from pyserve.batching.parameters import StaticPolicy, check
from pyserve.batching.policy import BatchRun, Observers, QueueRules
from pyserve.batching.scheduler import Scheduler
from pyserve.codec.batching_parameters import VERSION_FILE, parse_batching_parameters
from pyserve.codec.text_file import read_text
from pyserve.config import BatchingParameters, ServerConfig
from pyserve.lifecycle.monitor import Monitor, ServableState, State
from pyserve.observe.serving_metrics import ServingMetrics
from pyserve.servable import Servable, ServableId
from pyserve.server.batching_reports import BatchingReports

logger = logging.getLogger(__name__)


class VersionBatching:
    """Opens versions in the scheduler when they are loaded, and closes them when they are gone. Thread-safe.

    Args:
        config: Whether and how requests are batched.
        platform_of: Name of a model → its platform; None when it is not configured.
        scheduler: Where versions are opened.
        metrics: What batches are counted in.

    Attributes:
        reports: What the queues work by and have done.
    """

    def __init__(
        self,
        config: ServerConfig,
        platform_of: Callable[[str], str | None],
        scheduler: Scheduler,
        metrics: ServingMetrics,
    ) -> None:
        self.reports = BatchingReports()
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
        self.reports.close(id)
        options = self._config.platform(self._platform_of(id.name))
        adaptive = self._config.adaptive_batching
        parameters = options.batching
        sizes: Sequence[int] = ()
        rules_for: RulesFor | None = None
        if parameters is None and adaptive is None:
            note = "requests run alone: neither --enable_batching nor --batching_mode=adaptive is given"
        elif options.enable_per_model_batching_parameters and not (Path(path) / VERSION_FILE).exists():
            note = f"requests run alone: the version has no {VERSION_FILE}"
        else:
            if options.enable_per_model_batching_parameters:
                file = str(Path(path) / VERSION_FILE)
                parameters = parse_batching_parameters(read_text(file), file)
            logger.info("Wrapping session to perform batch processing")
            if adaptive is not None:
                note = "adaptive: sizes of batches are learned"
                rules_for = self._adaptive(id, servable, parameters, adaptive.target_latency_ms / 1000)
            elif parameters is not None:
                note = "static: batches by parameters"
                rules_for = self._static(id, parameters)
                sizes = sorted(set(parameters.allowed_batch_sizes))
        self.reports.open(id, note)
        self._scheduler.open(id, servable, rules_for)
        return sizes

    def _static(self, id: ServableId, parameters: BatchingParameters) -> RulesFor:
        policy = StaticPolicy(parameters)
        threads = self._scheduler.runs_of_a_model

        def rules_for(layout: Layout) -> QueueRules:
            statistics = self.reports.add_static(id, layout, parameters, policy.limits, threads)
            return QueueRules(policy, Observers(self._observer, statistics))

        return rules_for

    def _adaptive(
        self, id: ServableId, servable: Servable, parameters: BatchingParameters | None, target_s: float
    ) -> RulesFor:
        max_rows, max_waiting_rows, threads = MAX_ROWS, None, self._scheduler.runs_of_a_model
        if parameters is not None:
            # Sizes to pad to mean nothing here, and are not checked against the others.
            check(replace(parameters, allowed_batch_sizes=()))
            max_rows = parameters.max_batch_size
            max_waiting_rows = max_rows * max(1, parameters.max_enqueued_batches)

        def rules_for(layout: Layout) -> QueueRules | None:
            if (why := _why_alone(layout, servable)) is not None:
                self.reports.add_alone(id, layout, why)
                return None
            policy = AdaptivePolicy(
                target_s,
                max_rows,
                threads,
                max_waiting_rows,
                pads_inner_dimensions=parameters is not None and parameters.pad_variable_length_inputs,
            )
            statistics = self.reports.add_adaptive(id, layout, policy, target_s)
            return QueueRules(policy, Observers(self._observer, policy, statistics))

        return rules_for

    def close_when_gone(self, monitor: Monitor) -> None:
        """Close each version that comes to its end, from now on."""

        def changed(state: ServableState) -> None:
            # The version may be on its way back already when the news of its end is late.
            newest = monitor.state(state.id)
            if state.state is State.END and newest is not None and newest.state is State.END:
                self._scheduler.close(state.id)
                self.reports.close(state.id)

        monitor.subscribe(changed)


def _why_alone(layout: Layout, servable: Servable) -> str | None:
    """Why tasks of a kind share no batches of learned sizes; None: they do."""
    if not layout.free:
        return "an input or output has no first dimension of any size"
    signatures = [servable.signatures[key] for key in layout.signatures]
    if servable.stateless.issuperset(layout.signatures):
        return None
    # What cannot be told apart could not be run again.
    if any(spec.shape is None for signature in signatures for spec in signature.outputs.values()):
        return "the model may have state, and the shape of an output is not declared"
    return None


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
