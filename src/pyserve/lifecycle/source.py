"""Looks at the base paths on disk and says which versions are aspired. The first step of the control flow.

    poll: list children ─► choose versions ─► are their files complete? ─► emit, model by model

Rules: every emission is the full truth about one model. A base path that is missing or cannot be listed says
nothing about its model, which is left as it is; it never keeps other models from being looked at (TensorFlow
Serving abandons the whole poll). Polling is the truth; watching only makes a poll come sooner.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType

from pyserve.config import LoadOptions, ModelConfig
from pyserve.errors import Code, Status
from pyserve.lifecycle.base_path import ListChildren, access_status, children_on_disk
from pyserve.lifecycle.completeness import Completeness, Snapshot, take_snapshot
from pyserve.lifecycle.versions import AspiredVersion, Finding, choose, with_kept
from pyserve.lifecycle.watch import Watcher
from pyserve.servable import ServableId

_log = logging.getLogger(__name__)

# An incomplete version is looked at this often, however long the poll period is.
RECHECK_S = 0.25
# Copying a model makes many events at once; a poll waits this long for the rest of them.
COALESCE_S = 0.05

_NOTHING: Mapping[str, Collection[int]] = MappingProxyType({})

Emit = Callable[[str, Sequence[AspiredVersion]], None]
"""(model, its aspired versions): must not block; called with the source's lock held, to keep the order."""

IncompleteReason = Callable[[str, str], str | None]
"""(platform, path) → what is missing in a version's path, in words; None when nothing is. Asked while polling."""

_Lacks = Callable[[str], str | None]
"""The same of a known platform."""


