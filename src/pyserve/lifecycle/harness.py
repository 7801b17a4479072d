"""The states that one managed version goes through, as a table, and the object that walks it.

Owned by the manager's thread alone: nothing here is locked. Two things are for other threads too: a
loading thread reads `Harness.cancelled`, and `Harness.take_servable` gives the servable to one caller only.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType

from pyserve.errors import OK, InternalError, Status
from pyserve.lifecycle.loader import Loader
from pyserve.lifecycle.monitor import State
from pyserve.lifecycle.serving import Lease
from pyserve.servable import Servable, ServableId


class HarnessState(enum.Enum):
    """Where a version stands inside the manager; the value is for logs."""

    NEW = "new"
    LOAD_REQUESTED = "load-requested"
    LOAD_APPROVED = "load-approved"
    LOADING = "loading"
    READY = "ready"
    UNLOAD_REQUESTED = "unload-requested"
    QUIESCING = "quiescing"
    QUIESCED = "quiesced"
    UNLOADING = "unloading"
    DISABLED = "disabled"
    ERROR = "error"


_S = HarnessState

# Source: TensorFlow Serving, core/loader_harness.cc.
NEXT: Mapping[HarnessState, frozenset[HarnessState]] = MappingProxyType(
    {
        _S.NEW: frozenset({_S.LOAD_REQUESTED}),
        _S.LOAD_REQUESTED: frozenset({_S.LOAD_APPROVED, _S.ERROR}),
        _S.LOAD_APPROVED: frozenset({_S.LOADING}),
        # Straight to unloading: the load succeeded although nobody wants the version any more.
        _S.LOADING: frozenset({_S.READY, _S.ERROR, _S.UNLOADING}),
        _S.READY: frozenset({_S.UNLOAD_REQUESTED}),
        _S.UNLOAD_REQUESTED: frozenset({_S.QUIESCING}),
        _S.QUIESCING: frozenset({_S.QUIESCED}),
        _S.QUIESCED: frozenset({_S.UNLOADING}),
        _S.UNLOADING: frozenset({_S.DISABLED}),
        _S.DISABLED: frozenset(),
        _S.ERROR: frozenset(),
    }
)

FINAL = frozenset(state for state, following in NEXT.items() if not following)

# What the world is told; a step between two states of equal meaning is not published.
PUBLISHED: Mapping[HarnessState, State] = MappingProxyType(
    {
        _S.NEW: State.START,
        _S.LOAD_REQUESTED: State.START,
        _S.LOAD_APPROVED: State.START,
        _S.LOADING: State.LOADING,
        _S.READY: State.AVAILABLE,
        _S.UNLOAD_REQUESTED: State.UNLOADING,
        _S.QUIESCING: State.UNLOADING,
        _S.QUIESCED: State.UNLOADING,
        _S.UNLOADING: State.UNLOADING,
        _S.DISABLED: State.END,
        _S.ERROR: State.END,
    }
)


class Harness:
    """One version under management.

    Attributes:
        id: Name and version.
        path: Where it is loaded from; may still change while the state is NEW.
        state: Changed by `advance` only.
        aspired: Whether the newest emission still wants it.
        complete: Whether its files have arrived; an incomplete version is not loaded.
        attempts: Load attempts finished so far.
        cancelled: No further attempt is wanted, and a success is to be undone. Read by the loading thread.
        end: The status that END will carry.
        loader: While it is being loaded.
        lease: While requests may reach it, and until the last one is done.
    """

    __slots__ = (
        "_servable",
        "aspired",
        "attempts",
        "cancelled",
        "complete",
        "end",
        "id",
        "lease",
        "loader",
        "path",
        "state",
    )

    def __init__(self, id: ServableId, path: str, complete: bool = True) -> None:
        self.id = id
        self.path = path
        self.state = HarnessState.NEW
        self.aspired = True
        self.complete = complete
        self.attempts = 0
        self.cancelled = False
        self.end: Status = OK
        self.loader: Loader | None = None
        self.lease: Lease | None = None
        self._servable: deque[Servable] = deque(maxlen=1)

    def advance(self, to: HarnessState) -> None:
        """Take one step of the table.

        Raises:
            InternalError: The table has no such step; nothing changed.
        """
        if to not in NEXT[self.state]:
            legal = ", ".join(sorted(state.value for state in NEXT[self.state])) or "none, it is final"
            raise InternalError(
                f"Illegal step of servable version {self.id}: {self.state.value} to {to.value}; next: {legal}"
            )
        self.state = to

    def put_servable(self, servable: Servable) -> None:
        """Keep what was loaded until somebody takes it to unload it."""
        self._servable.append(servable)

    def take_servable(self) -> Servable | None:
        """What was loaded, for the one caller who is to unload it; None for every other. Any thread."""
        try:
            return self._servable.pop()
        except IndexError:
            return None

    @property
    def published(self) -> State:
        return PUBLISHED[self.state]

    def __repr__(self) -> str:
        wanted = "aspired" if self.aspired else "not aspired"
        return f"Harness({self.id}, {self.state.value}, {wanted})"
