"""The last state of every version ever seen, for the status API, readiness and whoever waits for a result.

The manager publishes; everybody else reads. Nothing is ever forgotten: a version that is gone stays END.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from pyserve.errors import OK, Code, Status
from pyserve.servable import ServableId

_log = logging.getLogger(__name__)

CANCELLED_LOAD = Status(Code.CANCELLED, "Loading of servable cancelled")
"""END of a version that was taken back before it was ready: nobody's failure."""


class State(enum.IntEnum):
    """State of a version as the world sees it, numbered as in GetModelStatus."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, slots=True)
class ServableState:
    """State of one version; `status` tells at END whether, and how, it failed."""

    id: ServableId
    state: State
    status: Status = OK


Subscriber = Callable[[ServableState], None]


class Monitor:
    """Keeps and announces states. All methods may be called from any thread.

    One lock guards every field. Subscribers and predicates run without it, so they may call the monitor.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._states: dict[str, dict[int, tuple[int, ServableState]]] = {}
        self._mark = 0  # counts publications and wake-ups
        self._subscribers: tuple[Subscriber, ...] = ()
        self._undelivered: deque[tuple[tuple[Subscriber, ...], ServableState]] = deque()
        self._delivering = False

    def publish(self, state: ServableState) -> None:
        """Record a state, wake those who wait, tell the subscribers.

        Subscribers hear every state, in the order of publication. When two threads publish at once, one of
        them delivers for both; then the other's call may return a moment before its state was delivered.
        """
        with self._changed:
            self._mark += 1
            self._states.setdefault(state.id.name, {})[state.id.version] = (self._mark, state)
            self._undelivered.append((self._subscribers, state))
            self._changed.notify_all()
        self._deliver()

    def _deliver(self) -> None:
        while True:
            with self._changed:
                if self._delivering or not self._undelivered:
                    return
                self._delivering = True
                subscribers, state = self._undelivered.popleft()
            try:
                for subscriber in subscribers:
                    try:
                        subscriber(state)
                    except Exception:
                        _log.exception("A subscriber to the states of servables failed at %s", state)
            finally:
                with self._changed:
                    self._delivering = False

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Hear every state published from now on, on the publishing thread; call the result to stop hearing.

        A subscriber must not block: the manager publishes, and its decisions would wait.
        """
        with self._changed:
            self._subscribers = (*self._subscribers, subscriber)

        def unsubscribe() -> None:
            with self._changed:
                self._subscribers = tuple(other for other in self._subscribers if other is not subscriber)

        return unsubscribe

    def state(self, id: ServableId) -> ServableState | None:
        """The last state of one version; None when it was never seen."""
        with self._changed:
            found = self._states.get(id.name, {}).get(id.version)
        return found[1] if found else None

    def versions(self, name: str, since: int = 0) -> list[ServableState]:
        """The last states of a model's versions, highest number first.

        Args:
            name: Model; one that was never seen has no versions.
            since: Leave out versions whose last state was published up to this `mark`.
        """
        with self._changed:
            found = [state for mark, state in self._states.get(name, {}).values() if mark > since]
        return sorted(found, key=lambda state: state.id.version, reverse=True)

    def knows(self, name: str) -> bool:
        """Whether a version of this model was ever seen. Takes no lock."""
        return name in self._states

    def names(self) -> list[str]:
        """Every model ever seen, sorted."""
        with self._changed:
            return sorted(self._states)

    def mark(self) -> int:
        """A point in the sequence of publications, for `versions(since=…)`."""
        with self._changed:
            return self._mark

    def wake(self) -> None:
        """Let those who wait look again although no state changed: what they wait for has another part."""
        with self._changed:
            self._mark += 1
            self._changed.notify_all()

    def wait(self, predicate: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Block until the predicate holds; it is asked now and after each publication or wake-up.

        Args:
            predicate: Reads the monitor and whatever else calls `wake` when it changes.
            timeout_s: Limit in seconds; None waits for ever.

        Returns:
            Whether the predicate held before the time was over.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            mark = self.mark()
            if predicate():
                return True
            with self._changed:
                while self._mark == mark:
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        return False
                    self._changed.wait(left)
