"""A process of its own for what is measured in process: made once, asked again and again."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self


class Child:
    """The process; a context manager.

    Args:
        make: Called in the process with `arguments`; gives what `ask` calls there. A function of a module.
        arguments: What can be pickled.
    """

    def __init__(self, make: Callable[..., Callable[..., Any]], *arguments: Any) -> None:
        self._make = make
        self._arguments = arguments

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_work, args=(there, self._make, self._arguments), daemon=True)
        self._process.start()
        there.close()
        self._result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def ask(self, *arguments: Any) -> Any:
        """Call what was made, in the process, and wait for what it returns."""
        self._pipe.send(arguments)
        return self._result()

    def _result(self) -> Any:
        good, result = self._pipe.recv()
        if not good:
            raise RuntimeError(result)
        return result


def _work(pipe: Connection, make: Callable[..., Callable[..., Any]], arguments: tuple[Any, ...]) -> None:
    try:
        call = make(*arguments)
        pipe.send((True, None))
        while True:
            try:
                asked = pipe.recv()
            except EOFError:
                os._exit(0)  # as the server ends: TensorFlow's threads are not waited for
            pipe.send((True, call(*asked)))
    except Exception:
        pipe.send((False, traceback.format_exc()))
