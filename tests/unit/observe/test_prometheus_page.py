"""The metrics page to the letter."""

from __future__ import annotations

import pytest

from pyserve.observe.metrics import Registry
from pyserve.observe.prometheus import label_name, label_value, metric_name, number, page

GOLDEN = """\
# TYPE :a:count counter
:a:count{model_name="a\\\\b\\"c",API="OK"} 3
:a:count{model_name="m",API="NOT_FOUND"} 1
# TYPE :b:runs counter
:b:runs{} 7
# TYPE :c:latency histogram
:c:latency_bucket{model_name="m",le="10"} 1
:c:latency_bucket{model_name="m",le="188.957"} 1
:c:latency_bucket{model_name="m",le="1.27482e+06"} 3
:c:latency_bucket{model_name="m",le="+Inf"} 4
:c:latency_sum{model_name="m"} 3.0014e+06
:c:latency_count{model_name="m"} 4
# TYPE :d:sizes histogram
:d:sizes_bucket{le="1"} 0
:d:sizes_bucket{le="+Inf"} 1
:d:sizes_sum{} 1
:d:sizes_count{} 1
# TYPE :e:text gauge
# TYPE :f:idle histogram
"""


def test_the_page() -> None:
    """Types, labels, cumulative buckets, sums and order are TensorFlow Serving's."""
    registry = Registry()
    registry.histogram("/f/idle", "model", limits=(1, 2))
    registry.gauge("/e/text", "model_name")
    registry.histogram("/d/sizes", limits=(1,)).observe((), 1)
    latency = registry.histogram("/c/latency", "model_name", limits=(10, 188.95676, 1274822.5))
    for value in (9, 188.95676, 1200, 3e6):
        latency.observe(("m",), value)
    registry.counter("/b/runs").add(amount=7)
    count = registry.counter("/a/count", "model_name", "API")
    count.add(("m", "NOT_FOUND"))
    count.add(('a\\b"c', "OK"), 3)
    assert page(registry.metrics()) == GOLDEN


@pytest.mark.parametrize(
    ("raw", "name", "label"),
    [
        ("/tensorflow/serving/request_count", ":tensorflow:serving:request_count", "_tensorflow_serving_request_count"),
        ("9a.b-c", "_9a:b:c", "_9a_b_c"),
        ("API", "API", "API"),
        ("é_", ":_", "__"),
    ],
)  # fmt: skip
def test_names(raw: str, name: str, label: str) -> None:
    """Characters outside the allowed ones are replaced; a leading digit gets a prefix."""
    assert (metric_name(raw), label_name(raw)) == (name, label)


def test_a_label_value_stays_on_its_line() -> None:
    """Quotes, backslashes and line breaks are escaped, and nothing else."""
    assert label_value('a"b\\c\nd é/') == 'a\\"b\\\\c\\nd é/'


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (10, "10"), (104.976, "104.976"), (1274823, "1.27482e+06"), (1.47476e9, "1.47476e+09")],
)
def test_numbers(value: float, text: str) -> None:
    """Six significant digits."""
    assert number(value) == text
