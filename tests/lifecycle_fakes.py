"""Servables, loaders and gates for tests of the life cycle: nothing is loaded, everything is counted."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from pyserve.config import LoadOptions
from pyserve.dtypes import Array
from pyserve.lifecycle.manager import Manager
from pyserve.lifecycle.monitor import Monitor, ServableState, State
from pyserve.lifecycle.versions import AspiredVersion
from pyserve.servable import Servable, ServableId, Signature

LIMIT_S = 20.0
"""No test waits this long unless it fails."""


class FakeServable:
    """Counts its unloads; `unload` waits for the world's gate of that id, if there is one."""

    def __init__(self, id: ServableId, world: World) -> None:
        self.id = id
        self.unloads = 0
        self._world = world

    signatures: Mapping[str, Signature] = {}
    signature_def_map = b""
    stateless: frozenset[str] = frozenset()

    def run(
        self,
        signature_key: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        assert self.unloads == 0, "run after unload"
        return {}

    def unload(self) -> None:
        self._world.pass_gate(self._world.unload_gates, self.id)
        self.unloads += 1
        error = self._world.unload_errors.get(self.id)
        if error is not None:
            raise error


class World:
    """Makes loaders. Everything may be set up by id beforehand and looked at afterwards.

    Attributes:
        load_gates, unload_gates: Events that a load or an unload waits for.
        load_errors: Errors of the coming load attempts, first to last; an attempt without one succeeds.
        unload_errors: What `unload` raises.
        made, attempts: Ids in the order in which loaders were made, or attempts began.
        servables: Everything ever loaded.
    """

    def __init__(self) -> None:
        self.load_gates: dict[ServableId, threading.Event] = {}
        self.unload_gates: dict[ServableId, threading.Event] = {}
        self.load_errors: dict[ServableId, list[BaseException]] = defaultdict(list)
        self.unload_errors: dict[ServableId, Exception] = {}
        self.made: list[tuple[ServableId, str]] = []
        self.attempts: list[ServableId] = []
        self.servables: list[FakeServable] = []
        self._changed = threading.Condition()
        self.waiting: list[ServableId] = []

    def make_loader(self, id: ServableId, path: str) -> FakeLoader:
        self.made.append((id, path))
        return FakeLoader(id, self)

    def pass_gate(self, gates: Mapping[ServableId, threading.Event], id: ServableId) -> None:
        gate = gates.get(id)
        if gate is not None:
            with self._changed:
                self.waiting.append(id)
                self._changed.notify_all()
            assert gate.wait(LIMIT_S), f"nobody opened the gate of {id}"
            with self._changed:
                self.waiting.remove(id)

    def await_waiting(self, *ids: ServableId) -> None:
        """Wait until exactly these loads or unloads stand at their gates."""
        with self._changed:
            assert self._changed.wait_for(lambda: sorted(self.waiting) == sorted(ids), LIMIT_S), self.waiting

    def close_gate(self, gates: dict[ServableId, threading.Event], id: ServableId) -> threading.Event:
        return gates.setdefault(id, threading.Event())

    def of(self, id: ServableId) -> list[FakeServable]:
        return [servable for servable in self.servables if servable.id == id]


class FakeLoader:
    def __init__(self, id: ServableId, world: World) -> None:
        self._id = id
        self._world = world

    def load(self) -> Servable:
        world = self._world
        world.attempts.append(self._id)
        world.pass_gate(world.load_gates, self._id)
        errors = world.load_errors[self._id]
        if errors:
            raise errors.pop(0)
        servable = FakeServable(self._id, world)
        world.servables.append(servable)
        return servable


class Stage:
    """A manager with its world, its monitor, and the history of what was published."""

    def __init__(
        self,
        options: LoadOptions | None = None,
        initial_load_threads: int | None = 8,
        prepare: Callable[[ServableId, str, object], None] | None = None,
    ) -> None:
        self.world = World()
        self.monitor = Monitor()
        self.history: list[ServableState] = []
        self.monitor.subscribe(self.history.append)
        quick = options or LoadOptions(max_num_load_retries=0, load_retry_interval_micros=-1)
        self.manager = Manager(
            self.world.make_loader,
            self.monitor,
            quick,
            prepare=prepare,
            initial_load_threads=initial_load_threads,
        )

    def aspire(self, name: str, *versions: int) -> None:
        self.manager.aspire(name, aspired(name, versions))

    def await_state(self, name: str, version: int, state: State) -> ServableState:
        """Wait until a version is in a state, and give what was published."""
        id = ServableId(name, version)

        def reached() -> bool:
            found = self.monitor.state(id)
            return found is not None and found.state is state

        assert self.monitor.wait(reached, LIMIT_S), f"{id} is not {state.name}: {self.monitor.state(id)}"
        found = self.monitor.state(id)
        assert found is not None
        return found

    def await_available(self, name: str, *versions: int) -> None:
        """Wait until exactly these versions of a model can be reached."""

        def reached() -> bool:
            return self.manager.available_versions(name) == sorted(versions)

        assert self.monitor.wait(reached, LIMIT_S), self.manager.available_versions(name)

    def states_of(self, name: str, version: int) -> list[State]:
        return [entry.state for entry in self.history if entry.id == ServableId(name, version)]


def aspired(name: str, versions: Iterable[int]) -> list[AspiredVersion]:
    return [AspiredVersion(version, f"/models/{name}/{version}") for version in versions]
