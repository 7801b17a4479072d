"""Handles on versions: who gets one, and when a retired version counts as unused."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from lifecycle_fakes import LIMIT_S, FakeServable, World
from pyserve.errors import NotFoundError, UnavailableError
from pyserve.lifecycle.serving import Lease, ServingMap
from pyserve.servable import ServableId


class Offer:
    """A map, and the leases given to it."""

    def __init__(self) -> None:
        self.map = ServingMap()
        self.drained: list[ServableId] = []
        self._world = World()

    def lease(self, version: int, name: str = "m") -> Lease:
        id = ServableId(name, version)
        lease = Lease(id, FakeServable(id, self._world), lambda: self.drained.append(id))
        self.map.add(lease)
        return lease


@pytest.fixture
def offer() -> Offer:
    return Offer()


def test_latest_is_the_highest_number(offer: Offer) -> None:
    """Without a version the highest available number is served, whatever came last."""
    for version in (9, 10, 2):
        offer.lease(version)
    assert offer.map.acquire("m").id == ServableId("m", 10)
    assert offer.map.acquire("m", 2).id == ServableId("m", 2)
    assert offer.map.available_versions("m") == [2, 9, 10]
    assert offer.map.available_versions("other") == []


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("other", None, "Servable not found for request: Latest(other)"),
        ("other", 1, "Servable not found for request: Specific(other, 1)"),
        ("m", 3, "Servable not found for request: Specific(m, 3)"),
    ],
)
def test_what_is_not_offered(offer: Offer, name: str, version: int | None, message: str) -> None:
    """A model or version that is not available is NOT_FOUND, in TensorFlow Serving's words."""
    offer.lease(1)
    with pytest.raises(NotFoundError) as raised:
        offer.map.acquire(name, version)
    assert raised.value.message == message


def test_a_retired_version_is_gone_at_once_and_drained_with_its_last_handle(offer: Offer) -> None:
    """New requests do not reach a retired version; it is drained when the last handle is released, once
    each.
    """
    lease = offer.lease(1)
    first, second = offer.map.acquire("m"), offer.map.acquire("m", 1)
    offer.map.remove(lease)
    with pytest.raises(NotFoundError):
        offer.map.acquire("m")
    assert lease.acquire() is None
    assert lease.holders == 2
    assert not lease.drained
    first.release()
    first.release()
    assert offer.drained == []
    second.release()
    assert offer.drained == [ServableId("m", 1)]
    assert lease.drained


def test_handles_of_others_do_not_matter(offer: Offer) -> None:
    """A version is drained although another version and another model are in use."""
    lease = offer.lease(1)
    offer.lease(2)
    offer.lease(1, "other")
    handles = [offer.map.acquire("m", 2), offer.map.acquire("other")]
    offer.map.remove(lease)
    assert lease.drained
    for handle in handles:
        handle.release()


def test_a_closed_map_answers_unavailable(offer: Offer) -> None:
    """After closing, what is still offered is served, and the rest is UNAVAILABLE instead of NOT_FOUND."""
    lease = offer.lease(1)
    offer.map.close()
    offer.map.acquire("m").release()
    offer.map.remove(lease)
    with pytest.raises(UnavailableError, match="shutting down"):
        offer.map.acquire("m")


class _SteppedLease(Lease):
    """Lets a test act just before, or just after, a reader looks whether the version was retired."""

    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None
    _mark = False

    @property
    def _retired(self) -> bool:
        before, self.before = self.before, None
        if before is not None:
            before()
        seen = self._mark
        after, self.after = self.after, None
        if after is not None:
            after()
        return seen

    @_retired.setter
    def _retired(self, value: bool) -> None:
        self._mark = value


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_version_retired_while_a_handle_is_taken(offer: Offer, moment: str) -> None:
    """Retired before the reader looks it gets none and says so; retired after that the handle counts."""
    id = ServableId("m", 1)
    lease = _SteppedLease(id, FakeServable(id, World()), lambda: offer.drained.append(id))
    offer.map.add(lease)
    seen: list[bool] = []

    def retire() -> None:
        offer.map.remove(lease)
        seen.append(lease.drained)

    setattr(lease, moment, retire)
    if moment == "before":
        with pytest.raises(NotFoundError):
            offer.map.acquire("m")
        assert offer.drained == [id]
    else:
        handle = offer.map.acquire("m")
        assert seen == [False], "unloading would have begun under the request"
        assert not lease.drained
        handle.release()
    assert lease.drained
    assert offer.drained == [id]


@pytest.fixture
def _frequent_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_frequent_switches")
def test_no_handle_outlives_the_drain(offer: Offer) -> None:
    """While threads acquire and release as fast as they can, no handle is ever out on a drained version."""
    over = threading.Event()
    faults: list[str] = []
    drained: set[int] = set()
    used = [threading.Event() for _ in range(100)]

    def read() -> None:
        while not over.is_set():
            try:
                handle = offer.map.acquire("m")
            except NotFoundError:
                continue
            used[handle.id.version].set()
            if handle.id.version in drained:
                faults.append(f"version {handle.id.version} in use after it was drained")
            handle.release()

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    released = threading.Event()
    old = None
    for version in range(len(used)):
        id = ServableId("m", version)
        new = Lease(id, FakeServable(id, World()), released.set)
        offer.map.add(new)
        assert used[version].wait(LIMIT_S), "nobody reached the version"
        if old is not None:
            offer.map.remove(old)
            while not old.drained:
                assert released.wait(LIMIT_S), "the last release did not say so"
                released.clear()
            drained.add(old.id.version)
        old = new
    over.set()
    for thread in threads:
        thread.join(LIMIT_S)
    assert faults == []
