"""The manager's hands: loads and unloads on threads of their own, and the events that come back from them.

One thread per job, never more than there are slots. A load takes longer than starting a thread, so nothing is
gained by keeping threads; and without a pool there is none to swap when the initial load is over. The
threads are daemons: a load stuck in foreign code keeps neither `stop` nor the process from ending.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pyserve.config import LoadOptions
from pyserve.errors import InternalError, ResourceExhaustedError
from pyserve.lifecycle.harness import Harness
from pyserve.lifecycle.loader import Prepare, attempt_load, unload_quietly
from pyserve.servable import Servable


@dataclass(frozen=True, slots=True)
class Loaded:
    """A load attempt is over: a servable or an error.

    `initial` tells whether it began in the initial phase.
    """

    harness: Harness
    initial: bool
    servable: Servable | None = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Unloaded:
    """An unload is over; what was wrong with it is only good for the log."""

    harness: Harness
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Drained:
    """A retired version was seen without a handle, so there never will be one; may come more than once."""

    harness: Harness


@dataclass(frozen=True, slots=True)
class Look:
    """Something that has no event of its own changed: the inbox, the phase, the wish to stop."""


Event = Loaded | Unloaded | Drained | Look


class Jobs:
    """Starts jobs and delivers events. Any thread may call `post`, only the manager's thread the rest.

    Args:
        options: `num_load_threads` and `num_unload_threads`, at least one of each.
        prepare: Called inside each load attempt.
        initial_load_threads: Loads at the same time in the initial phase; None means 4 per CPU.
    """

    def __init__(
        self, options: LoadOptions, prepare: Prepare | None = None, initial_load_threads: int | None = None
    ) -> None:
        self._prepare = prepare
        self._slots = {
            True: initial_load_threads or 4 * (os.cpu_count() or 1),
            False: max(options.num_load_threads, 1),
        }
        self._unload_slots = max(options.num_unload_threads, 1)
        self._loading = {True: 0, False: 0}  # attempts under way, by whether they began in the initial phase
        self._unloading = 0
        self._initial = True  # cleared by any thread
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._closed = False
        self._threads: list[threading.Thread] = []

    # --- events -----------------------------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Tell the manager something. Never blocks, takes no lock, may be called inside a finalizer."""
        self._events.put(event)
        if self._closed:
            self._act_late()

    def wait(self, timeout_s: float | None) -> list[Event]:
        """Everything that happened, in order; waits for a first event. Frees the slots of what is over."""
        events: list[Event] = []
        try:
            events.append(self._events.get(timeout=timeout_s))
            while True:
                events.append(self._events.get_nowait())
        except queue.Empty:
            pass
        for event in events:
            if isinstance(event, Loaded):
                self._loading[event.initial] -= 1
            elif isinstance(event, Unloaded):
                self._unloading -= 1
        return events

    def close(self) -> None:
        """The manager hears no more: what comes from now on is cleaned up by the thread that brings it.

        No event is missed or seen twice: whoever posts looks at `_closed` afterwards, this looks at the queue
        after setting it, and the queue gives each event to one taker.
        """
        self._closed = True
        self._act_late()

    def _act_late(self) -> None:
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return
            servable: Servable | None = None
            if isinstance(event, Loaded):
                servable = event.servable
            elif isinstance(event, Drained):
                servable = event.harness.take_servable()
            if servable is not None:
                unload_quietly(servable)

    # --- jobs -------------------------------------------------------------------------------------

    def end_initial_phase(self) -> None:
        """Use the normal slots from now on; attempts under way go on and occupy none of them. Any thread."""
        self._initial = False

    def load_slot_free(self) -> bool:
        return self._loading[self._initial] < self._slots[self._initial]

    def unload_slot_free(self) -> bool:
        return self._unloading < self._unload_slots

    def load(self, harness: Harness) -> None:
        """Start a load attempt; `Loaded` tells how it went."""
        loader, initial = harness.loader, self._initial
        if loader is None:
            raise InternalError(f"{harness} has no loader")

        def prepare(servable: Servable) -> None:
            if self._prepare is not None:
                self._prepare(harness.id, harness.path, servable)

        def job() -> None:
            try:
                servable = attempt_load(loader, prepare, lambda: harness.cancelled)
            except BaseException as error:
                self.post(Loaded(harness, initial, error=error))
            else:
                self.post(Loaded(harness, initial, servable))

        self._loading[initial] += 1
        try:
            self._start(f"pyserve-load-{harness.id.name}-{harness.id.version}", job)
        except RuntimeError as error:
            self.post(
                Loaded(harness, initial, error=ResourceExhaustedError(f"Cannot start a thread: {error}"))
            )

    def unload(self, harness: Harness, servable: Servable) -> None:
        """Start an unload; `Unloaded` tells that it is over."""

        def job() -> None:
            error: BaseException | None = None
            try:
                servable.unload()
            except BaseException as raised:
                error = raised
            self.post(Unloaded(harness, error))

        self._unloading += 1
        try:
            self._start(f"pyserve-unload-{harness.id.name}-{harness.id.version}", job)
        except RuntimeError:
            job()  # no thread to be had: better late decisions than a version that is never unloaded

    def _start(self, name: str, job: Callable[[], None]) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=job, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def join(self, deadline: float | None) -> list[str]:
        """Wait for all jobs until a point on the monotonic clock (None: for ever).

        Only after the manager's thread has ended.

        Returns:
            The names of the threads that are still at work.
        """
        for thread in self._threads:
            thread.join(None if deadline is None else max(deadline - time.monotonic(), 0.0))
        return [thread.name for thread in self._threads if thread.is_alive()]
