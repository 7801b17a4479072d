"""The versions that requests can reach, and who is using them: where control flow and data flow meet.

The manager's thread writes, any thread reads, and readers take no lock: the table is never changed, only
replaced by another one, and each version counts its handles with operations of `deque` that are atomic.

Why that is enough. A reader first adds itself to a version's holders, then looks whether the version was
retired; if so it takes itself off again and looks into the new table. Retiring does it the other way
round: first the new table, then the mark `retired`, then a look at the holders. Whatever the order in
which the two meet, either the reader sees the mark, or the one who retires sees the holder. Hence once a
version is retired and was seen without holders, nobody has a handle on it and nobody can get one any more.
(A reader about to give up may be seen as a holder for a moment; that only delays the unload until it has
let go, and its `release` says so.)

No lock also means that `release` may run anywhere, even in a finalizer that garbage collection calls in
the middle of another `acquire` or `release`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pyserve.errors import SHUTTING_DOWN, NotFoundError, UnavailableError
from pyserve.servable import Servable, ServableHandle, ServableId


class Lease:
    """One version on offer, and its handles.

    Args:
        on_drained: Called when a retired version has no handle left, from the thread that released the
            last one; it may be called more than once and must not block.
    """

    __slots__ = ("_holders", "_on_drained", "_retired", "_servable", "id")

    def __init__(self, id: ServableId, servable: Servable, on_drained: Callable[[], None]) -> None:
        self.id = id
        self._servable = servable
        self._on_drained = on_drained
        self._holders: deque[None] = deque()
        self._retired = False

    def acquire(self) -> ServableHandle | None:
        """A handle, or None when the version was retired."""
        self._holders.append(None)
        if self._retired:
            self._release()
            return None
        return ServableHandle(self.id, self._servable, self._release)

    def _release(self) -> None:
        self._holders.pop()
        if self.drained:
            self._on_drained()

    def retire(self) -> None:
        """Give no more handles. The table must have been replaced before."""
        self._retired = True

    @property
    def drained(self) -> bool:
        """Whether it is retired and nobody holds a handle; once seen True, unloading is safe for good."""
        return self._retired and not self._holders

    @property
    def holders(self) -> int:
        """Handles that are out."""
        return len(self._holders)


@dataclass(frozen=True, slots=True)
class _Model:
    latest: Lease
    by_version: Mapping[int, Lease]


class ServingMap:
    """Name and version to lease. `add`, `remove` and `close` belong to one thread, the rest to all."""

    def __init__(self) -> None:
        self._table: Mapping[str, _Model] = MappingProxyType({})
        self._closed = False

    def acquire(self, name: str, version: int | None = None) -> ServableHandle:
        """A handle on one version of a model, on its highest available one when no version is named.

        Raises:
            NotFoundError: That version, or any version of that model, is not available.
            UnavailableError: The map was closed.
        """
        while True:
            model = self._table.get(name)
            lease = None
            if model is not None:
                lease = model.latest if version is None else model.by_version.get(version)
            if lease is None:
                break
            handle = lease.acquire()
            if handle is not None:
                return handle
            # Retired since we read the table; the next reading gives the table without it.
        if self._closed:
            raise UnavailableError(SHUTTING_DOWN)
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise NotFoundError(f"Servable not found for request: {wanted}")

    def available_versions(self, name: str) -> list[int]:
        """The versions of a model that requests can reach, ascending."""
        model = self._table.get(name)
        return sorted(model.by_version) if model is not None else []

    def add(self, lease: Lease) -> None:
        """Offer a version from now on."""
        self._replace(lease.id, lease)

    def remove(self, lease: Lease) -> None:
        """Offer a version no more, and retire it."""
        self._replace(lease.id, None)
        lease.retire()

    def close(self) -> None:
        """Answer every later `acquire` with UNAVAILABLE as soon as its version is removed."""
        self._closed = True

    def _replace(self, id: ServableId, lease: Lease | None) -> None:
        table = dict(self._table)
        model = table.pop(id.name, None)
        by_version = dict(model.by_version) if model is not None else {}
        if lease is None:
            by_version.pop(id.version, None)
        else:
            by_version[id.version] = lease
        if by_version:
            table[id.name] = _Model(by_version[max(by_version)], MappingProxyType(by_version))
        self._table = MappingProxyType(table)
