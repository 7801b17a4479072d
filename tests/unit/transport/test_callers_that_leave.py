"""A caller that goes away leaves nothing behind, at whichever point of its request: no handle, no run, one count."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pyserve.batching.task import Task
from pyserve.errors import Code, InvalidArgumentError
from pyserve.inference.call import Call
from pyserve.servable import ServableHandle, ServableId
from pyserve.transport.dispatch import INLINE_BYTES, Dispatcher


class Request:
    """A call whose handle and end are watched."""

    def __init__(self) -> None:
        self.released = 0
        self.codes: list[Code] = []
        servable: Any = None
        handle = ServableHandle(ServableId("m", 1), servable, self._release)
        self.call: Call[bytes] = Call(Task(handle, "s", {}, []), lambda outputs: b"done", self.codes.append)

    def _release(self) -> None:
        self.released += 1


def on_loop(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())

    run.__doc__ = test.__doc__
    return run


async def cancelled(answer: asyncio.Task[bytes]) -> bool:
    answer.cancel()
    await asyncio.wait([answer])
    return answer.cancelled()


@on_loop
async def test_while_its_request_is_decoded() -> None:
    """The decoding goes on; the task that comes of it is never submitted, and gives its servable back."""
    request, gate, submitted = Request(), threading.Event(), list[Task]()

    def begin() -> Call[bytes]:
        gate.wait(10)
        return request.call

    with ThreadPoolExecutor(1) as threads:
        dispatcher = Dispatcher(submitted.append, threads)
        answer = asyncio.create_task(dispatcher.answer(begin, INLINE_BYTES + 1))
        await asyncio.sleep(0)
        assert await cancelled(answer)
        assert request.released == 0
        gate.set()
    assert (request.released, request.codes, submitted) == (1, [Code.CANCELLED], [])


@on_loop
async def test_while_a_request_is_decoded_that_is_refused() -> None:
    """A refusal that nobody hears is no error."""
    gate = threading.Event()

    def begin() -> Call[bytes]:
        gate.wait(10)
        raise InvalidArgumentError("wrong")

    with ThreadPoolExecutor(1) as threads:
        answer = asyncio.create_task(Dispatcher(list[Task]().append, threads).answer(begin, INLINE_BYTES + 1))
        await asyncio.sleep(0)
        assert await cancelled(answer)
        gate.set()


@on_loop
async def test_while_it_waits_for_its_model() -> None:
    """The task is answered, so that a model that has not begun is not run for it; whoever took it ends it."""
    request, submitted = Request(), list[Task]()
    with ThreadPoolExecutor(1) as threads:
        answer = asyncio.create_task(Dispatcher(submitted.append, threads).answer(lambda: request.call, 1))
        await asyncio.sleep(0)
        assert submitted == [request.call.task]
        assert await cancelled(answer)
        assert request.call.task.answered
        assert (request.released, request.codes) == (0, [Code.CANCELLED])
        request.call.task.run()  # the servable is None: running it would fail
        assert request.call.task.error is not None
        assert request.call.task.error.code is Code.CANCELLED
        assert request.released == 1
