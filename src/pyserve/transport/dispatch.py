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
from typing import Any, Generic, TypeAlias, TypeVar, cast

from pyserve.batching.task import Task
from pyserve.dtypes import Array
from pyserve.errors import CancelledError, Code, InternalError, ResourceExhaustedError, Status
from pyserve.inference.call import Blocking, Call, Work

T = TypeVar("T")
U = TypeVar("U")
Begun: TypeAlias = T | Call[T] | Work[T] | Blocking[T]

# Decoding or encoding at most this many bytes takes less time than handing it to another thread is worth.
INLINE_BYTES = 1 << 18
# Counting the bytes of more strings than this would itself take time on the loop.
_COUNTED_STRINGS = 1000
# Requests that only wait, each on a thread of its own. More than a few of them at once is a mistake.
MAX_BLOCKING = 16


Settle: TypeAlias = Callable[[T | None, Exception | None], None]
"""Takes an answer, or the error in its place. Called once, on the loop, maybe before `begin` has returned."""


class Dispatcher:
    """Runs calls for one event loop. Every method is called on that loop, except where said.

    Args:
        submit: The scheduler's; takes a task from any thread.
        codec_threads: Where large requests and answers are decoded and encoded, so that small ones are not
            held up behind them.
    """

    def __init__(self, submit: Callable[[Task], None], codec_threads: ThreadPoolExecutor) -> None:
        self.loop = asyncio.get_running_loop()
        self.submit = submit
        self.codec_threads = codec_threads
        self.blocking = 0  # requests that wait on threads of their own
        self._answered: collections.deque[Request[Any]] = collections.deque()
        self._wake_up_due = False

    async def answer(self, begin: Callable[[], Begun[T]], size: int) -> T:
        """One request through its handler and its model; for callers that are coroutines.

        Args:
            begin: Decodes the request and checks it; gives the answer itself, a call to run, work to do, or a wait.
            size: Bytes of the request.

        Raises:
            ServingError: Whatever refused or failed it.
        """
        future: asyncio.Future[T] = self.loop.create_future()

        request = self.begin(begin, size, functools.partial(_settle, future))
        try:
            return await future
        except asyncio.CancelledError:
            request.cancel()
            raise
        finally:
            # An error's traceback holds this frame: without this line they, and the request's data with them, would
            # wait for the cyclic collector.
            del future

    def begin(self, begin: Callable[[], Begun[T]], size: int, settle: Settle[T]) -> Request[T]:
        """The same for callers that are told: no coroutine, task or future is made for a small request.

        Args:
            begin, size: As in `answer`.
            settle: Told the end, unless the request is cancelled before it.
        """
        request: Request[T] = Request(self, settle)
        request.start(begin, size)
        return request

    def post(self, request: Request[Any]) -> None:
        """Any thread: put an answered request into the mailbox, and wake the loop if nobody has."""
        self._answered.append(request)
        if not self._wake_up_due:
            self._wake_up_due = True
            self.call_on_loop(self._deliver)

    def call_on_loop(self, callback: Callable[..., None], *arguments: Any) -> bool:
        """Any thread; False when the loop is closed: its requests are gone, and nobody waits."""
        try:
            self.loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            return False
        return True

    def _deliver(self) -> None:
        # Cleared before the mailbox is emptied: an answer that comes later schedules a delivery of its own.
        self._wake_up_due = False
        while self._answered:
            self._answered.popleft().answered()


