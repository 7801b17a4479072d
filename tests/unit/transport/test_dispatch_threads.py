"""Which work stays on the event loop, and which goes to another thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from pyserve.batching.task import Task
from pyserve.dtypes import Array
from pyserve.inference.call import Call
from pyserve.servable import ServableHandle, ServableId
from pyserve.transport.dispatch import INLINE_BYTES, Dispatcher


def ran_on_loop(outputs: Mapping[str, Array], size: int) -> tuple[bool, bool]:
    """Whether a request of a size was begun, and its outputs were encoded, on the loop's own thread."""
    seen: list[bool] = []

    async def main() -> None:
        loop_thread = threading.current_thread()

        def note(result: Any) -> Any:
            seen.append(threading.current_thread() is loop_thread)
            return result

        servable: Any = None
        handle = ServableHandle(ServableId("m", 1), servable, lambda: None)
        call: Call[bytes] = Call(Task(handle, "s", {}, []), lambda outputs: note(b"done"))

        def submit(task: Task) -> None:
            task.answer(dict(outputs))

        with ThreadPoolExecutor(1) as threads:
            begin: Callable[[], Call[bytes]] = lambda: note(call)  # noqa: E731
            assert await Dispatcher(submit, threads).answer(begin, size) == b"done"

    asyncio.run(main())
    begun, encoded = seen
    return begun, encoded


def strings(count: int, length: int) -> Array:
    return np.array([b"x" * length] * count, object)


@pytest.mark.parametrize(
    ("outputs", "size", "begun", "encoded"),
    [
        ({"y": np.zeros(4, np.float32)}, 10, True, True),
        ({"y": np.zeros(4, np.float32)}, INLINE_BYTES + 1, False, True),
        ({"y": np.zeros(INLINE_BYTES, np.int8)}, 10, True, True),
        ({"y": np.zeros(INLINE_BYTES + 1, np.int8)}, 10, True, False),
        ({"a": np.zeros(INLINE_BYTES, np.int8), "b": np.zeros(1, np.int8)}, 10, True, False),
        ({"y": strings(10, 10)}, 10, True, True),
        ({"y": strings(100, 4096)}, 10, True, False),
        ({"y": strings(2000, 1)}, 10, True, False),
    ],
)
def test_large_work_leaves_the_loop(outputs: dict[str, Array], size: int, begun: bool, encoded: bool) -> None:
    """Large requests and large answers are worked on elsewhere; strings count with their bytes."""
    assert ran_on_loop(outputs, size) == (begun, encoded)
