"""Counters and histograms: nothing is lost between threads, bounds are exclusive, reading by raw name."""

from __future__ import annotations

import sys
import threading

import pytest

from pyserve.observe.metrics import Counter, Histogram, Registry, exponential_limits
from pyserve.observe.serving_metrics import (
    EXAMPLE_LIMITS,
    LATENCY_LIMITS,
    QUEUE_LIMITS,
    SIZE_LIMITS,
    ServingMetrics,
)


@pytest.mark.parametrize(
    ("value", "bucket"), [(0, 0), (9.99, 0), (10, 1), (10.5, 1), (20, 2), (39, 2), (40, 3), (1e30, 3)]
)
def test_a_limit_belongs_to_the_next_bucket(value: float, bucket: int) -> None:
    """Upper bounds are exclusive; above the last one is an open bucket."""
    histogram = Histogram("/h", (), (10, 20, 40))
    histogram.observe((), value)
    seen = histogram.values()[()]
    assert seen.buckets == tuple(int(index == bucket) for index in range(4))
    assert (seen.sum, seen.count) == (value, 1)


def test_threads_lose_nothing() -> None:
    """Observations of many threads add up exactly, while others read and threads come and go."""
    counter, histogram = Counter("/c", ("label",)), Histogram("/h", ("label",), (1, 2))
    each, rounds, width = 2000, 5, 8

    def work(number: int) -> None:
        for count in range(each):
            counter.add((str(count % 3),))
            histogram.observe((str(number % 2),), float(count % 3))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(rounds):
            threads = [threading.Thread(target=work, args=(number,)) for number in range(width)]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                assert all(seen.count == sum(seen.buckets) for seen in histogram.values().values())
                counter.values()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    total = each * rounds * width
    assert sum(counter.values().values()) == total
    seen = histogram.values()
    assert sum(one.count for one in seen.values()) == total
    assert sum(one.sum for one in seen.values()) == rounds * width * sum(count % 3 for count in range(each))


def test_values_are_sorted_by_labels() -> None:
    """Whatever came first, label sets are listed in order."""
    counter = Counter("/c", ("a", "b"))
    for labels in (("b", "a"), ("a", "b"), ("a", "a")):
        counter.add(labels, 2)
    assert list(counter.values().items()) == [(("a", "a"), 2), (("a", "b"), 2), (("b", "a"), 2)]


def test_reading_by_raw_name() -> None:
    """The first label set of a counter counts; anything else is 0."""
    registry = Registry()
    counter = registry.counter("/c", "label")
    histogram = registry.histogram("/h", limits=(1,))
    registry.gauge("/g")
    assert registry.read("/c") == 0
    counter.add(("b",), 5)
    counter.add(("a",), 3)
    histogram.observe((), 1)
    assert [registry.read(name) for name in ("/c", "/h", "/g", "/unknown", "")] == [3, 0, 0, 0, 0]
    assert [metric.name for metric in registry.metrics()] == ["/c", "/g", "/h"]


@pytest.mark.parametrize(
    ("limits", "count", "first", "last"),
    [
        (LATENCY_LIMITS, 33, "10 18 32.4 58.32 104.976 188.957", "8.19309e+08 1.47476e+09"),
        (QUEUE_LIMITS, 52, "100 120 144 172.8", "910044 1.09205e+06"),
        (SIZE_LIMITS, 14, "1 2 4 8", "4096 8192"),
        (EXAMPLE_LIMITS, 15, "1 2 4 8", "8192 16384"),
    ],
)
def test_bucket_sets(limits: tuple[float, ...], count: int, first: str, last: str) -> None:
    """The limits are TensorFlow Serving's."""
    text = " ".join(f"{limit:g}" for limit in limits)
    assert len(limits) == count
    assert text.startswith(first + " ")
    assert text.endswith(" " + last)


def test_exponential_limits() -> None:
    """Each limit is a multiple of the one before."""
    assert exponential_limits(1, 3, 4) == (1, 3, 9, 27)


def test_every_metric_of_the_reference_is_registered() -> None:
    """Names, kinds and labels, in the order in which the page shows them."""
    shown = [(m.name, m.kind, ",".join(m.labels)) for m in ServingMetrics().registry.metrics()]
    batching = "/tensorflow/serving/batching_session/"
    assert shown == [
        ("/pyserve/stuck_runs", "gauge", "model_name,version"),
        ("/tensorflow/cc/saved_model/load_attempt_count", "counter", "model_path,status"),
        ("/tensorflow/cc/saved_model/load_latency", "counter", "model_path"),
        (batching + "input_batch_size", "histogram", ""),
        (batching + "padding_size", "histogram", "execution_batch_size"),
        (batching + "processed_batch_size", "histogram", ""),
        (batching + "queuing_latency", "histogram", "thread_pool_name"),
        (batching + "wrapped_run_count", "counter", ""),
        ("/tensorflow/serving/mlmd_map", "gauge", "model_name,version"),
        ("/tensorflow/serving/model_warmup_latency", "histogram", "model_path,status"),
        ("/tensorflow/serving/model_warmup_records_read", "counter", "model_path,status"),
        ("/tensorflow/serving/request_count", "counter", "model_name,status"),
        ("/tensorflow/serving/request_example_count_total", "counter", "model"),
        ("/tensorflow/serving/request_example_counts", "histogram", "model"),
        ("/tensorflow/serving/request_latency", "histogram", "model_name,API,entrypoint"),
        ("/tensorflow/serving/request_log_count", "counter", "model_name,status_code"),
        ("/tensorflow/serving/runtime_latency", "histogram", "model_name,API,runtime"),
    ]
