"""When the collector is off, and that it is turned on again."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator

import pytest

from pyserve.backends.saved_model import garbage


@pytest.fixture(autouse=True)
def _collector_as_before() -> Iterator[None]:
    enabled = gc.isenabled()
    yield
    (gc.enable if enabled else gc.disable)()


def test_off_inside_and_on_again_after_the_last() -> None:
    """Nested pauses end with the outermost."""
    gc.enable()
    with garbage.paused():
        with garbage.paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_failing_load_ends_its_pause() -> None:
    """An exception inside turns the collector on as well."""
    gc.enable()
    with pytest.raises(ValueError), garbage.paused():
        raise ValueError
    assert gc.isenabled()


def test_what_was_off_stays_off() -> None:
    """Somebody else's decision against automatic collection is kept."""
    gc.disable()
    with garbage.paused():
        pass
    assert not gc.isenabled()


def test_overlapping_pauses_of_threads() -> None:
    """While any thread loads, the collector is off, in whatever order they end."""
    gc.enable()
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with garbage.paused():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    with garbage.paused():
        thread.start()
        assert inside.wait(10)
    assert not gc.isenabled()
    leave.set()
    thread.join(10)
    assert gc.isenabled()


class Cycle:
    def __init__(self) -> None:
        self.me = self


def test_loads_are_collected_once_and_not_during_others() -> None:
    """The collection after loads happens once per batch, and waits for loads still under way."""
    gc.disable()
    garbage.collect()
    with garbage.paused():
        pass
    with garbage.paused():
        gone = weakref.ref(Cycle())
        garbage.collect_after_loads()
        assert gone() is not None
    garbage.collect_after_loads()
    assert gone() is None
    gone = weakref.ref(Cycle())
    garbage.collect_after_loads()
    assert gone() is not None
    garbage.collect()
    assert gone() is None
