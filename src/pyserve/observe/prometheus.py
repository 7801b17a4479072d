"""The metrics page, as TensorFlow Serving writes it: close to Prometheus' text format, with its own habits.

Names keep their slashes as colons, counters get no `_total`, there is no HELP line, an empty label set keeps its
braces, bounds and sums have six significant digits.

Source: TensorFlow Serving, util/prometheus_exporter.cc.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from itertools import accumulate

from pyserve.observe.metrics import Histogram, Labels, Metric

# A page for a thousand models takes a tenth of a second to write. Python's lock is let go this often meanwhile, so that
# the event loop does not have to wait for the interpreter to take it away, which takes 5 ms each time.
_BREATH_S = 0.0005


def page(metrics: Iterable[Metric]) -> str:
    """The text for these metrics, in their order; one that has no values yet shows its TYPE line only.

    Takes time in proportion to the number of label sets: not to be called on an event loop.
    """
    parts: list[str] = []
    breath = time.perf_counter() + _BREATH_S
    for metric in metrics:
        for part in _lines(metric):
            parts.append(part)
            if time.perf_counter() > breath:
                time.sleep(0)
                breath = time.perf_counter() + _BREATH_S
    return "".join(parts)


def metric_name(raw: str) -> str:
    """`/tensorflow/serving/request_count` → `:tensorflow:serving:request_count`."""
    name = re.sub(r"[^a-zA-Z0-9_]", ":", raw)
    return "_" + name if name[:1].isdigit() else name


def label_name(raw: str) -> str:
    """A label's name; what Prometheus does not allow becomes `_`."""
    name = re.sub(r"[^a-zA-Z0-9]", "_", raw)
    return "_" + name if name[:1].isdigit() else name


def label_value(raw: str) -> str:
    """A label's value with `\\`, `"` and line breaks escaped."""
    return raw.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> str:
    """Six significant digits, as C's `%g`."""
    return f"{value:g}"


def _lines(metric: Metric) -> Iterator[str]:
    """The TYPE line, then the lines of one label set at a time."""
    name = metric_name(metric.name)
    yield f"# TYPE {name} {metric.kind}\n"
    label_names = [label_name(raw) for raw in metric.labels]

    def listed(labels: Labels) -> str:
        return ",".join(
            f'{key}="{label_value(value)}"' for key, value in zip(label_names, labels, strict=True)
        )

    if not isinstance(metric, Histogram):
        for labels, value in metric.values().items():
            yield f"{name}{{{listed(labels)}}} {value}\n"
        return
    limits = [number(limit) for limit in metric.limits] + ["+Inf"]
    for labels, seen in metric.values().items():
        shown = listed(labels)
        head = f'{name}_bucket{{{shown}{"," if shown else ""}le="'
        cumulative = list(accumulate(seen.buckets))
        text = "".join(
            [f'{head}{limit}"}} {count}\n' for limit, count in zip(limits, cumulative, strict=True)]
        )
        yield (f"{text}{name}_sum{{{shown}}} {number(seen.sum)}\n{name}_count{{{shown}}} {cumulative[-1]}\n")
