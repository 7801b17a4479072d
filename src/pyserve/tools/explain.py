"""Asks a server how its batching does, and puts the answer into words and bars."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pyserve.errors import (
    InvalidArgumentError,
    NotFoundError,
    ServingError,
    UnavailableError,
    UnimplementedError,
)

Report = Mapping[str, Any]
"""What the server answers for one model (`batching/report.py`)."""

_TIMEOUT_S = 10.0


def fetch(url: str, models: Sequence[str] = (), version: int | None = None) -> list[Report]:
    """The reports of some models of a server, or of every model that it has.

    Args:
        url: Of its REST or admin port, `http://host:8501` or just `host:8501`.
        models: Names; none: every model.
        version: Of each; None: the one that requests reach.

    Raises:
        ServingError: Nobody answers there, a model is unknown, or the server is no pyserve.
    """
    base = _base(url)
    names = models or sorted(_get(base, "/readyz").get("models", {}))
    query = "" if version is None else f"?version={version}"
    return [
        _get(base, f"/pyserve/models/{urllib.parse.quote(name, safe='')}/batching{query}") for name in names
    ]


def _base(url: str) -> str:
    text = url if "://" in url else f"http://{url}"
    parts = urllib.parse.urlsplit(text)
    if parts.scheme != "http" or not parts.hostname:
        raise InvalidArgumentError(f"'{url}' is not the address of a server, such as http://localhost:8501")
    return f"http://{parts.netloc}"


def _get(base: str, path: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(base + path, timeout=_TIMEOUT_S) as answer:
            body = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
        if error.code != 503 or not path.startswith("/readyz"):  # a server that is not ready has models too
            raise _refused(base, error.code, body) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UnavailableError(f"{base} does not answer: {error}") from error
    try:
        found = orjson.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _no_pyserve(base)
    return found


def _refused(base: str, code: int, body: bytes) -> ServingError:
    try:
        text = str(orjson.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return _no_pyserve(base)
    return (NotFoundError if code == 404 else UnavailableError)(f"{base}: {text}")


def _no_pyserve(base: str) -> UnimplementedError:
    return UnimplementedError(f"{base} is no pyserve of this version: it does not explain its batching")


@dataclass(frozen=True, slots=True)
class Bar:
    """One bucket of a histogram, ready to be shown.

    Attributes:
        label: Which values it holds.
        count: How many there were.
        share: Of all of the histogram, 0 to 1.
    """

    label: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class Chart:
    """One histogram, ready to be shown."""

    title: str
    bars: tuple[Bar, ...]


def charts(queue: Report) -> list[Chart]:
    """The histograms of a queue that say something."""
    found = queue["histograms"]
    rows, fill, padding, waits, runs = (
        found[name] for name in ("rows", "fill_percent", "padding_rows", "wait_s", "run_s")
    )
    shown = [
        Chart(f"rows of a batch (mean {rows['mean']:.3g})", _bars(rows, _rows)),
        Chart(f"how full batches are (mean {fill['mean']:.0f} %)", _bars(fill, _percent)),
        Chart(f"waiting time (mean {_time(waits['mean'])})", _bars(waits, _times)),
        Chart(f"running time (mean {_time(runs['mean'])})", _bars(runs, _times)),
    ]
    if queue["padding_rows"]:
        shown.insert(2, Chart(f"rows of padding (mean {padding['mean']:.3g})", _bars(padding, _rows)))
    return [chart for chart in shown if chart.bars]


def _bars(histogram: Report, label: Callable[[Any, Any], str]) -> tuple[Bar, ...]:
    total = sum(bucket["count"] for bucket in histogram["buckets"])
    return tuple(
        Bar(label(bucket["from"], bucket["below"]), bucket["count"], bucket["count"] / total)
        for bucket in histogram["buckets"]
    )


def _rows(low: int | None, below: int | None) -> str:
    """A range of whole numbers: the first bucket holds one number, and each later one begins at its limit."""
    if below is None:
        return f"{low} and more"
    first = below - 1 if low is None else low
    return str(first) if first == below - 1 else f"{first}-{below - 1}"


def _percent(low: int | None, below: int | None) -> str:
    return "full" if below is None else f"below {below} %"


def _times(low: float | None, below: float | None) -> str:
    return f"{_time(low or 0.0)} and more" if below is None else f"below {_time(below)}"


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def heading(report: Report) -> str:
    """Which model, and how it is batched."""
    return f"{report['model']} version {report['version']}: {report['note']}"


def queue_heading(queue: Report) -> str:
    """Which requests a queue takes."""
    return f"{', '.join(queue['signatures'])} -> {', '.join(queue['outputs'])}"


def parameters_text(queue: Report) -> str:
    """What is in force."""
    return ", ".join(f"{name} {value}" for name, value in queue["parameters"].items())


def totals_text(queue: Report) -> str:
    """What was done."""
    text = f"{queue['batches']} batches of {queue['requests']} requests with {queue['rows']} rows"
    return f"{text} and {queue['padding_rows']} rows of padding" if queue["padding_rows"] else text


def alone_texts(report: Report) -> list[str]:
    """Which requests are not batched, and why."""
    return [f"{queue_heading(kind)}: runs alone, {kind['why']}" for kind in report["alone"]]
