"""The benchmarks run: one small round of each, against a real server. Not what the figures are, but that they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_suite(tmp_path: Path) -> None:
    """Every contender answers in each cell, without an error; table, JSON and page are there."""
    printed = run("suite.py", "--quick", f"--out={tmp_path}", "--batching=off")
    rows = json.loads((tmp_path / "suite.json").read_text())["rows"]
    cells = {(row["protocol"], row["in_flight"], row["contender"]) for row in rows}
    names = ("pyserve, batching off", "in process", "echo")
    assert cells == {(protocol, n, name) for protocol in ("grpc", "rest") for n in (1, 8) for name in names}
    for row in rows:
        assert row["errors"] == 0, row
        assert row["requests_per_s"][0] > 0, row
        assert row["cpu_us"][0] > 0, row
        assert row["rss_mib"] > 10, row
        assert f"{row['model']}, {row['protocol']}, {row['in_flight']} in flight" in printed
    page = (tmp_path / "suite.html").read_text()
    assert page.count("<svg") == 4


@pytest.mark.slow
def test_tail_and_memory() -> None:
    """The tail is given for both kinds of gaps; resident memory for each tenth of the requests."""
    printed = run("tail.py", "--rounds=1", "--seconds=0.3", "--protocol=rest")
    assert printed.count("p99 / p50 ") == 2
    printed = run("memory.py", "--requests=20", "--rows=1000")
    assert "since the first tenth: " in printed


@pytest.mark.slow
def test_scheduler() -> None:
    """Tasks at the scheduler, and calls from bytes to bytes, are answered."""
    printed = run("scheduler.py", "--rounds=1", "--seconds=0.2", "--modes=off", "--tasks_model=mlp")
    assert [line.split(",")[0].strip() for line in printed.splitlines()] == [
        "tasks by threads",
        "tasks by one thread",
        "calls",
    ]