class FileSystemSource:
    """Polls base paths. Public methods may be called from any thread.

    Args:
        emit: Receives a model's aspired versions whenever they differ from those emitted last.
        incomplete_reason: The backend's opinion on a version's files.
        options: `file_system_poll_wait_seconds` is the period, counted from the start of a poll; a poll
            that takes longer is followed by the next at once. 0: one poll after `start` and one after each
            `set_models`, with every version counting as complete. Negative: no poll at all.
            `incomplete_version_wait_s`: see `Completeness`.
        list_children: What is there under a model's base path. Asked on the polling thread.
        on_poll: Called after each poll, when the findings are up to date; must not block.
        clock: Seconds on a monotonic clock.
    """

    def __init__(
        self,
        emit: Emit,
        incomplete_reason: IncompleteReason,
        options: LoadOptions,
        *,
        list_children: ListChildren = children_on_disk,
        on_poll: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._emit = emit
        self._incomplete_reason = incomplete_reason
        self._period_s = options.file_system_poll_wait_seconds
        self._incomplete_wait_s = options.incomplete_version_wait_s
        self._list_children = list_children
        self._on_poll = on_poll
        self._clock = clock
        self._watcher = Watcher(self._on_change)
        self._thread = threading.Thread(target=self._run, name="pyserve-source", daemon=True)

        # Guarded by _lock, which is held during emissions: the order of emissions is the order of decisions.
        self._lock = threading.Condition()
        self._models: tuple[ModelConfig, ...] = ()
        self._keep: Mapping[str, Collection[int]] = _NOTHING
        self._emitted: dict[str, tuple[AspiredVersion, ...]] = {}
        self._findings: Mapping[str, Finding] = MappingProxyType({})  # swapped whole, read without the lock
        self._poll_at: float | None = None  # when to poll earlier than the period says
        self._stopping = False

        # Guarded by _poll_lock, which is held for a whole poll. Taken before _lock.
        self._poll_lock = threading.Lock()
        self._complete: dict[str, frozenset[str]] = {}  # model → paths that were emitted as complete
        self._arriving: dict[str, dict[str, _Arrival]] = {}  # model → path → what is still awaited
        self._as_is: dict[str, dict[str, _Arrival]] = {}  # the same for what was emitted as it was

    def set_models(
        self, models: Sequence[ModelConfig], keep: Mapping[str, Collection[int]] = _NOTHING
    ) -> None:
        """Look at these models from now on, instead of the ones before.

        For models no longer listed an empty emission is made at once. When started, and polling at all,
        the next poll comes at once too.

        Args:
            models: All of them; names are unique.
            keep: Versions by model that stay aspired as they are, whatever the version policy says, until the
                next `set_models`.
        """
        with self._lock:
            names = {model.name for model in models}
            before = {model.name: model.base_path for model in self._models}
            self._models = tuple(models)
            self._keep = keep
            for name in before.keys() - names:
                self._emitted.pop(name, None)
                self._emit(name, ())
            same = {model.name for model in models if before.get(model.name) == model.base_path}
            self._findings = MappingProxyType({n: f for n, f in self._findings.items() if n in same})
            self._poll_at = self._clock()
            self._lock.notify_all()

    def poll_soon(self) -> None:
        """Have the thread poll without waiting for the period to end. Returns at once."""
        with self._lock:
            self._poll_at = self._clock()
            self._lock.notify_all()

    @property
    def findings(self) -> Mapping[str, Finding]:
        """What the latest poll found, by model; models that no poll has looked at yet are absent."""
        return self._findings

    def emission(self, name: str) -> tuple[AspiredVersion, ...]:
        """What was emitted last for a model, the very tuple; empty when nothing was."""
        with self._lock:
            return self._emitted.get(name, ())

    def hold(self) -> AbstractContextManager[object]:
        """A context in which nobody else emits, or changes what is looked at. Not for anything that waits."""
        return self._lock

    def start(self) -> None:
        """Begin to poll, with a first poll at once; a negative period starts nothing."""
        if self._period_s >= 0:
            self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Poll no more. A poll that hangs in the file system is left behind, on a daemon thread, after a
        time.
        """
        with self._lock:
            self._stopping = True
            self._lock.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                _log.warning("Stopped while a poll of the file system was still under way")

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        watching = self._period_s > 0
        if watching:
            self._watcher.start()
        try:
            due: float | None = self._clock()
            while (kind := self._wait(due)) is not None:
                started = self._clock()
                if kind == "poll":
                    due = started + self._period_s if self._period_s > 0 else None
                    if watching:  # before looking, so that nothing happens unseen in between
                        self._watcher.watch([model.base_path for model in self._models])
                try:
                    self._poll(only_arriving=kind == "recheck")
                except Exception:
                    _log.exception("A poll of the file system failed")
        finally:
            self._watcher.stop()

    def _wait(self, due: float | None) -> str | None:
        """Wait for what comes first: the end (None), a poll, or another look at incomplete versions."""
        with self._lock:
            recheck_at = self._clock() + RECHECK_S if any(list(self._arriving.values())) else None
            while not self._stopping:
                now = self._clock()
                poll_at = min((t for t in (due, self._poll_at) if t is not None), default=None)
                if poll_at is not None and poll_at <= now:
                    self._poll_at = None
                    return "poll"
                if recheck_at is not None and recheck_at <= now:
                    return "recheck"
                times = [t for t in (poll_at, recheck_at) if t is not None]
                self._lock.wait(min(times) - now if times else None)
            return None

    def _on_change(self) -> None:
        with self._lock:
            if self._poll_at is None:
                self._poll_at = self._clock() + COALESCE_S
                self._lock.notify_all()

    # --- a poll -----------------------------------------------------------------------------------

    def poll_once(self) -> None:
        """Look at every model, then emit what changed. May be called with or without the thread."""
        self._poll(only_arriving=False)

    def _poll(self, only_arriving: bool) -> None:
        with self._poll_lock:
            models = self._models
            for gone in self._complete.keys() - {model.name for model in models}:
                for known in (self._complete, self._arriving, self._as_is):
                    known.pop(gone, None)
            if only_arriving:
                models = tuple(model for model in models if self._arriving.get(model.name))
            # Warnings are for full polls: else an incomplete version would multiply them.
            looks = [(model, *self._look(model, warn=not only_arriving)) for model in models]
            with self._lock:
                self._publish(looks)
        if self._on_poll is not None:
            self._on_poll()

    def _publish(
        self, looks: Sequence[tuple[ModelConfig, Finding, tuple[AspiredVersion, ...] | None]]
    ) -> None:
        current = {model.name: model for model in self._models}
        findings = dict(self._findings)
        for model, finding, versions in looks:
            if current.get(model.name) != model:
                continue  # the models were changed during the poll; the next one is on its way
            findings[model.name] = finding
            if versions is not None:
                before = self._emitted.get(model.name, ())
                versions = with_kept(versions, before, self._keep.get(model.name, ()))
            if versions is not None and self._emitted.get(model.name) != versions:
                self._emitted[model.name] = versions
                self._emit(model.name, versions)
        self._findings = MappingProxyType(findings)

    def _look(self, model: ModelConfig, warn: bool) -> tuple[Finding, tuple[AspiredVersion, ...] | None]:
        """What there is of one model; no versions (None) when its base path says nothing."""
        try:
            children = self._list_children(model)
        except (OSError, ValueError) as error:
            if warn:
                _log.error(
                    "FileSystemStoragePathSource encountered a filesystem access error: %s",
                    _access_error(model, error),
                )
            return Finding.MISSING_PATH, None
        choice = choose(model.name, children, model.version_policy)
        if warn:
            for warning in choice.warnings:
                _log.warning("%s", warning)
            if not choice.versions:
                _log.warning(
                    "No versions of servable %s found under base path %s. Did you forget to name your leaf "
                    "directory as a number (eg. '/1/')?",
                    model.name,
                    model.base_path,
                )
        found = [(version, f"{model.base_path.rstrip('/')}/{child}") for version, child in choice.versions]
        versions = self._with_completeness(model, found)
        return Finding.OK if versions else Finding.NO_VERSIONS, versions

    def _with_completeness(
        self, model: ModelConfig, found: Sequence[tuple[int, str]]
    ) -> tuple[AspiredVersion, ...]:
        name = model.name
        lacks = functools.partial(self._incomplete_reason, model.platform)
        known, arriving = self._complete.get(name, frozenset()), self._arriving.get(name, {})
        loaded_as_is = self._as_is.get(name, {})
        still: dict[str, _Arrival] = {}
        as_is: dict[str, _Arrival] = {}
        versions = []
        for version, path in found:
            complete = self._period_s <= 0 or path in known
            if not complete:
                id, wait_s = ServableId(name, version), self._incomplete_wait_s
                arrival = arriving.get(path) or _Arrival(id, path, wait_s)
                complete = arrival.look(self._clock(), lacks)
                if not complete:
                    still[path] = arrival
                elif arrival.lacking:
                    as_is[path] = arrival
            elif path in loaded_as_is and loaded_as_is[path].still_lacks(lacks):
                as_is[path] = loaded_as_is[path]
            versions.append(AspiredVersion(version, path, complete))
        self._complete[name] = frozenset(v.path for v in versions if v.complete)
        self._arriving[name] = still
        self._as_is[name] = as_is
        return tuple(versions)


class _Arrival:
    """A version whose files are still awaited."""

    def __init__(self, id: ServableId, path: str, wait_s: float) -> None:
        self._id = id
        self._path = path
        self._wait_s = wait_s
        self._decider = Completeness(wait_s)
        self._snapshot: Snapshot | None = None
        self._reason: str | None = None

    def look(self, now: float, lacks: _Lacks) -> bool:
        """Whether the version counts as complete now."""
        before, snapshot = self._reason, self._examine(lacks)
        if self._reason is not None and before is None:
            _log.info("Servable version %s is not complete yet: %s", self._id, self._reason)
        complete = self._decider.decide(now, self._reason, snapshot)
        if complete and self._reason is not None:
            _log.warning(
                "Servable version %s is not complete (%s) but has not changed for %s s; loading it as it is",
                self._id,
                self._reason,
                self._wait_s,
            )
        return complete

    @property
    def lacking(self) -> bool:
        """Whether something was missing at the latest look."""
        return self._reason is not None

    def still_lacks(self, lacks: _Lacks) -> bool:
        """Look again at a version that was loaded as it is: is something missing yet? Says so when not.

        A version whose attempts have all failed is not tried again, as with TensorFlow Serving, and whoever copied
        the rest too late would wait for it in vain.
        """
        self._examine(lacks)
        if not self.lacking:
            _log.warning(
                "Servable version %s is complete now. If its last load attempt has failed already, it is loaded "
                "when it is removed and added again, or when the server starts again",
                self._id,
            )
        return self.lacking

    def _examine(self, lacks: _Lacks) -> Snapshot:
        snapshot = take_snapshot(self._path)
        if snapshot != self._snapshot:  # the backend's answer depends on the files alone, and is not for free
            self._reason = _ask(lacks, self._path)
            self._snapshot = snapshot
        return snapshot


def _ask(lacks: _Lacks, path: str) -> str | None:
    try:
        return lacks(path)
    except Exception as error:
        # Files may vanish under its hands. If it is a bug, the load after the wait shows what is wrong.
        return f"{type(error).__name__}: {error}"


def _access_error(model: ModelConfig, error: OSError | ValueError) -> str | Status:
    status = access_status(model, error)
    return status.message if status.code is Code.NOT_FOUND else status
