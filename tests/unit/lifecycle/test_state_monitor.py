"""The memory of states, and waiting for them."""

from __future__ import annotations

import threading

import pytest

from lifecycle_fakes import LIMIT_S
from pyserve.errors import Code, Status
from pyserve.lifecycle.monitor import Monitor, ServableState, State
from pyserve.servable import ServableId


def state(version: int, state: State = State.AVAILABLE, name: str = "m") -> ServableState:
    return ServableState(ServableId(name, version), state)


def test_numbers_are_those_of_the_wire() -> None:
    """States carry the numbers of GetModelStatus."""
    assert {s.name: s.value for s in State} == {
        "START": 10,
        "LOADING": 20,
        "AVAILABLE": 30,
        "UNLOADING": 40,
        "END": 50,
    }


def test_the_last_state_of_every_version_is_kept() -> None:
    """A later state replaces an earlier one, versions come highest first, and nothing is forgotten."""
    monitor = Monitor()
    failed = ServableState(ServableId("m", 2), State.END, Status(Code.NOT_FOUND, "gone"))
    for entry in (state(1), state(10), state(2), failed, state(7, name="other")):
        monitor.publish(entry)
    assert monitor.versions("m") == [state(10), failed, state(1)]
    assert monitor.state(ServableId("m", 2)) == failed
    assert monitor.state(ServableId("m", 3)) is None
    assert monitor.versions("unknown") == []
    assert monitor.names() == ["m", "other"]


def test_states_since_a_mark() -> None:
    """A mark tells states published before from those published after."""
    monitor = Monitor()
    monitor.publish(state(1))
    mark = monitor.mark()
    assert monitor.versions("m", since=mark) == []
    monitor.publish(state(2))
    monitor.publish(state(1, State.END))
    assert monitor.versions("m", since=mark) == [state(2), state(1, State.END)]


def test_subscribers_hear_everything_in_order_without_the_lock() -> None:
    """A subscriber may ask the monitor and even publish; that is delivered after the present state."""
    monitor = Monitor()
    heard: list[tuple[str, State]] = []

    def first(entry: ServableState) -> None:
        monitor.versions("m")
        heard.append(("first", entry.state))
        if entry.state is State.START:
            monitor.publish(state(1, State.LOADING))

    monitor.subscribe(first)
    cancel = monitor.subscribe(lambda entry: heard.append(("second", entry.state)))
    monitor.publish(state(1, State.START))
    cancel()
    monitor.publish(state(1, State.AVAILABLE))
    assert heard == [
        ("first", State.START),
        ("second", State.START),
        ("first", State.LOADING),
        ("second", State.LOADING),
        ("first", State.AVAILABLE),
    ]


def test_a_failing_subscriber_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The error of a subscriber is logged; the others hear the state."""
    monitor = Monitor()
    heard: list[ServableState] = []

    def broken(_: ServableState) -> None:
        raise RuntimeError("oops")

    monitor.subscribe(broken)
    monitor.subscribe(heard.append)
    monitor.publish(state(1))
    assert heard == [state(1)]
    assert "oops" in caplog.text


def test_order_with_many_publishers() -> None:
    """Whatever threads publish, a subscriber hears each version's states in order and none twice."""
    monitor = Monitor()
    heard: list[ServableState] = []
    monitor.subscribe(heard.append)
    steps = list(State) * 40

    def publish(version: int) -> None:
        for step in steps:
            monitor.publish(state(version, step))

    threads = [threading.Thread(target=publish, args=(version,)) for version in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for version in range(4):
        assert [entry.state for entry in heard if entry.id.version == version] == steps


def test_waiting_ends_when_the_predicate_holds() -> None:
    """A waiter is woken by publications and by wake-ups, and looks at whatever it likes."""
    monitor = Monitor()
    outside: list[str] = []
    looked = threading.Event()

    def ready() -> bool:
        looked.set()
        return bool(outside) and bool(monitor.versions("m"))

    results: list[bool] = []
    waiter = threading.Thread(target=lambda: results.append(monitor.wait(ready, LIMIT_S)))
    waiter.start()
    assert looked.wait(LIMIT_S)
    monitor.publish(state(1))
    outside.append("finding")
    monitor.wake()
    waiter.join(LIMIT_S)
    assert results == [True]


def test_waiting_ends_with_its_time() -> None:
    """When the time is over the wait tells that the predicate does not hold."""
    monitor = Monitor()
    assert monitor.wait(lambda: False, 0.01) is False
    assert monitor.wait(lambda: True, 0.0) is True
