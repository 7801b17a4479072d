"""The metrics of TensorFlow Serving, by the names, labels and buckets that dashboards know.

One set per server. What is measured, and when, is decided where it is recorded: requests in
`transport/metering.py`, loads in `server/metered_loader.py`, batches in `server/version_batching.py`.

Source: TensorFlow Serving, servables/tensorflow/util.cc, batching/batching_session.cc and others; TensorFlow,
cc/saved_model/loader.cc.
"""

from __future__ import annotations

from pyserve.observe.metrics import Registry, exponential_limits

LATENCY_LIMITS = exponential_limits(10, 1.8, 33)
"""Microseconds, up to 25 minutes."""
QUEUE_LIMITS = exponential_limits(100, 1.2, 52)
"""Microseconds, up to a second."""
SIZE_LIMITS = exponential_limits(1, 2, 14)
"""Rows."""
EXAMPLE_LIMITS = exponential_limits(1, 2, 15)
"""Examples."""

RUNTIME = "TF1"
"""The only value of the label `runtime`: models run in TensorFlow sessions."""


class ServingMetrics:
    """Every metric of the page; latencies are in microseconds. `/pyserve/...` is our own.

    A metric that nothing in this server records has its TYPE line on the page, as it has in TensorFlow Serving.
    """

    def __init__(self) -> None:
        self.registry = registry = Registry()
        serving = "/tensorflow/serving/"
        self.request_count = registry.counter(serving + "request_count", "model_name", "status")
        self.request_latency = registry.histogram(
            serving + "request_latency", "model_name", "API", "entrypoint", limits=LATENCY_LIMITS
        )
        self.runtime_latency = registry.histogram(
            serving + "runtime_latency", "model_name", "API", "runtime", limits=LATENCY_LIMITS
        )
        # Of MultiInference alone.
        self.request_example_counts = registry.histogram(
            serving + "request_example_counts", "model", limits=EXAMPLE_LIMITS
        )
        self.request_example_count_total = registry.counter(serving + "request_example_count_total", "model")
        # Of recorded warm-up requests.
        self.model_warmup_latency = registry.histogram(
            serving + "model_warmup_latency", "model_path", "status", limits=LATENCY_LIMITS
        )
        self.model_warmup_records_read = registry.counter(
            serving + "model_warmup_records_read", "model_path", "status"
        )
        batching = serving + "batching_session/"
        # The label is empty, as it is in TensorFlow Serving's own server.
        self.queuing_latency = registry.histogram(
            batching + "queuing_latency", "thread_pool_name", limits=QUEUE_LIMITS
        )
        self.wrapped_run_count = registry.counter(batching + "wrapped_run_count")
        self.padding_size = registry.histogram(
            batching + "padding_size", "execution_batch_size", limits=SIZE_LIMITS
        )
        self.input_batch_size = registry.histogram(batching + "input_batch_size", limits=SIZE_LIMITS)
        self.processed_batch_size = registry.histogram(batching + "processed_batch_size", limits=SIZE_LIMITS)
        registry.counter(serving + "request_log_count", "model_name", "status_code")
        registry.gauge(serving + "mlmd_map", "model_name", "version")
        self.stuck_runs = registry.gauge("/pyserve/stuck_runs", "model_name", "version")
        saved_model = "/tensorflow/cc/saved_model/"
        self.load_attempt_count = registry.counter(saved_model + "load_attempt_count", "model_path", "status")
        self.load_latency = registry.counter(saved_model + "load_latency", "model_path")

    def model_ran(self, name: str, api: str, seconds: float) -> None:
        """A model ran for Predict, Classify or Regress, in this time."""
        self.runtime_latency.observe((name, api, RUNTIME), seconds * 1e6)
