"""How a call ends: in time or not, with which code it is counted, and that nothing of it is kept."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from pyserve.batching.task import Task
from pyserve.dtypes import Array
from pyserve.errors import Code, InvalidArgumentError, ServingError, Status
from pyserve.inference.call import Call
from pyserve.servable import ServableHandle, ServableId
from pyserve.transport.dispatch import Dispatcher

OUTPUTS = {"y": np.zeros(1)}


def task(deadline_s: float | None = None, inputs: dict[str, Array] | None = None) -> Task:
    servable: Any = None
    handle = ServableHandle(ServableId("m", 1), servable, lambda: None)
    return Task(handle, "s", inputs or {}, [], None if deadline_s is None else time.monotonic() + deadline_s)


def broken(outputs: dict[str, Array]) -> bytes:
    raise ZeroDivisionError


def nobody(task: Task) -> None:
    """Takes a task and never answers it."""


@pytest.mark.parametrize(
    ("submit", "finish", "deadline_s", "code"),
    [
        (lambda task: task.answer(OUTPUTS), lambda outputs: b"", None, Code.OK),
        (lambda task: task.answer(OUTPUTS), lambda outputs: b"", 1000.0, Code.OK),
        (lambda task: task.answer(None, InvalidArgumentError("x")), broken, None, Code.INVALID_ARGUMENT),
        (lambda task: task.answer(None, None), broken, None, Code.INTERNAL),
        (lambda task: task.answer(OUTPUTS), broken, None, Code.INTERNAL),
        (nobody, broken, 0.01, Code.DEADLINE_EXCEEDED),
        (nobody, broken, -1.0, Code.DEADLINE_EXCEEDED),
    ],
)
def test_codes(
    submit: Callable[[Task], object],
    finish: Callable[[dict[str, Array]], bytes],
    deadline_s: float | None,
    code: Code,
) -> None:
    """The caller gets what happened, and whoever counts hears the same code, once."""
    heard: list[Code] = []

    async def main() -> Code:
        with ThreadPoolExecutor(1) as threads:
            dispatcher = Dispatcher(lambda task: submit(task) and None, threads)
            try:
                await dispatcher.answer(lambda: Call(task(deadline_s), finish, heard.append), 1)
            except (ServingError, ZeroDivisionError) as error:
                return Status.of(error).code
            return Code.OK

    assert asyncio.run(main()) is code
    assert heard == [code]


def test_outputs_that_are_no_tensor() -> None:
    """They fail their own request, and the answers that wait behind them in the mailbox arrive."""

    async def main() -> list[bytes | BaseException]:
        waiting: list[Task] = []
        with ThreadPoolExecutor(1) as threads:
            dispatcher = Dispatcher(waiting.append, threads)
            calls = [Call(task(10.0), lambda outputs: b"good") for _ in range(2)]
            answers = [asyncio.ensure_future(dispatcher.answer(lambda c=c: c, 1)) for c in calls]
            await asyncio.sleep(0)
            waiting[0].answer({"y": np.array([object()])})
            waiting[1].answer(OUTPUTS)
            return await asyncio.gather(*answers, return_exceptions=True)

    bad, good = asyncio.run(asyncio.wait_for(main(), 5))
    assert isinstance(bad, TypeError)
    assert good == b"good"


def test_an_answered_call_is_forgotten() -> None:
    """Its timer does not keep it until the deadline, which may be far."""

    async def main() -> None:
        array = np.zeros(10)
        kept = weakref.ref(array)
        calls = [Call(task(1000.0, {"x": array}), lambda outputs: b"")]
        del array
        with ThreadPoolExecutor(1) as threads:
            dispatcher = Dispatcher(lambda task: task.answer(OUTPUTS) and None, threads)
            await dispatcher.answer(calls.pop, 1)
            gc.collect()
            assert kept() is None

    asyncio.run(main())
