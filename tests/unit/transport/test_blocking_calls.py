"""Requests that wait on a thread of their own: answers, errors, callers that go away, and the limit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pyserve.errors import FailedPreconditionError, ResourceExhaustedError
from pyserve.inference.call import Blocking
from pyserve.transport.dispatch import MAX_BLOCKING, Dispatcher

LIMIT_S = 20.0


def play(scene: Callable[[Dispatcher], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(1) as codec_threads:
            await asyncio.wait_for(scene(Dispatcher(lambda task: None, codec_threads)), LIMIT_S)

    asyncio.run(main())


def test_it_answers_from_another_thread() -> None:
    """The wait runs off the loop, and its answer comes back."""
    names: list[str] = []

    def run(gone: Callable[[], bool]) -> bytes:
        names.append(threading.current_thread().name)
        return b"answer"

    async def scene(dispatcher: Dispatcher) -> None:
        assert await dispatcher.answer(lambda: Blocking(run, lambda: None), 1) == b"answer"
        assert names == ["pyserve-blocking"]

    play(scene)


def test_its_error_is_the_callers() -> None:
    """What the wait raises, the caller gets."""

    def run(gone: Callable[[], bool]) -> bytes:
        raise FailedPreconditionError("no")

    async def scene(dispatcher: Dispatcher) -> None:
        with pytest.raises(FailedPreconditionError, match="no"):
            await dispatcher.answer(lambda: Blocking(run, lambda: None), 1)

    play(scene)


def test_a_caller_that_goes_away_ends_the_wait() -> None:
    """Cancelling the request tells the wait, and wakes it."""
    began, woken, ended = threading.Event(), threading.Event(), threading.Event()

    def run(gone: Callable[[], bool]) -> bytes:
        began.set()
        assert not gone()
        assert woken.wait(LIMIT_S)
        assert gone()
        ended.set()
        return b""

    async def scene(dispatcher: Dispatcher) -> None:
        request = asyncio.ensure_future(dispatcher.answer(lambda: Blocking(run, woken.set), 1))
        await asyncio.to_thread(began.wait, LIMIT_S)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert await asyncio.to_thread(ended.wait, LIMIT_S)

    play(scene)


def test_their_number_is_limited() -> None:
    """One more than the limit is refused at once; when one has ended there is room again."""
    gate = threading.Event()

    def run(gone: Callable[[], bool]) -> bytes:
        gate.wait(LIMIT_S)
        return b""

    async def scene(dispatcher: Dispatcher) -> None:
        def call() -> asyncio.Future[bytes]:
            return asyncio.ensure_future(dispatcher.answer(lambda: Blocking(run, lambda: None), 1))

        waiting = [call() for _ in range(MAX_BLOCKING)]
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhaustedError):
            await call()
        gate.set()
        await asyncio.gather(*waiting)
        assert await call() == b""

    play(scene)
