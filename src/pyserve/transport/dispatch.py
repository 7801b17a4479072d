"""The bridge between the event loop and the threads that run models.

Tasks go to the scheduler from the loop; answers come back from worker threads. However many answers arrive
while the loop is busy, they cost one wake-up: the first one schedules the delivery, the rest ride along.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

from pyserve.batching.task import Task
from pyserve.dtypes import Array
from pyserve.errors import CancelledError, Code, InternalError, ResourceExhaustedError, Status
from pyserve.inference.call import Blocking, Call, Work

T = TypeVar("T")
Begun: TypeAlias = T | Call[T] | Work[T] | Blocking[T]

# Decoding or encoding at most this many bytes takes less time than handing it to another thread is worth.
INLINE_BYTES = 1 << 18
# Counting the bytes of more strings than this would itself take time on the loop.
_COUNTED_STRINGS = 1000
# Requests that only wait, each on a thread of its own. More than a few of them at once is a mistake.
MAX_BLOCKING = 16


class Dispatcher:
    """Runs calls for one event loop. Every method is called on that loop, except where said.

    Args:
        submit: The scheduler's; takes a task from any thread.
        codec_threads: Where large requests and answers are decoded and encoded, so that small ones are not
            held up behind them.
    """

    def __init__(self, submit: Callable[[Task], None], codec_threads: ThreadPoolExecutor) -> None:
        self._loop = asyncio.get_running_loop()
        self._submit = submit
        self._codec_threads = codec_threads
        self._answered: collections.deque[tuple[asyncio.Future[None], Task]] = collections.deque()
        self._wake_up_due = False
        self._blocking = 0

    async def answer(self, begin: Callable[[], Begun[T]], size: int) -> T:
        """One request through its handler and its model.

        Args:
            begin: Decodes the request and checks it; gives the answer itself, a call to run, work to do, or a wait.
            size: Bytes of the request.

        Raises:
            ServingError: Whatever refused or failed it.
        """
        begun = await self._begin(begin, size)
        if isinstance(begun, Blocking):
            return await self._block(begun)
        if isinstance(begun, Work):
            made: T = await self._loop.run_in_executor(self._codec_threads, begun.make)
            return made
        if not isinstance(begun, Call):
            return begun
        code = Code.CANCELLED  # what a caller that goes away leaves behind
        try:
            answer: T = await self._run(begun)
            code = Code.OK
            return answer
        except Exception as error:
            code = Status.of(error).code
            raise
        finally:
            if begun.done is not None:
                begun.done(code)

    async def _run(self, call: Call[T]) -> T:
        outputs = await self.outputs(call.task)
        if sum(map(_size, outputs.values())) <= INLINE_BYTES:
            return call.finish(outputs)
        return await self._loop.run_in_executor(self._codec_threads, call.finish, outputs)

    async def _begin(self, begin: Callable[[], Begun[T]], size: int) -> Begun[T]:
        if size <= INLINE_BYTES:
            return begin()
        decoding = self._codec_threads.submit(begin)
        try:
            return await asyncio.wrap_future(decoding)
        except asyncio.CancelledError:
            # The decoding goes on; the task that it makes holds a servable, and nobody else will end it.
            decoding.add_done_callback(_drop)
            raise
        finally:
            # A failed decoding holds its error, whose traceback holds this frame: without this line they, and the
            # request's data with them, would wait for the cyclic collector.
            del decoding

    async def _block(self, blocking: Blocking[T]) -> T:
        """Wait on a thread of its own; when the caller goes away the wait is told to end."""
        if self._blocking >= MAX_BLOCKING:
            raise ResourceExhaustedError(f"{MAX_BLOCKING} requests of this kind are waiting already")
        future: asyncio.Future[T] = self._loop.create_future()
        gone = threading.Event()

        def settle(answer: Callable[[], None]) -> None:
            self._blocking -= 1
            if not future.done():
                answer()

        def run() -> None:
            answer: Callable[[], None]
            try:
                answer = functools.partial(future.set_result, blocking.run(gone.is_set))
            except Exception as error:
                answer = functools.partial(future.set_exception, error)
            try:
                self._loop.call_soon_threadsafe(settle, answer)
            except RuntimeError:
                return  # the loop is closed: nobody waits

        # A daemon: whatever it waits for must not keep the process alive.
        threading.Thread(target=run, name="pyserve-blocking", daemon=True).start()
        self._blocking += 1
        try:
            return await future
        except asyncio.CancelledError:
            gone.set()
            blocking.wake()
            raise

    async def outputs(self, task: Task) -> dict[str, Array]:
        """Run a task and wait for its outputs, at most until its deadline.

        Raises:
            ServingError: The task's error. After the deadline DEADLINE_EXCEEDED, while the model may run on.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        task.on_answer = lambda task: self._post(future, task)
        timer = None
        if task.deadline is not None:
            # time.monotonic() is the clock of asyncio's and uvloop's loops, but only differences are certain.
            timer = self._loop.call_later(max(0.0, task.time_left()), task.expire)
        task.submitted_at = time.perf_counter()
        self._submit(task)
        try:
            await future
        except asyncio.CancelledError:
            task.answer(None, CancelledError("The caller went away"))
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if task.error is not None:
            raise task.error
        if task.result is None:
            raise InternalError("The model answered neither outputs nor an error")
        return task.result

    def _post(self, future: asyncio.Future[None], task: Task) -> None:
        """Any thread: put an answer into the mailbox, and wake the loop if nobody has."""
        self._answered.append((future, task))
        if not self._wake_up_due:
            self._wake_up_due = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                return  # the loop is closed: its requests are gone, and nobody waits

    def _deliver(self) -> None:
        # Cleared before the mailbox is emptied: an answer that comes later schedules a delivery of its own.
        self._wake_up_due = False
        while self._answered:
            future, _ = self._answered.popleft()
            if not future.done():
                future.set_result(None)


def _size(array: Array) -> int:
    """About how many bytes an output has to encode."""
    if array.dtype != object:
        return array.nbytes
    if array.size > _COUNTED_STRINGS:
        return INLINE_BYTES + 1
    return sum(map(len, array.flat))


def _drop(decoding: Future[Any]) -> None:
    if decoding.cancelled() or decoding.exception() is not None:
        return
    call = decoding.result()
    if isinstance(call, Call):
        call.task.drop(CancelledError("The caller went away"))
        if call.done is not None:
            call.done(Code.CANCELLED)
