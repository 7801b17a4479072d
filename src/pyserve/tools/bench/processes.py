"""The generator's processes: started once, given one load after the other, and their outcomes added up.

A process of its own even where one is enough: what draws the progress, or measures the server, must not take the
generator's time.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from types import TracebackType
from typing import Any, Self

from pyserve.errors import InternalError, ServingError
from pyserve.tools.bench.generator import Generator
from pyserve.tools.bench.load import Outcome, Plan, merged
from pyserve.tools.bench.request import Request
from pyserve.tools.bench.target import Target

_LOOK_S = 0.1


class Generators:
    """So many generator processes; a context manager. One load at a time.

    Args:
        processes: How many; a Python process tops out at some ten thousand calls per second.
    """

    def __init__(self, processes: int = 1) -> None:
        self._number = processes
        self._children: list[tuple[Any, Pipe]] = []
        self._progress: Any = None

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self._progress = context.RawArray("Q", self._number)
        for number in range(self._number):
            here, there = context.Pipe()
            child = context.Process(target=_work, args=(there, self._progress, number), daemon=True)
            child.start()
            there.close()
            self._children.append((child, here))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child, pipe in self._children:
            pipe.close()  # which ends a child that waits for work
            if kind is not None:
                child.terminate()
            child.join()
        self._children.clear()

    def run(
        self,
        target: Target,
        request: Request,
        plan: Plan,
        on_progress: Callable[[int], None] = lambda answers: None,
    ) -> Outcome:
        """Put one load on a target; `on_progress` is told the number of answers about ten times a second.

        Raises:
            UnavailableError: The target cannot be reached.
        """
        pipes = []
        for (_, pipe), part in zip(self._children, plan.shared(self._number), strict=False):
            pipe.send((target, request, part))
            pipes.append(pipe)
        results = []
        for pipe in pipes:
            while not pipe.poll(_LOOK_S):
                on_progress(sum(self._progress))
            results.append(_received(pipe))
        for result in results:
            if isinstance(result, ServingError):
                raise result
        on_progress(sum(self._progress))
        return merged(results)


def _received(pipe: Pipe) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        return InternalError("a process of the load generator has died")


def _work(pipe: Pipe, progress: Any, number: int) -> None:
    """A generator process: loads in, outcomes out, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends

    def answered(count: int) -> None:
        progress[number] = count

    while True:
        try:
            target, request, plan = pipe.recv()
        except EOFError:
            return
        answered(0)
        try:
            pipe.send(Generator(target, request, plan, answered, seed=number + 1).run())
        except ServingError as error:
            pipe.send(error)
