"""What is said of a load: tables, doubts, comparisons, pictures, and what other programs' reports mean."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree

import pytest

from pyserve.errors import InvalidArgumentError, NotFoundError, UnavailableError
from pyserve.tools.bench import external, report
from pyserve.tools.bench.histogram import Histogram
from pyserve.tools.bench.load import Outcome, Plan
from pyserve.tools.bench.plot import Chart, page, svg, ticks
from pyserve.tools.bench.request import Request
from pyserve.tools.bench.target import Target

GRPC, REST = Target(True, "localhost", 1), Target(False, "localhost", 1)


def outcome(*latencies: float, cpu_share: float = 0.1, late: float = 0.0, **codes: int) -> Outcome:
    found = Outcome(2.0, len(latencies), Counter(OK=len(latencies), **codes), cpu_share=cpu_share)
    for latency in latencies:
        found.latency.add(latency)
        found.lateness.add(late)
    return found


def test_table() -> None:
    """Rate, percentiles, answers by code with what the first bad one said, and the generator's own share."""
    found = outcome(0.01, 0.01, 0.02, 0.04, UNAVAILABLE=3)
    found.texts["UNAVAILABLE"] = "queue is full"
    text = "\n".join(report.table("here", [found], "pyserve"))
    assert "requests/s   2.0" in text
    assert "p50 10  p95 40  p99 40  max 40" in text
    assert "OK 4, UNAVAILABLE 3" in text
    assert "UNAVAILABLE: queue is full" in text
    assert "pyserve, 10% of a core" in text
    assert "VOID" not in text


def test_several_rounds() -> None:
    """Of several rounds the median counts, and the range is shown."""
    rounds = [outcome(0.01), outcome(0.02, 0.02), outcome(0.03, 0.03, 0.03, 0.03)]
    assert "requests/s   1.0 (0.5-2.0)" in "\n".join(report.table("", rounds, ""))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (outcome(0.01, cpu_share=0.89), []),
        (outcome(0.01, cpu_share=0.9), ["VOID: the run is void"]),
        (outcome(0.01, late=0.002), []),
        (outcome(0.01, late=0.004), ["note: one request of a hundred"]),
    ],
)
def test_doubts(found: Outcome, said: list[str]) -> None:
    """A generator that is busy, or late, says that the figures are its own."""
    doubts = report.doubts([found])
    assert [text in doubt for text, doubt in zip(said, doubts, strict=True)] == [True] * len(said)
    assert report.summary(found)["void"] is (found.cpu_share >= 0.9)


def test_comparison() -> None:
    """The second by the first, round by round."""
    rounds = {"a": [outcome(0.01), outcome(0.02)], "b": [outcome(0.03, 0.03), outcome(0.02)]}
    text = "\n".join(report.comparison(rounds))
    assert text.startswith("b / a, 2 rounds in turn")
    assert "requests/s   1.50 (1.00-2.00)" in text
    assert "p50          2.00 (1.00-3.00)" in text


def test_document() -> None:
    """The JSON holds the plan, the machine and every round."""
    found = json.loads(json.dumps(report.document(Plan(2, rate=5), {"u": [outcome(0.01)] * 3}, model="m")))
    assert found["model"] == "m"
    assert found["plan"] == {"duration_s": 2, "rate": 5, "even": False}
    assert found["machine"]["cpus"] >= 1
    assert [each["requests_per_s"] for each in found["rounds"]["u"]] == [0.5] * 3


@pytest.mark.parametrize("latencies", [[], [0.01], [0.01] * 5, [1e-6, 0.5, 3.0]])
def test_bars(latencies: Sequence[float]) -> None:
    """No value is left out of the histogram in the terminal, not even one alone."""
    histogram = outcome(*latencies).latency
    bars = report.bars(histogram)
    assert bool(bars) is bool(latencies)
    assert sum(int(bar.rsplit("|", 1)[1]) for bar in bars) == len(latencies)


@pytest.mark.parametrize("high", [0.0, 0.003, 1.0, 7.0, 99_999.0])
def test_ticks(high: float) -> None:
    """Marks begin at zero, are evenly apart, few, and cover the highest value."""
    marks = ticks(high)
    assert marks[0] == 0
    assert marks[-1] >= high
    assert 2 <= len(marks) <= 8


