"""One process's part of a load: sockets, a clock, and the loop between them.

Bare non-blocking sockets under a selector: an event loop with tasks would cost more than the calls. Closed loop: an
answer makes room for the next request. Open loop: requests become due by the clock, and count from then on, even if
every connection is busy.
"""

from __future__ import annotations

import contextlib
import gc
import select
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator

from pyserve.errors import UnavailableError
from pyserve.tools.bench.connection import Answer, Connection, ProtocolError
from pyserve.tools.bench.load import Outcome, Plan
from pyserve.tools.bench.request import Request
from pyserve.tools.bench.target import Target

_READ_BYTES = 1 << 18
_CONNECT_TIMEOUT_S = 10.0
_TICK_S = 0.2  # at least so often the loop looks around
_TURNS = 2
"""A closed loop goes on beyond its time until each request in flight has been answered so often."""
_MOST_CONNECTIONS = 256
"""An open loop over HTTP/1.1 opens connections as it needs them, up to so many."""


class _Selector(selectors.DefaultSelector):
    """Waits to the microsecond: epoll itself counts milliseconds, which an open loop would see as latency."""

    def wait(self, timeout_s: float) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout_s > 0 and hasattr(self, "fileno"):
            select.select([self], [], [], timeout_s)
            timeout_s = 0
        return self.select(timeout_s)


class _Wire:
    """A connection and its socket."""

    __slots__ = ("connection", "listed", "open", "share", "socket", "unsent", "writing")

    def __init__(self, connection: Connection, connected: socket.socket, share: int) -> None:
        self.connection = connection
        self.socket = connected
        self.share = share  # of the requests in flight
        self.open = 0
        self.unsent = b""
        self.writing = False
        self.listed = False

    @property
    def has_room(self) -> bool:
        return self.open < self.share and self.connection.room > 0


def connect(target: Target, timeout_s: float = _CONNECT_TIMEOUT_S) -> socket.socket:
    """A connected, non-blocking socket.

    Raises:
        UnavailableError: Nobody listens there.
    """
    try:
        if target.path:
            connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connected.settimeout(timeout_s)
            connected.connect(target.path)
        else:
            connected = socket.create_connection((target.host, target.port), timeout_s)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise UnavailableError(f"{target}: {error}") from None
    connected.setblocking(False)
    return connected


