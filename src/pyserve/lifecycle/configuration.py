"""The one owner of the configuration in force: which models, which labels. Decides in `reload.py`, acts here.

    a config file, an RPC ──► apply() ──► source (which models) ──► manager ──► monitor ─┐
                                └──► labels, read by every labelled request              │
    Reload.wait() ◄──────────────────────────────────────────────────────────────────────┘

Rules: reloads are decided one after the other, and none waits for another's loads. What is refused changes
nothing. A label moves when its version is available to stay: the manager has applied the newest emission, and the
version is in it. The version that a label leaves is let go only then. Requests read the labels without a lock.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable

from pyserve.config import ModelConfig, ModelSelection, Unlisted
from pyserve.errors import DeadlineExceededError, UnavailableError
from pyserve.lifecycle.base_path import found_versions
from pyserve.lifecycle.manager import Manager
from pyserve.lifecycle.monitor import Monitor
from pyserve.lifecycle.reload import (
    Accepted,
    Facts,
    InForce,
    Labels,
    accept,
    first,
    judge_reload,
    judge_start,
)
from pyserve.lifecycle.source import FileSystemSource
from pyserve.lifecycle.startup import Outcome, Verdict, has_failed
from pyserve.lifecycle.versions import AspiredVersion
from pyserve.servable import ServableId

_log = logging.getLogger(__name__)

Emission = tuple[AspiredVersion, ...]

# The manager takes notice within milliseconds; this is for a machine on its knees.
_NOTICE_S = 5.0


class Configuration:
    """Models and labels in force. Public methods may be called from any thread.

    Args:
        source: Told which models to look at.
        manager: Knows what is available.
        monitor: Hears what became of each version.
        any_new_label: `--allow_version_labels_for_unavailable_models`.
        on_disk: The versions that a model's policy would choose now; raises ServingError.
    """

    def __init__(
        self,
        source: FileSystemSource,
        manager: Manager,
        monitor: Monitor,
        *,
        any_new_label: bool = False,
        on_disk: Callable[[ModelConfig], frozenset[int]] = found_versions,
    ) -> None:
        self._source = source
        self._manager = manager
        self._monitor = monitor
        self._any_new_label = any_new_label
        self._on_disk = on_disk
        self._deciding = threading.Lock()  # held for one decision, the look at the disk included
        # Guards the replacing of _in_force, together with telling the source; readers take what is there.
        self._lock = threading.Lock()
        self._in_force = InForce()
        self._stopping = False

    # --- what is in force -------------------------------------------------------------------------

    @property
    def in_force(self) -> InForce:
        """The configuration in force. Takes no lock."""
        return self._in_force

    def labels(self) -> Labels | None:
        """Model → label → version; None before the first list of models. Takes no lock."""
        return self._in_force.labels

    def platform_of(self, name: str) -> str | None:
        """The platform of a model; None when it is not listed."""
        return next((model.platform for model in self._in_force.listed if model.name == name), None)

    # --- changing it ------------------------------------------------------------------------------

    def begin(self, models: tuple[ModelConfig, ...]) -> None:
        """Put the first configuration into force; without models a later one counts as the first. Called once."""
        self._manager.after_decisions(self._bind_ready)
        for model in models:
            if model.logging_config is not None:
                _log.error(
                    "No request-logger-creator provided. Model %s is served, its logging_config is ignored",
                    model.name,
                )
        with self._lock:
            self._replace(first(models or Unlisted.UNSET))

    def apply(self, models: ModelSelection, deadline: float | None = None) -> Reload:
        """Put another configuration into force, or refuse it and change nothing. Does not wait for loads.

        Args:
            models: The new configuration. The one in force again: only its labels are checked anew.
            deadline: On the monotonic clock; how long other decisions may delay this one.

        Returns:
            What can be waited for.

        Raises:
            ServingError: It was refused (see `reload.accept`), or its turn did not come in time.
        """
        if not self._deciding.acquire(
            timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic())
        ):
            raise DeadlineExceededError("Other changes of the configuration took too long")
        try:
            if self._stopping:
                raise UnavailableError("The server is shutting down")
            return self._apply(models)
        finally:
            self._deciding.release()

    def _apply(self, models: ModelSelection) -> Reload:
        mark = self._monitor.mark()  # before anything is looked at: what happens from now on counts
        while True:
            old = self._in_force
            emissions: dict[str, Emission] = {}  # what the decision builds on
            available = functools.partial(self._available, emissions)
            facts = Facts(available, self._is_broken, self._on_disk)
            accepted = accept(old, models, facts, any_new_label=self._any_new_label)
            with self._lock, self._source.hold():
                stale = any(self._source.emission(name) is not seen for name, seen in emissions.items())
                if self._in_force is old and not stale:  # else a label was bound, or a poll has emitted
                    self._replace(accepted.in_force)
                    break
        self._bind_ready()
        if not isinstance(models, tuple):
            _log.info("Taking no action for empty config.")
        removed = {model.name for model in old.listed} - {model.name for model in accepted.in_force.listed}
        if removed:
            # Else a model that is added again at once might never notice that it was gone.
            self._manager.await_noticed(removed, _NOTICE_S)
        noun = "servable(s)" if old.models is Unlisted.UNSET else "model(s)"
        return Reload(self._monitor, lambda: self._verdict(accepted, mark, noun), lambda: self._stopping)

    def _replace(self, in_force: InForce) -> None:
        """Put into force; with _lock held. The labels come first, the source when it has to do something else."""
        old, self._in_force = self._in_force, in_force
        if in_force.models != old.models:
            _log.info("Adding/updating models.")
            for model in in_force.listed:
                _log.info(" (Re-)adding model: %s", model.name)
        if in_force.models != old.models or in_force.kept() != old.kept():
            self._source.set_models(in_force.listed, in_force.kept())

    def _bind_ready(self) -> None:
        """Bind the labels whose version has become available. On the manager's thread, and after each change."""
        if not self._in_force.pending:
            return
        with self._lock:
            before = self._in_force
            after = before.with_bound(lambda id: id.version in self._available({}, id.name))
            if after is before:
                return
            self._replace(after)
        self._monitor.wake()

    def _available(self, emissions: dict[str, Emission], name: str) -> frozenset[int]:
        """The versions of a model that requests can reach and that will stay as long as the emission is the newest.

        While a newer emission is on its way to the manager nothing is certain, and there are none. The emission
        that was looked at is put into `emissions`.
        """
        emission = emissions[name] = self._source.emission(name)
        if self._manager.applied(name) is not emission:
            return frozenset()
        wanted = {version.version for version in emission}
        return frozenset(wanted.intersection(self._manager.available_versions(name)))

    def _is_broken(self, id: ServableId) -> bool:
        emission = self._source.emission(id.name)
        if self._manager.applied(id.name) is not emission:
            return False
        state = self._monitor.state(id)
        aspired = any(version.version == id.version for version in emission)
        return aspired and state is not None and has_failed(state)

    # --- waiting ----------------------------------------------------------------------------------

    def first_results(self, fail_on_error: bool) -> Verdict:
        """Whether the models have their first results."""
        in_force = self._in_force
        states = {model.name: self._monitor.versions(model.name) for model in in_force.listed}
        return judge_start(in_force, states, self._source.findings, fail_on_error)

    def _verdict(self, accepted: Accepted, mark: int, noun: str) -> Verdict:
        names = {*accepted.added, *(name for name, _ in accepted.in_force.pending)}
        states = {name: self._monitor.versions(name, since=mark) for name in names}
        return judge_reload(accepted, self._in_force, states, self._source.findings, noun)

    def stop(self) -> None:
        """Refuse reloads from now on, and let those who wait for one go."""
        self._stopping = True
        self._monitor.wake()


