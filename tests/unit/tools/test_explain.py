"""`pyserve explain` from a server's answer to its words and bars; asking the server is tested with real ones."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pyserve.batching.advice import Rules
from pyserve.batching.policy import BatchRun
from pyserve.batching.report import QueueReport
from pyserve.batching.statistics import QueueStatistics
from pyserve.cli import explain_command
from pyserve.errors import ServingError
from pyserve.tools import explain


def report(runs: list[BatchRun]) -> dict[str, Any]:
    """What a server would answer after these runs of one queue."""
    statistics = QueueStatistics(lambda: 8)
    for run in runs:
        statistics.taken([run.rows], 1)
        statistics.ran(run)
    queue = QueueReport(
        ["serving_default"],
        ["y", "z"],
        {"max_batch_size": 8, "batch_timeout_micros": 5000},
        Rules(adaptive=False, max_rows=8, timeout_s=0.005, threads=2),
        statistics,
    )
    return {
        "model": "m",
        "version": 3,
        "batching": "static",
        "note": "batched",
        "queues": [queue.json()],
        "alone": [{"signatures": ["scalar"], "outputs": ["s"], "why": "for a reason"}],
    }


SINGLE = BatchRun(1, 1, [0.0049], 0.001)
FULL = BatchRun(8, 8, [0.0002] * 4, 0.002)
PADDED = BatchRun(5, 8, [0.0002] * 5, 0.002)


def test_the_figures() -> None:
    """Sums and buckets are those of the runs."""
    queue = report([SINGLE] * 50 + [FULL] * 2 + [PADDED])["queues"][0]
    assert [queue[name] for name in ("batches", "requests", "rows", "padding_rows")] == [53, 63, 71, 3]
    histograms = queue["histograms"]
    assert histograms["rows"]["buckets"] == [
        {"from": None, "below": 2, "count": 50},
        {"from": 5, "below": 9, "count": 3},
    ]
    assert [(bar["below"], bar["count"]) for bar in histograms["fill_percent"]["buckets"]] == [
        (20, 50),
        (70, 1),
        (None, 2),
    ]
    assert [(bar["from"], bar["count"]) for bar in histograms["padding_rows"]["buckets"]] == [
        (None, 52),
        (3, 1),
    ]
    assert sum(bar["count"] for bar in histograms["wait_s"]["buckets"]) == 63
    assert histograms["run_s"]["mean"] == pytest.approx(56e-3 / 53)
    assert queue["advice"].startswith("94 % of batches have one row")


def test_plain_text() -> None:
    """Piped, the report is lines of text that hold everything."""
    text = "\n".join(explain_command.plain([report([SINGLE] * 60 + [PADDED] * 20)]))
    assert (
        text
        == """\
m version 3: batched

  serving_default -> y, z
    max_batch_size 8, batch_timeout_micros 5000
    80 batches of 160 requests with 160 rows and 60 rows of padding
    rows of a batch (mean 2)
                     1         60  75.0% ##############################
                   5-8         20  25.0% ##########
    how full batches are (mean 25 %)
            below 20 %         60  75.0% ##############################
            below 70 %         20  25.0% ##########
    rows of padding (mean 0.75)
                     0         60  75.0% ##############################
                   3-4         20  25.0% ##########
    waiting time (mean 1.96 ms)
          below 400 µs        100  62.5% #########################
          below 6.4 ms         60  37.5% ###############
    running time (mean 1.25 ms)
          below 1.6 ms         60  75.0% ##############################
          below 3.2 ms         20  25.0% ##########
    27 % of the rows that ran were padding: batches have 2 rows on average, and allowed_batch_sizes has no size \
close above that.
  scalar -> s: runs alone, for a reason"""
    )


def test_a_queue_without_requests() -> None:
    """Empty histograms are not shown."""
    text = "\n".join(explain_command.plain([report([])]))
    assert "rows of a batch" not in text
    assert "0 batches so far: too few to say anything." in text


def test_very_large_batches() -> None:
    """Sizes and times beyond the last limit have a bar too."""
    found = explain.charts(report([BatchRun(100_000, 100_000, [10_000.0], 20_000.0)])["queues"][0])
    labels = [bar.label for chart in found for bar in chart.bars]
    assert labels == ["8193 and more", "full", "105 s and more", "105 s and more"]


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "https://x:1"])
def test_an_address_that_is_none(url: str) -> None:
    """What is no address of a server is refused by name."""
    with pytest.raises(ServingError, match="is not the address of a server"):
        explain.fetch(url)


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The same is drawn with bars, and nothing is left out."""
    monkeypatch.setattr(explain, "fetch", lambda *arguments: [report([SINGLE] * 60 + [PADDED] * 20)])
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert explain_command.run("pyserve explain", ["localhost:8501"]) == 0
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    for text in (
        "m version 3: batched",
        "serving_default -> y, z",
        "5-8",
        "25.0%",
        "█" * 30,
        "27 % of the rows",
    ):
        assert text in drawn
    assert "runs alone, for a reason" in drawn