class Request(Generic[T]):
    """A request on its way through its handler and its model. Every method is called on the loop.

    Args:
        dispatcher: Runs it.
        settle: Told the end.
    """

    __slots__ = ("_call", "_dispatcher", "_settle", "_stop", "_timer")

    def __init__(self, dispatcher: Dispatcher, settle: Settle[T]) -> None:
        self._dispatcher = dispatcher
        self._settle: Settle[T] | None = settle  # None once it is settled or cancelled
        self._call: Call[T] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stop: Callable[[], None] | None = None  # ends a wait

    def start(self, begin: Callable[[], Begun[T]], size: int) -> None:
        """Begin it, here or, if it is large, on another thread."""
        if size > INLINE_BYTES:
            self._elsewhere(begin, self._go_on, _drop)
            return
        try:
            begun = begin()
        except Exception as error:
            self._end(None, error)
            return
        self._go_on(begun)

    def cancel(self) -> None:
        """The caller went away: nothing is settled any more, and what runs for it is told."""
        if self._settle is None:
            return
        self._settle = None
        if self._stop is not None:
            self._stop()
        if self._call is not None:
            self._call.task.answer(None, CancelledError("The caller went away"))
            self._ended(self._call, Code.CANCELLED)

    def _go_on(self, begun: Begun[T]) -> None:
        if isinstance(begun, Call):
            self._run(begun)
        elif isinstance(begun, Work):
            self._elsewhere(begun.make, self._answer, _ignore)
        elif isinstance(begun, Blocking):
            self._block(begun)
        else:
            self._answer(begun)

    def _run(self, call: Call[T]) -> None:
        """Run a task; at its deadline it is answered with DEADLINE_EXCEEDED, while the model may run on."""
        self._call = call
        task = call.task
        task.on_answer = self._post
        if task.deadline is not None:
            # time.monotonic() is the clock of asyncio's and uvloop's loops, but only differences are certain.
            self._timer = self._dispatcher.loop.call_later(max(0.0, task.time_left()), task.expire)
        task.submitted_at = time.perf_counter()
        self._dispatcher.submit(task)

    def _post(self, task: Task) -> None:
        """Any thread: the task has its answer."""
        del task
        self._dispatcher.post(self)

    def answered(self) -> None:
        """The task has its answer: make the request's of it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._settle is None:
            return
        call = self._call
        assert call is not None
        outputs = call.task.result
        if outputs is None:
            error = call.task.error or InternalError("The model answered neither outputs nor an error")
            self._end(None, error)
            return
        try:
            # Measuring may fail too: a servable that gives what is no tensor must not cost others their answers.
            if sum(map(_size, outputs.values())) > INLINE_BYTES:
                self._elsewhere(functools.partial(call.finish, outputs), self._answer, _ignore)
                return
            answer = call.finish(outputs)
        except Exception as error:
            self._end(None, error)
            return
        self._end(answer, None)

    def _answer(self, answer: T) -> None:
        self._end(answer, None)

    def _end(self, answer: T | None, error: Exception | None) -> None:
        settle, self._settle = self._settle, None
        if settle is None:
            return
        call, self._call = self._call, None
        if call is not None:
            self._ended(call, Code.OK if error is None else Status.of(error).code)
        settle(answer, error)

    def _ended(self, call: Call[T], code: Code) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if call.done is not None:
            call.done(code)

    def _elsewhere(
        self, make: Callable[[], U], use: Callable[[U], None], unwanted: Callable[[Future[U]], None]
    ) -> None:
        """Make something on another thread and use it on the loop, if anybody still waits then."""
        dispatcher = self._dispatcher

        def arrived(made: Future[U]) -> None:
            if self._settle is None:
                unwanted(made)
                return
            error = made.exception()
            if error is None:
                use(made.result())
            else:
                self._end(None, cast("Exception", error))

        def done(made: Future[U]) -> None:
            # On the other thread, where nobody waits any more: the loop may be about to end.
            nobody_waits = made.cancelled() or self._settle is None
            if nobody_waits or not dispatcher.call_on_loop(arrived, made):
                unwanted(made)

        dispatcher.codec_threads.submit(make).add_done_callback(done)

    def _block(self, blocking: Blocking[T]) -> None:
        """Wait on a thread of its own; when the caller goes away the wait is told to end."""
        dispatcher = self._dispatcher
        if dispatcher.blocking >= MAX_BLOCKING:
            self._end(
                None, ResourceExhaustedError(f"{MAX_BLOCKING} requests of this kind are waiting already")
            )
            return
        gone = threading.Event()

        def stop() -> None:
            gone.set()
            blocking.wake()

        def settle(answer: T | None, error: Exception | None) -> None:
            dispatcher.blocking -= 1
            self._end(answer, error)

        def run() -> None:
            try:
                answer = blocking.run(gone.is_set)
            except Exception as error:
                dispatcher.call_on_loop(settle, None, error)
            else:
                dispatcher.call_on_loop(settle, answer, None)

        self._stop = stop
        # A daemon: whatever it waits for must not keep the process alive.
        threading.Thread(target=run, name="pyserve-blocking", daemon=True).start()
        dispatcher.blocking += 1


def _size(array: Array) -> int:
    """About how many bytes an output has to encode."""
    if array.dtype != object:
        return array.nbytes
    if array.size > _COUNTED_STRINGS:
        return INLINE_BYTES + 1
    return sum(map(len, array.flat))


def _settle(future: asyncio.Future[T], answer: T | None, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(cast("T", answer))


def _ignore(made: Future[Any]) -> None:
    """An answer that nobody waits for."""


def _drop(decoding: Future[Any]) -> None:
    """A task that nobody waits for holds a servable, and nobody else will end it."""
    if decoding.cancelled() or decoding.exception() is not None:
        return
    call = decoding.result()
    if isinstance(call, Call):
        call.task.drop(CancelledError("The caller went away"))
        if call.done is not None:
            call.done(Code.CANCELLED)
