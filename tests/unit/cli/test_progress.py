"""A long load is talked about: which versions, for how long, and where the words go."""

from __future__ import annotations

import io
import logging
import sys
import threading
import time

import pytest

from pyserve.cli import progress
from pyserve.cli.progress import FIRST_WORD_S, LoadingTimes, LoadProgress
from pyserve.lifecycle.monitor import Monitor, ServableState, State
from pyserve.servable import ServableId

WAIT_S = 10.0


def state(name: str, version: int, state: State) -> ServableState:
    return ServableState(ServableId(name, version), state)


def test_only_long_loads_are_named_longest_first() -> None:
    """A load counts from its beginning, and only after a while; one that is over is not named."""
    times = LoadingTimes()
    times.observe(state("a", 1, State.START), 0)
    times.observe(state("a", 1, State.LOADING), 10)
    times.observe(state("b", 7, State.LOADING), 5)
    times.observe(state("c", 1, State.LOADING), 12)
    assert times.text(9) == ""
    assert times.text(10 + FIRST_WORD_S) == "b version 7 for 10 s, a version 1 for 5 s"
    times.observe(state("a", 1, State.LOADING), 14)  # published again: still the same load
    times.observe(state("b", 7, State.AVAILABLE), 16)
    times.observe(state("c", 1, State.END), 16)
    assert times.text(20) == "a version 1 for 10 s"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words after milliseconds instead of seconds."""
    monkeypatch.setattr(progress, "FIRST_WORD_S", 0.0)
    monkeypatch.setattr(progress, "REPEAT_S", 0.01)
    monkeypatch.setattr(progress, "_REDRAW_S", 0.01)


def until(seen: threading.Event) -> None:
    assert seen.wait(WAIT_S)


@pytest.mark.usefixtures("hasty")
def test_lines_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from a terminal, lines come again and again while a load lasts; leaving ends the thread."""
    seen = threading.Event()
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())
            if len(lines) >= 2:
                seen.set()

    handler = Handler()
    logger = logging.getLogger("pyserve.cli.progress")
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "level", logging.INFO)
    monitor = Monitor()
    with LoadProgress(monitor):
        monitor.publish(state("m", 1, State.LOADING))
        until(seen)
    assert lines[0] == "Still loading: m version 1 for 0 s"
    assert "pyserve-progress" not in [thread.name for thread in threading.enumerate()]


class Terminal(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("hasty")
def test_a_moving_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the line is drawn while a load lasts, and is gone when it ends."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monitor = Monitor()
    with LoadProgress(monitor):
        monitor.publish(state("m", 1, State.LOADING))
        deadline = time.monotonic() + WAIT_S
        while "Loading m version 1 for 0 s" not in terminal.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        monitor.publish(state("m", 1, State.AVAILABLE))
    assert "\x1b[2K" in terminal.getvalue()  # the line was erased
