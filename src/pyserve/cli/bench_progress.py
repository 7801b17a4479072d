"""Shows how far the rounds of `pyserve bench` are: a bar on a terminal, a line from time to time elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")

# Between two lines where there is no terminal.
_LINE_S = 5.0


class RoundProgress:
    """Progress on standard error; a context manager.

    Args:
        rounds: How many there will be, of all contenders.
        seconds: How long each is meant to take.
    """

    def __init__(self, rounds: int, seconds: float) -> None:
        self._rounds = rounds
        self._seconds = seconds
        self._done = 0
        self._said_at = 0.0
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.add_task("", total=self._rounds * self._seconds)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def watch(self, load: Callable[[Callable[[int], None]], T]) -> T:
        """Run one round; it gets a function to tell how many answers there are."""
        began = self._said_at = time.monotonic()
        self._show(0.0, 0)
        result = load(lambda answers: self._show(time.monotonic() - began, answers))
        self._done += 1
        return result

    def _show(self, seconds: float, answers: int) -> None:
        text = f"round {self._done + 1} of {self._rounds}"
        if self._bar is not None:
            completed = self._done * self._seconds + min(seconds, self._seconds)
            (task,) = self._bar.task_ids
            self._bar.update(task, completed=completed, description=f"{text}, {answers} answers")
        elif time.monotonic() - self._said_at >= _LINE_S:
            self._said_at = time.monotonic()
            print(f"{text}: {seconds:.0f} s, {answers} answers", file=sys.stderr)