@pytest.mark.parametrize("log_x", [True, False])
@pytest.mark.parametrize(
    "line", [[], [(1.0, 5.0)], [(1.0, 0.0), (8.0, 0.0)], [(float(n), n * n) for n in range(1, 40)]]
)
def test_chart(line: list[tuple[float, float]], log_x: bool) -> None:
    """Every point lies inside the picture, the highest above the lowest; names are escaped."""
    chart = Chart(
        "a < b", "x", "y", {"<one>": line}, log_x=log_x, ranges={"<one>": [(y, y + 1) for _, y in line]}
    )
    root = ElementTree.fromstring(svg(chart))
    assert [e.text for e in root if e.text in ("a < b", "<one>")] == ["a < b", "<one>"]
    (drawn,) = (e for e in root if e.tag == "polyline")
    points = [tuple(map(float, pair.split(","))) for pair in drawn.attrib["points"].split()]
    assert len(points) == len(line)
    assert all(0 <= x <= 640 and 0 <= y <= 300 for x, y in points)
    assert points == sorted(points)
    if len({y for _, y in line}) > 1:
        assert min(y for _, y in points) == points[-1][1]


def test_page() -> None:
    """A page stands alone: nothing is loaded from elsewhere."""
    text = page("t & t", [Chart("c", "x", "y", {"a": [(1.0, 2.0)]})], [["h", "v"], ["<r>", "1"]], ["VOID"])
    assert all(
        part in text for part in ("t &amp; t", "<td>&lt;r&gt;</td>", '<p class="note">VOID</p>', "<svg")
    )
    assert "http" not in text
    assert "src=" not in text


def test_h2load_log() -> None:
    """Requests that end in time make the rate; failed and refused ones are counted by what became of them."""
    rows = [(1000, 200, 500_000), (1000, 503, 100), (900_000, 200, 200_000), (2000, -1, 5)]
    found = external.of_log(rows, 1.0, 0.2)
    assert found.codes == {"OK": 2, "503": 1, "failed": 1}
    assert (found.rate, found.cpu_share) == (1.0, 0.2)
    assert found.latency.percentile(50) == pytest.approx(0.2, rel=0.01)
    with pytest.raises(UnavailableError):
        external.of_log([], 1.0, 0.2)


def test_wrk_summary() -> None:
    """Refused answers are not good ones; its own latencies keep their numbers."""
    printed = {"duration_us": 2_000_000, "requests": 100, "status": 10, "timeout": 1, "read": 0}
    found = external.of_wrk({**printed, "latency": [[1000, 60], [2000, 40]]}, 0.1)
    assert found.codes == {"OK": 90, "status": 10, "timeout": 1}
    assert found.rate == 45
    assert found.latency.count == 100


@pytest.mark.parametrize(
    ("driver", "target", "plan", "error"),
    [
        ("h2load", GRPC, Plan(1, rate=5), InvalidArgumentError),
        ("h2load", Target(True, path="/x"), Plan(1), InvalidArgumentError),
        ("wrk", GRPC, Plan(1), InvalidArgumentError),
    ],
)
def test_what_other_drivers_cannot_do(
    driver: str, target: Target, plan: Plan, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said before anything runs; and a program that is not installed is named."""
    request = Request(target.is_grpc, "/", b"")
    monkeypatch.setattr(external, "installed", lambda name: True)
    with pytest.raises(error, match=driver):
        external.run(driver, target, request, plan)
    monkeypatch.setattr(external, "installed", lambda name: False)
    with pytest.raises(NotFoundError, match=f"{driver} is not installed"):
        external.run(driver, target, request, plan)


def test_edges() -> None:
    """The cuts are ascending and reach from the lowest value to the highest; without values there are none."""
    cuts = report.edges(outcome(0.001, 0.1, 8.0).latency, 7)
    assert cuts == sorted(cuts)
    assert len(cuts) == 8
    assert (cuts[0], cuts[-1]) == pytest.approx((0.001, 8.0), rel=0.01)
    assert report.edges(Histogram()) == []
