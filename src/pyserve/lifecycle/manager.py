"""Makes what is loaded equal to what is aspired: the one owner of every version's state.

    aspire() ────────────┐                               ┌─► jobs: loads and unloads ─┐
    last handle released ┼─► events ─► thread: settle() ─┤                            ├─► events
    stop() ──────────────┘                               └─► serving map, monitor     ┘

One thread decides, in answer to events; it never loads, unloads, sleeps or waits for a request. After each
batch of events it *settles*: applies emissions, asks the policy about every model that something happened
to, starts jobs. What belongs to that thread is touched by no other.

Rules: every servable loaded is unloaded exactly once, and never while a handle is out. Requests reach a
version before it is published AVAILABLE, and UNLOADING is published before they no longer do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from pyserve.config import LoadOptions
from pyserve.errors import ServingError, Status
from pyserve.lifecycle.harness import FINAL, Harness, HarnessState
from pyserve.lifecycle.jobs import Drained, Event, Jobs, Loaded, Look, Unloaded
from pyserve.lifecycle.loader import MakeLoader, Prepare, retry_delay_s
from pyserve.lifecycle.monitor import CANCELLED_LOAD, Monitor, ServableState, State
from pyserve.lifecycle.policy import Policy, Verb, VersionView, availability_preserving
from pyserve.lifecycle.serving import Lease, ServingMap
from pyserve.lifecycle.versions import AspiredVersion
from pyserve.servable import Servable, ServableHandle, ServableId

_log = logging.getLogger(__name__)

# After a bug of ours the thread goes on, but not in a tight loop of failures.
_PAUSE_AFTER_BUG_S = 1.0
# What is done when a stop's time is over still needs a moment to leave its thread.
_STOP_GRACE_S = 0.2


class Manager:
    """Loads and unloads versions as they are aspired. Public methods may be called from any thread.

    Args:
        make_loader: (id, path) → loader.
        monitor: Hears every change of state.
        options: Retries and threads.
        prepare: (id, path, servable), called inside each load attempt, before the version is AVAILABLE.
        policy: Decides about one model's versions.
        initial_load_threads: Loads at the same time until `end_initial_load`; None means 4 per CPU.

    After `end_initial_load`, `num_load_threads` loads run at the same time; 0 means one at a time, as with
    TensorFlow Serving, but not on the thread that decides: unloads and other decisions go on meanwhile.
    Likewise `num_unload_threads`. A version that waits for its next load attempt occupies neither thread nor
    slot.
    """

    def __init__(
        self,
        make_loader: MakeLoader,
        monitor: Monitor,
        options: LoadOptions,
        *,
        prepare: Prepare | None = None,
        policy: Policy = availability_preserving,
        initial_load_threads: int | None = None,
    ) -> None:
        self._make_loader = make_loader
        self._monitor = monitor
        self._options = options
        self._policy = policy
        self._jobs = Jobs(options, prepare, initial_load_threads)
        self._serving = ServingMap()
        self._thread = threading.Thread(target=self._run, name="pyserve-manager", daemon=True)

        # For other threads.
        self._inbox_lock = threading.Condition(threading.Lock())
        self._inbox: dict[str, tuple[AspiredVersion, ...]] = {}  # guarded by _inbox_lock
        self._stop_lock = threading.Lock()
        self._stopping = False
        self._deadline: float | None = None  # set before _stopping

        self._listeners: tuple[Callable[[], None], ...] = ()  # replaced whole
        # Model → the emission that was applied last; written by the thread, read by all.
        self._applied: dict[str, tuple[AspiredVersion, ...]] = {}

        # The thread's own. A dict[str, None] is a set of models that keeps their order.
        self._models: dict[str, dict[int, Harness]] = {}
        self._held: dict[str, tuple[AspiredVersion, ...]] = {}  # emissions that were not applied yet
        self._dirty: dict[str, None] = {}  # to ask the policy about
        self._to_load: dict[str, None] = {}  # whose next action is a load
        self._retries: list[tuple[float, Harness]] = []  # (due on the monotonic clock, version)
        self._to_unload: deque[Harness] = deque()
        self._stop_begun = False

    # --- for everybody ----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to act. Emissions that came earlier are acted on now."""
        self._thread.start()

    def aspire(self, name: str, versions: Sequence[AspiredVersion]) -> None:
        """Say which versions of a model are wanted: all of them, those left out are to be unloaded.

        Never waits for a decision. Of several emissions for a model that were not acted on yet only the
        newest counts.
        """
        with self._inbox_lock:
            self._inbox[name] = tuple(versions)
        self._jobs.post(Look())

    def await_noticed(self, names: Collection[str], timeout_s: float) -> bool:
        """Wait until the thread has taken what was last aspired for these models, so that nothing said later
        can replace it.

        The thread never blocks, so this is a matter of milliseconds; False when the time is over all the same.
        """
        with self._inbox_lock:
            return self._inbox_lock.wait_for(lambda: self._inbox.keys().isdisjoint(names), timeout_s)

    def applied(self, name: str) -> tuple[AspiredVersion, ...]:
        """The emission for a model that is in effect, the very tuple that `aspire` was given.

        While it is the newest one, every version of it that is available stays so. Takes no lock.
        """
        return self._applied.get(name, ())

    def after_decisions(self, listener: Callable[[], None]) -> None:
        """Have a function called on the manager's thread each time that it has decided something; never block."""
        self._listeners = (*self._listeners, listener)

    def acquire(self, name: str, version: int | None = None) -> ServableHandle:
        """A handle on a version, the highest available one when none is named. Takes no lock.

        Raises:
            NotFoundError: Not available.
            UnavailableError: Not available since the manager is stopping.
        """
        return self._serving.acquire(name, version)

    def available_versions(self, name: str) -> list[int]:
        """The versions of a model that requests can reach, ascending. Takes no lock."""
        return self._serving.available_versions(name)

    def end_initial_load(self) -> None:
        """From now on load with `num_load_threads`; attempts under way go on uncounted. Never blocks."""
        self._jobs.end_initial_phase()
        self._jobs.post(Look())

    def stop(self, timeout_s: float | None = None) -> bool:
        """Take everything away: refuse requests, wait for handles, unload all versions, end all threads.

        Args:
            timeout_s: Limit in seconds for all of it; None waits as long as it takes.

        Returns:
            True when everything was unloaded and no thread is left. Otherwise a warning names what remains. A
            version still in use is then unloaded by whoever releases its last handle; a load stuck in foreign
            code, which nothing can end, stays behind on a daemon thread that unloads what it may still bring.
        """
        with self._stop_lock:
            if not self._stopping:
                self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
                self._stopping = True
            if self._thread.ident is None:
                return True
            self._jobs.post(Look())
            deadline = None
            if self._deadline is not None:
                deadline = max(self._deadline, time.monotonic()) + _STOP_GRACE_S
            self._thread.join(None if deadline is None else deadline - time.monotonic())
            if self._thread.is_alive():
                _log.warning("Stopped while the manager's thread was still at work")
                return False
            at_work = self._jobs.join(deadline)
            for name in at_work:
                _log.warning("Stopped while the thread %s was still at work", name)
            return not at_work and not self._models

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = 0.0
        while not self._finished():
            timeout_s = self._due_in_s()
            events = self._jobs.wait(timeout_s if timeout_s is None else max(timeout_s, pause_s))
            pause_s = 0.0
            try:
                for event in events:
                    self._handle(event)
                self._settle()
                for listener in self._listeners:
                    listener()
            except Exception:
                _log.exception("The manager failed to act on %s", events)
                pause_s = _PAUSE_AFTER_BUG_S
        self._close()

    def _due_in_s(self) -> float | None:
        """Seconds until something is due that no event announces: a retry, or the end of a stop."""
        times = [due for due, _ in self._retries] if self._jobs.load_slot_free() else []
        if self._stopping and self._deadline is not None:
            times.append(self._deadline)
        return max(min(times) - time.monotonic(), 0.0) if times else None

    def _handle(self, event: Event) -> None:
        match event:
            case Loaded():
                self._on_loaded(event.harness, event.servable, event.error)
            case Unloaded():
                self._on_unloaded(event.harness, event.error)
            case Drained():
                self._on_drained(event.harness)
            case Look():
                pass

    def _settle(self) -> None:
        """Decide until nothing is left to decide."""
        if not self._stopping:
            self._apply_emissions()
            while self._dirty:
                self._decide(next(iter(self._dirty)))
            self._start_loads()
        elif not self._stop_begun:
            self._begin_stop()
        while self._to_unload and self._jobs.unload_slot_free():
            self._unload(self._to_unload.popleft())

    # --- what is wanted ---------------------------------------------------------------------------

    def _apply_emissions(self) -> None:
        with self._inbox_lock:
            inbox, self._inbox = self._inbox, {}
            if inbox:
                self._inbox_lock.notify_all()
        self._held.update(inbox)
        for name, versions in list(self._held.items()):
            if self._may_apply(name, versions):
                del self._held[name]
                self._apply(name, versions)

    def _may_apply(self, name: str, versions: Iterable[AspiredVersion]) -> bool:
        """False while a version that is wanted again is still on its way out.

        A version that is READY although un-aspired, since no successor serves, is not on its way out: it is
        simply wanted again. (TensorFlow Serving holds the emission back even then, for ever when the
        successor is broken.)
        """
        harnesses = self._models.get(name, {})
        known = (harnesses[v.version] for v in versions if v.version in harnesses)
        return all(harness.aspired or harness.state is HarnessState.READY for harness in known)

    def _apply(self, name: str, versions: tuple[AspiredVersion, ...]) -> None:
        wanted = {v.version: v for v in versions}
        for version, harness in list(self._models.get(name, {}).items()):
            if harness.aspired and version not in wanted:
                self._unaspire(harness)
        for version, aspired in sorted(wanted.items()):
            known = self._models.get(name, {}).get(version)
            if known is None:
                self._manage(ServableId(name, version), aspired)
                continue
            known.aspired = True
            if known.state is HarnessState.NEW:
                known.path, known.complete = aspired.path, aspired.complete
        self._dirty[name] = None
        if versions:
            self._applied[name] = versions
        else:
            self._applied.pop(name, None)

    def _manage(self, id: ServableId, aspired: AspiredVersion) -> None:
        harness = Harness(id, aspired.path, aspired.complete)
        self._models.setdefault(id.name, {})[id.version] = harness
        if aspired.error is not None:
            harness.advance(HarnessState.LOAD_REQUESTED)
            self._fail(harness, Status.of(aspired.error))
        else:
            self._publish(harness)

    def _unaspire(self, harness: Harness) -> None:
        harness.aspired = False
        self._dirty[harness.id.name] = None
        if harness.state is HarnessState.NEW:
            # It was published as START, so its end is published too; TensorFlow Serving leaves it at START.
            self._forget(harness)
            self._monitor.publish(ServableState(harness.id, State.END, CANCELLED_LOAD))
        elif harness.state in FINAL:
            self._forget(harness)
        elif harness.state is HarnessState.LOADING:
            harness.cancelled = True
            harness.end = CANCELLED_LOAD
            pausing = [retry for retry in self._retries if retry[1] is harness]
            for retry in pausing:
                self._retries.remove(retry)
                self._end_cancelled(harness)

    def _forget(self, harness: Harness) -> None:
        """Manage a version no more; the monitor keeps its last state."""
        name, version = harness.id.name, harness.id.version
        del self._models[name][version]
        if not self._models[name]:
            del self._models[name]
        self._dirty[name] = None

    # --- decisions --------------------------------------------------------------------------------

    def _decide(self, name: str) -> None:
        """Unload what the policy gives up of one model, and note whether it has something to load."""
        self._dirty.pop(name, None)
        self._to_load.pop(name, None)
        while (action := self._next_action(name)) is not None:
            harness, verb = action
            if verb is Verb.LOAD:
                self._to_load[name] = None
                return
            self._retire(harness)

    def _next_action(self, name: str) -> tuple[Harness, Verb] | None:
        harnesses = self._models.get(name, {})
        views = [VersionView(v, h.state, h.aspired, h.complete) for v, h in sorted(harnesses.items())]
        action = self._policy(views)
        return None if action is None else (harnesses[action.version], action.verb)

    def _start_loads(self) -> None:
        """Fill the free slots: models in turn, each with its best version, then retries that are due.

        In this order a model that fails again and again does not delay the others.
        """
        while self._to_load and self._jobs.load_slot_free():
            name = next(iter(self._to_load))
            action = self._next_action(name)
            if action is not None and action[1] is Verb.LOAD:
                self._begin_load(action[0])
            self._decide(name)  # with more to load the model goes to the end of the line
        now = time.monotonic()
        for retry in sorted(self._retries, key=lambda retry: retry[0]):
            due, harness = retry
            if due > now or not self._jobs.load_slot_free():
                break
            self._retries.remove(retry)
            _log.info("Retrying of Loading servable: %s retry: %d", harness.id, harness.attempts)
            self._jobs.load(harness)

    # --- loading ----------------------------------------------------------------------------------

    def _begin_load(self, harness: Harness) -> None:
        harness.advance(HarnessState.LOAD_REQUESTED)
        try:
            harness.loader = self._make_loader(harness.id, harness.path)
        except Exception as error:
            self._fail(harness, Status.of(error))
            return
        _log.info("Successfully reserved resources to load servable %s", harness.id)
        harness.advance(HarnessState.LOAD_APPROVED)
        _log.info("Approving load for servable version %s", harness.id)
        harness.advance(HarnessState.LOADING)
        _log.info("Loading servable version %s", harness.id)
        self._publish(harness)
        self._jobs.load(harness)

    def _on_loaded(self, harness: Harness, servable: Servable | None, error: BaseException | None) -> None:
        harness.attempts += 1
        if servable is None:
            assert error is not None
            self._on_load_failed(harness, error)
            return
        harness.loader = None
        harness.put_servable(servable)
        if harness.cancelled:
            self._to_unload.append(harness)
            return
        lease = Lease(harness.id, servable, lambda: self._jobs.post(Drained(harness)))
        harness.lease = lease
        harness.advance(HarnessState.READY)
        _log.info("Successfully loaded servable version %s", harness.id)
        self._serving.add(lease)
        self._publish(harness)
        self._dirty[harness.id.name] = None

    def _on_load_failed(self, harness: Harness, error: BaseException) -> None:
        status = Status.of(error)
        foreign = None if isinstance(error, ServingError) else error
        _log.error("Loading servable: %s failed: %s", harness.id, status, exc_info=foreign)
        if harness.cancelled:
            self._end_cancelled(harness)
            return
        delay_s = retry_delay_s(harness.attempts, self._options)
        if delay_s is not None:
            self._retries.append((time.monotonic() + delay_s, harness))
            return
        most = self._options.max_num_load_retries
        _log.info("Retrying of Loading servable: %s exhausted max_num_retries: %d", harness.id, most)
        self._fail(harness, status)

    def _end_cancelled(self, harness: Harness) -> None:
        _log.info("Retrying of Loading servable: %s was cancelled.", harness.id)
        self._fail(harness, CANCELLED_LOAD)

    def _fail(self, harness: Harness, status: Status) -> None:
        harness.loader = None
        harness.end = status
        harness.advance(HarnessState.ERROR)
        _log.info("Encountered an error for servable version %s: %s", harness.id, status)
        self._publish(harness)
        _log.error("Servable %s cannot be loaded: %s", harness.id, status)
        self._dirty[harness.id.name] = None
        if not harness.aspired:
            self._forget(harness)

    # --- unloading --------------------------------------------------------------------------------

    def _retire(self, harness: Harness) -> None:
        assert harness.lease is not None
        harness.advance(HarnessState.UNLOAD_REQUESTED)
        self._publish(harness)
        harness.advance(HarnessState.QUIESCING)
        _log.info("Quiescing servable version %s", harness.id)
        self._serving.remove(harness.lease)
        if harness.lease.drained:
            self._on_drained(harness)

    def _on_drained(self, harness: Harness) -> None:
        """Nobody uses a retired version any more; said again, that means nothing."""
        if harness.state is not HarnessState.QUIESCING:
            return
        harness.lease = None
        harness.advance(HarnessState.QUIESCED)
        _log.info("Done quiescing servable version %s", harness.id)
        self._to_unload.append(harness)

    def _unload(self, harness: Harness) -> None:
        harness.advance(HarnessState.UNLOADING)
        _log.info("Unloading just-loaded servable version %s", harness.id)
        servable = harness.take_servable()
        assert servable is not None
        self._jobs.unload(harness, servable)

    def _on_unloaded(self, harness: Harness, error: BaseException | None) -> None:
        if error is not None:
            _log.error("Servable %s cannot be unloaded: %s", harness.id, Status.of(error), exc_info=error)
        harness.advance(HarnessState.DISABLED)
        _log.info("Done unloading servable version %s", harness.id)
        self._forget(harness)
        self._publish(harness)

    def _publish(self, harness: Harness) -> None:
        self._monitor.publish(ServableState(harness.id, harness.published, harness.end))

    # --- stopping ---------------------------------------------------------------------------------

    def _begin_stop(self) -> None:
        self._stop_begun = True
        self._serving.close()
        self._to_load.clear()
        for harness in [harness for model in self._models.values() for harness in model.values()]:
            if harness.aspired:
                self._unaspire(harness)
            if harness.state is HarnessState.READY:
                self._retire(harness)

    def _finished(self) -> bool:
        if not self._stop_begun:
            return False
        return not self._models or (self._deadline is not None and time.monotonic() >= self._deadline)

    def _close(self) -> None:
        while self._to_unload:  # the time is over: slots count no more
            self._unload(self._to_unload.popleft())
        for model in self._models.values():
            for harness in model.values():
                handles = harness.lease.holders if harness.lease is not None else 0
                _log.warning(
                    "Stopped before servable version %s was unloaded: %s, %d handle(s) still in use",
                    harness.id,
                    harness.state.value,
                    handles,
                )
        self._jobs.close()
