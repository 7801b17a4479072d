"""The manager under hundreds of random wishes, failing loads, and requests that never pause."""

from __future__ import annotations

import random
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import pytest

from lifecycle_fakes import LIMIT_S
from pyserve.config import LoadOptions
from pyserve.dtypes import Array
from pyserve.errors import InternalError, NotFoundError
from pyserve.lifecycle.manager import Manager
from pyserve.lifecycle.monitor import Monitor, State
from pyserve.lifecycle.versions import AspiredVersion
from pyserve.servable import Servable, ServableId, Signature

NAMES = ("a", "b", "c")
VERSIONS = range(1, 7)


class _Servable:
    signatures: Mapping[str, Signature] = {}
    signature_def_map = b""
    stateless: frozenset[str] = frozenset()

    def __init__(self, record: _Record, id: ServableId) -> None:
        self._record = record
        self.id = id
        self.users: set[int] = set()
        self.unloads = 0
        record.servables.append(self)

    def run(
        self,
        signature_key: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        return {}

    def unload(self) -> None:
        if self.users:
            self._record.faults.append(f"{self.id} unloaded under {len(self.users)} requests")
        self.unloads += 1


class _Record:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.servables: list[_Servable] = []
        self.faults: list[str] = []
        self.broken: dict[ServableId, bool] = defaultdict(bool)


class _Loader:
    def __init__(self, record: _Record, id: ServableId) -> None:
        self._record = record
        self._id = id

    def load(self) -> Servable:
        if self._record.random.random() < 0.3:
            raise InternalError("bad luck")
        return _Servable(self._record, self._id)


@pytest.fixture(autouse=True)
def _frequent_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_manager_keeps_its_promises(seed: int) -> None:
    """Each servable is unloaded exactly once and never under a request; the last wish is what stays."""
    record = _Record(seed)
    monitor = Monitor()
    options = LoadOptions(
        max_num_load_retries=1, load_retry_interval_micros=-1, num_load_threads=2, num_unload_threads=2
    )
    manager = Manager(lambda id, path: _Loader(record, id), monitor, options, initial_load_threads=4)
    steady = ServableId("steady", 1)  # stays aspired and loaded all the time
    over = threading.Event()

    def request() -> None:
        mine = random.Random(threading.get_ident())
        while not over.is_set():
            name = mine.choice((*NAMES, "steady"))
            version = mine.choice((None, *VERSIONS)) if name != "steady" else None
            try:
                handle = manager.acquire(name, version)
            except NotFoundError:
                if name == "steady":
                    record.faults.append("the version that stayed aspired could not be reached")
                continue
            servable = handle.servable
            assert isinstance(servable, _Servable)
            me = id(handle)
            servable.users.add(me)
            if servable.unloads:
                record.faults.append(f"{servable.id} reached after its unload")
            servable.users.discard(me)
            handle.release()

    def settled() -> bool:
        return all(
            entry.state in (State.AVAILABLE, State.END)
            for name in monitor.names()
            for entry in monitor.versions(name)
        )

    sentinel = ServableId("sentinel", 1)  # wished for last: when it has come, every wish was seen
    before = set(threading.enumerate())
    manager.start()
    while not _reachable(manager, steady):
        manager.aspire("steady", [])
        manager.aspire("steady", [AspiredVersion(1, "/steady/1")])
        assert monitor.wait(lambda: _ended_or_up(monitor, steady), LIMIT_S)
    requests = [threading.Thread(target=request) for _ in range(3)]
    for thread in requests:
        thread.start()

    wishes = random.Random(seed)
    last: dict[str, set[int]] = {}
    for turn in range(300):
        name = wishes.choice(NAMES)
        wanted = {version for version in VERSIONS if wishes.random() < 0.4}
        complete = {version: wishes.random() < 0.8 for version in wanted}
        manager.aspire(name, [AspiredVersion(v, f"/{name}/{v}", complete[v]) for v in wanted])
        last[name] = wanted
        if turn == 100:
            manager.end_initial_load()
        if wishes.random() < 0.7:  # the rest comes while the manager is still at work
            mark = monitor.mark()
            monitor.wait(lambda mark=mark: monitor.mark() > mark and settled(), 0.005)  # type: ignore[misc]
    for name, wanted in last.items():  # what was still arriving has arrived
        manager.aspire(name, [AspiredVersion(v, f"/{name}/{v}") for v in wanted])
    manager.aspire("sentinel", [AspiredVersion(1, "/sentinel/1")])

    def done() -> bool:
        return _ended_or_up(monitor, sentinel) and all(
            _matches(manager, monitor, name, wanted) for name, wanted in last.items()
        )

    assert monitor.wait(done, LIMIT_S), {name: monitor.versions(name) for name in NAMES}
    over.set()
    for thread in requests:
        thread.join(LIMIT_S)
    assert manager.stop(LIMIT_S)
    assert record.faults == []
    assert [s.id for s in record.servables if s.unloads != 1] == []
    assert all(entry.state is State.END for name in monitor.names() for entry in monitor.versions(name))
    assert set(threading.enumerate()) <= before
    assert len(record.servables) > 50


def _reachable(manager: Manager, id: ServableId) -> bool:
    return id.version in manager.available_versions(id.name)


def _ended_or_up(monitor: Monitor, id: ServableId) -> bool:
    entry = monitor.state(id)
    return entry is not None and entry.state in (State.AVAILABLE, State.END)


def _matches(manager: Manager, monitor: Monitor, name: str, wanted: set[int]) -> bool:
    """Whether a model has come to rest as its last wish says.

    Every wanted version is available or failed. Others are gone, but for one that still serves because
    none of the wanted ones does.
    """
    states = {entry.id.version: entry for entry in monitor.versions(name)}
    available = set(manager.available_versions(name))
    if any(states[v].state not in (State.AVAILABLE, State.END) for v in wanted if v in states):
        return False
    if not wanted <= states.keys():
        return False
    good = {v for v in wanted if states[v].state is State.AVAILABLE}
    rest = available - wanted
    ended = all(states[v].state is State.END for v in states.keys() - wanted - rest)
    if good or not wanted:
        return available == good and not rest and ended
    return len(rest) <= 1 and ended