class Reload:
    """A configuration that was accepted, and what it still waits for. Any thread.

    Args:
        verdict: Where it stands.
        stopping: Whether the server stops.
    """

    def __init__(
        self, monitor: Monitor, verdict: Callable[[], Verdict], stopping: Callable[[], bool]
    ) -> None:
        self._monitor = monitor
        self._verdict = verdict
        self._stopping = stopping

    def verdict(self) -> Verdict:
        """Where it stands now."""
        return self._verdict()

    def wait(self, deadline: float | None = None, given_up: Callable[[], bool] = lambda: False) -> bool:
        """Wait until the new models have a result and the labels their versions.

        Args:
            deadline: On the monotonic clock; None: no limit.
            given_up: Whether the caller has lost interest; the monitor's `wake` makes it be asked.

        Returns:
            True when everything is available; False when the time was over or the caller gave up. The
            configuration is in force in either case.

        Raises:
            UnknownError: Versions did not become available; they are named.
            AbortedError: A later configuration took away what was awaited.
            UnavailableError: The server stops.
        """

        def settled() -> bool:
            return given_up() or self._stopping() or self._verdict().outcome is not Outcome.WAITING

        self._monitor.wait(settled, None if deadline is None else max(0.0, deadline - time.monotonic()))
        verdict = self._verdict()
        if verdict.error is not None:
            raise verdict.error
        if verdict.outcome is Outcome.READY:
            _log.info("Finished adding/updating models")
            return True
        if self._stopping():
            raise UnavailableError("The server is shutting down")
        return False
