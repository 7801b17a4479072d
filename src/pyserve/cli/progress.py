"""Says that a long load is still going on: a line from time to time, or a moving one on a terminal."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from pyserve.lifecycle.monitor import Monitor, ServableState, State
from pyserve.servable import ServableId

logger = logging.getLogger(__name__)

# A load that takes this long is worth a word; most are over before.
FIRST_WORD_S = 5.0
# Between two lines of the log about the same loads.
REPEAT_S = 10.0
# How often the line on a terminal is redrawn.
_REDRAW_S = 0.25


class LoadingTimes:
    """Which versions are loading, and since when. Pure: states and times are fed in."""

    def __init__(self) -> None:
        self._since: dict[ServableId, float] = {}

    def observe(self, state: ServableState, now: float) -> None:
        """Take note of a change of state at `now`, in seconds."""
        if state.state is State.LOADING:
            self._since.setdefault(state.id, now)
        else:
            self._since.pop(state.id, None)

    def text(self, now: float) -> str:
        """What takes longer than `FIRST_WORD_S`, longest first; empty when nothing does."""
        long = sorted((since, id) for id, since in list(self._since.items()) if now - since >= FIRST_WORD_S)
        return ", ".join(f"{id.name} version {id.version} for {now - since:.0f} s" for since, id in long)


class LoadProgress:
    """Watches a monitor and reports long loads; a context manager.

    On a terminal one line at the bottom moves (rich draws it); otherwise a line is logged every `REPEAT_S` seconds.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._times = LoadingTimes()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._report, name="pyserve-progress", daemon=True)
        self._unsubscribe: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        self._unsubscribe = self._monitor.subscribe(
            lambda state: self._times.observe(state, time.monotonic())
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._over.set()
        self._thread.join()

    def _report(self) -> None:
        if sys.stderr.isatty():
            self._draw()
        else:
            while not self._over.wait(REPEAT_S):
                if text := self._times.text(time.monotonic()):
                    logger.info("Still loading: %s", text)

    def _draw(self) -> None:
        from rich.console import Console

        console = Console(stderr=True)
        while not self._over.wait(_REDRAW_S):
            if not self._times.text(time.monotonic()):
                continue
            with console.status("") as status:
                while (text := self._times.text(time.monotonic())) and not self._over.wait(_REDRAW_S):
                    status.update(f"Loading {text}")
