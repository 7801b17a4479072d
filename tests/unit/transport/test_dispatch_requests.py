"""Requests whose callers are told by a callback: each end, and what becomes of those that are cancelled."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from pyserve.batching.task import Task
from pyserve.errors import Code, DeadlineExceededError, InvalidArgumentError
from pyserve.inference.call import Call, Work
from pyserve.servable import ServableHandle, ServableId
from pyserve.transport.dispatch import INLINE_BYTES, Dispatcher

OUTPUTS = {"y": np.zeros(2, np.float32)}
LIMIT_S = 20.0


class Scene:
    """A dispatcher whose tasks are kept, and what it settled.

    Attributes:
        tasks: Submitted and not run; a test answers them.
        settled: Answer and error of each request that came to an end.
        ended: What `Call.done` was told.
        released: Handles that were given back.
    """

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self.tasks: list[Task] = []
        self.settled: list[tuple[bytes | None, Exception | None]] = []
        self.ended: list[Code] = []
        self.released = 0
        self.dispatcher = Dispatcher(self.tasks.append, threads)

    def call(self, deadline: float | None = None) -> Call[bytes]:
        servable: Any = None
        handle = ServableHandle(ServableId("m", 1), servable, self._release)
        return Call(Task(handle, "s", {}, [], deadline), lambda outputs: b"done", self.ended.append)

    def _release(self) -> None:
        self.released += 1

    def begin(self, begin: Callable[[], Any], size: int = 1) -> Any:
        return self.dispatcher.begin(begin, size, lambda answer, error: self.settled.append((answer, error)))

    async def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(2000):
            if condition():
                return
            await asyncio.sleep(0.001)
        raise AssertionError("it never came to that")


def play(scene: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(1) as threads:
            await scene(Scene(threads))

    asyncio.run(main())


def test_an_answer_at_once() -> None:
    """It is settled before `begin` returns; so is a refusal."""

    def refuse() -> bytes:
        raise InvalidArgumentError("no")

    async def scene(scene: Scene) -> None:
        scene.begin(lambda: b"now")
        scene.begin(refuse)
        (first, second) = scene.settled
        assert first == (b"now", None)
        assert isinstance(second[1], InvalidArgumentError)

    play(scene)


def test_a_run() -> None:
    """Its answer comes with the mailbox; many answers come in one round."""

    async def scene(scene: Scene) -> None:
        for _ in range(3):
            scene.begin(scene.call)
        for task in scene.tasks:
            task.answer(OUTPUTS)
        assert scene.settled == []
        await scene.until(lambda: len(scene.settled) == 3)
        assert scene.settled == [(b"done", None)] * 3
        assert scene.ended == [Code.OK] * 3

    play(scene)


def test_a_deadline() -> None:
    """It is settled then, though the model runs on; a timer that is not needed any more is gone."""

    async def scene(scene: Scene) -> None:
        scene.begin(lambda: scene.call(time.monotonic() + 0.01))
        await scene.until(lambda: bool(scene.settled))
        assert isinstance(scene.settled[0][1], DeadlineExceededError)
        assert scene.ended == [Code.DEADLINE_EXCEEDED]
        request = scene.begin(lambda: scene.call(time.monotonic() + 1000))
        timer = request._timer
        scene.tasks[1].answer(OUTPUTS)
        await scene.until(lambda: len(scene.settled) == 2)
        assert timer.cancelled()

    play(scene)


def test_a_cancelled_run() -> None:
    """Nothing is settled; the task is answered, so that it is not run; its end is told once."""

    async def scene(scene: Scene) -> None:
        request = scene.begin(scene.call)
        request.cancel()
        request.cancel()
        assert scene.tasks[0].answered
        assert scene.ended == [Code.CANCELLED]
        scene.tasks[0].run()
        await asyncio.sleep(0.01)
        assert scene.settled == []
        assert scene.released == 1

    play(scene)


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_large_request(cancelled: bool) -> None:
    """It is begun on another thread; if its caller goes meanwhile, the task that comes of it is dropped."""
    gate = threading.Event()

    async def scene(scene: Scene) -> None:
        def begin() -> Call[bytes]:
            gate.wait(LIMIT_S)
            return scene.call()

        request = scene.begin(begin, INLINE_BYTES + 1)
        if cancelled:
            request.cancel()
        gate.set()
        if cancelled:
            await scene.until(lambda: scene.released == 1)
            assert scene.ended == [Code.CANCELLED]
            assert scene.tasks == []
        else:
            await scene.until(lambda: bool(scene.tasks))
            scene.tasks[0].answer(OUTPUTS)
            await scene.until(lambda: scene.settled == [(b"done", None)])

    play(scene)


def test_work() -> None:
    """It is made on another thread, and its error is the caller's."""

    def fail() -> bytes:
        raise InvalidArgumentError("no")

    async def scene(scene: Scene) -> None:
        scene.begin(lambda: Work(lambda: threading.current_thread().name.encode()))
        await scene.until(lambda: len(scene.settled) == 1)
        assert scene.settled[0][0] != threading.current_thread().name.encode()
        scene.begin(lambda: Work(fail))
        await scene.until(lambda: len(scene.settled) == 2)
        assert isinstance(scene.settled[1][1], InvalidArgumentError)

    play(scene)