class Generator:
    """Runs one load; use it once.

    Args:
        target, request, plan: What goes where.
        progress: Told now and then how many answers there are.
        seed: Of the random gaps of an open loop.
    """

    def __init__(
        self,
        target: Target,
        request: Request,
        plan: Plan,
        progress: Callable[[int], None] = lambda answers: None,
        seed: int = 1,
    ) -> None:
        self._target = target
        self._request = request
        self._plan = plan
        self._progress = progress
        self._due: Iterator[float] | None = plan.begin_times(seed) if plan.rate is not None else None
        self._selector = _Selector()
        self._wires: list[_Wire] = []
        self._ready: deque[_Wire] = deque()  # those with room, each once
        self._backlog: deque[float] = deque()  # when requests that found no room were due
        self._outcome = Outcome(plan.duration_s)
        self._begun = self._answered = 0
        self._begins = True  # until enough requests have begun

    def run(self) -> Outcome:
        """Connect, load, wait for what is open, and close.

        Raises:
            UnavailableError: The target cannot be reached at all.
        """
        collecting = gc.isenabled()
        gc.disable()  # a pause would be taken for the server's; what is made here holds no cycles
        try:
            number = self._plan.connections_for(is_grpc=self._request.is_grpc)
            share = _MOST_CONNECTIONS if self._due is not None else -(-self._plan.in_flight // number)
            for _ in range(number):
                self._open(share)
            return self._load()
        finally:
            for wire in self._wires:
                wire.socket.close()
            self._selector.close()
            if collecting:
                gc.enable()

    def _load(self) -> Outcome:
        outcome, plan = self._outcome, self._plan
        cpu, began = time.process_time(), time.perf_counter()
        end = began + plan.duration_s
        due = None
        if self._due is None:
            self._backlog.extend([began] * plan.in_flight)
        else:
            due = next(self._due, None)
        self._dispatch(began)
        while True:
            now = time.perf_counter()
            over = now >= end + plan.timeout_s or not self._wires
            if self._begins and (over or (now >= end and self._is_enough())):
                self._begins = False
                outcome.seconds = now - began
                outcome.cpu_share = (time.process_time() - cpu) / outcome.seconds
                end = now
                over = not self._wires
            while due is not None and self._due is not None and began + due <= now:
                self._backlog.append(began + due)
                due = next(self._due, None)
            if self._backlog:
                self._dispatch(now)
            idle = self._answered == self._begun and not self._backlog and due is None
            if over or (idle and not self._begins):
                break
            wait_s = min(_TICK_S, end - now) if now < end else _TICK_S
            if due is not None:
                wait_s = min(wait_s, began + due - now)
            for key, _ in self._selector.wait(max(0.0, wait_s)):
                self._serve(key.data)
            self._progress(self._answered)
        left = self._begun - self._answered
        if left:
            self._count_bad("no answer", left, f"none within {plan.timeout_s:g} s after the last request")
        if self._backlog and self._due is not None:
            self._count_bad("not begun", len(self._backlog), "no connection had room")
        return outcome

    def _is_enough(self) -> bool:
        """Whether a closed loop has come round often enough: a rate of answers slower than the load would be chance."""
        return self._due is not None or self._answered >= _TURNS * self._plan.in_flight

    def _open(self, share: int) -> _Wire:
        wire = _Wire(self._request.connection(self._target), connect(self._target), share)
        self._wires.append(wire)
        self._selector.register(wire.socket, selectors.EVENT_READ, wire)
        self._flush(wire)
        self._list(wire)
        return wire

    def _list(self, wire: _Wire) -> None:
        if not wire.listed and wire.has_room:
            wire.listed = True
            self._ready.append(wire)

    def _dispatch(self, now: float) -> None:
        """Begin what waits, where there is room, one connection after the other."""
        backlog, ready, touched = self._backlog, self._ready, set()
        while backlog:
            if not ready and not self._grow():
                break
            wire = ready.popleft()
            wire.listed = False
            if not wire.has_room:
                continue
            started = backlog.popleft()
            if self._due is None:
                started = now
            else:
                self._outcome.lateness.add(now - started)
            wire.connection.begin(started)
            wire.open += 1
            self._begun += 1
            touched.add(wire)
            self._list(wire)
        for wire in touched:
            self._flush(wire)

    def _grow(self) -> bool:
        """Open one more connection for an open loop over HTTP/1.1; whether there is one."""
        if self._due is None or self._request.is_grpc or len(self._wires) >= _MOST_CONNECTIONS:
            return False
        with contextlib.suppress(UnavailableError):
            return self._open(1).has_room
        return False

    def _serve(self, wire: _Wire) -> None:
        """Take in what a connection has, and send what it could not yet."""
        try:
            data = wire.socket.recv(_READ_BYTES)
            if not data:
                self._lost(wire, "closed by the server")
                return
            answers = wire.connection.receive(data)
        except BlockingIOError:
            answers = []
        except (OSError, ProtocolError) as error:
            self._lost(wire, f"{error}" or type(error).__name__)
            return
        if answers:
            now = time.perf_counter()
            wire.open -= len(answers)
            self._count(answers, now)
            if self._due is None and self._begins:
                self._backlog.extend([now] * len(answers))
        if wire.connection.spent:
            self._replace(wire)
            return
        self._flush(wire)
        self._list(wire)

    def _count(self, answers: list[Answer], now: float) -> None:
        outcome = self._outcome
        self._answered += len(answers)
        for started, code, text in answers:
            if code == "OK":
                outcome.codes["OK"] += 1
                outcome.latency.add(now - started)
                if self._begins:
                    outcome.good_in_time += 1
            else:
                self._count_bad(code, 1, text)

    def _count_bad(self, code: str, number: int, text: str) -> None:
        self._outcome.codes[code] += number
        self._outcome.texts.setdefault(code, text)

    def _flush(self, wire: _Wire) -> None:
        outbox = wire.connection.outbox
        if outbox or wire.unsent:
            data = wire.unsent + b"".join(outbox) if wire.unsent else b"".join(outbox)
            outbox.clear()
            try:
                sent = wire.socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                sent = len(data)  # reading says what became of the connection
            wire.unsent = data[sent:]
        if bool(wire.unsent) != wire.writing:
            wire.writing = bool(wire.unsent)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wire.writing else 0)
            self._selector.modify(wire.socket, events, wire)

    def _lost(self, wire: _Wire, reason: str) -> None:
        abandoned = wire.connection.abandon()
        self._answered += len(abandoned)
        if abandoned:
            self._count_bad("connection lost", len(abandoned), reason)
            if self._due is None and self._begins:
                self._backlog.extend([time.perf_counter()] * len(abandoned))
        self._replace(wire)

    def _replace(self, wire: _Wire) -> None:
        """Put a new connection in the place of one that is over; none when the server cannot be reached."""
        self._selector.unregister(wire.socket)
        wire.socket.close()
        self._wires.remove(wire)
        if wire.listed:
            self._ready.remove(wire)
        if self._begins or self._backlog:
            try:
                self._open(wire.share)
            except UnavailableError as error:
                self._outcome.texts.setdefault("connection lost", str(error))
