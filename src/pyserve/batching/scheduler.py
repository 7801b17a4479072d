"""The threads that run models: one pool for all versions. Tasks go in from any thread; each is answered on the thread
that ran it.

What waits where is `open_version`'s to say, and what runs next `turns`'; here is the lock around them, and who sleeps
how long. A thread without work waits for a wake-up, and one of them at most until the next batch becomes due.
TensorFlow releases Python's lock while it works, so the threads really run side by side.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from pyserve.batching.open_version import OpenVersion, RulesFor
from pyserve.batching.task import Task
from pyserve.batching.turns import Model, Place, Turns, Version
from pyserve.errors import SHUTTING_DOWN, InternalError, UnavailableError, as_serving_error
from pyserve.servable import Servable, ServableId

logger = logging.getLogger(__name__)

OnStuck = Callable[[ServableId, int], None]
"""(id, 1): a run of the version was given up; (id, -1): one has ended after all. Must not block."""


class _Worker:
    """A thread, and what it runs."""

    __slots__ = ("given_up", "place", "started_at", "thread", "wake_up")

    def __init__(self) -> None:
        self.thread: threading.Thread
        # Held; given back once for each wake-up. A lock of its own, because `queue.SimpleQueue.get` with a time limit
        # can sleep for ever where several threads wait: woken for nothing after its time, it goes on without one.
        self.wake_up = threading.Lock()
        self.wake_up.acquire()
        self.place: Place | None = None
        self.started_at = 0.0
        self.given_up = False


class Scheduler:
    """A pool of daemon threads in front of the lines of all versions.

    Args:
        num_threads: Runs of one model at the same time, >= 1. There is one thread more, which only other models use.
        stuck_after_s: A run that takes longer is given up: its thread is replaced, and ends when it comes back. None:
            never.
        thread_name: What the threads' names begin with.
        on_stuck: Told about runs that are given up.

    Thread-safety: everything may be called from any thread. A version takes tasks between `open` and `close`; after
    `stop` tasks are answered with UNAVAILABLE.
    """

    def __init__(
        self,
        num_threads: int,
        *,
        stuck_after_s: float | None = None,
        thread_name: str = "pyserve-run",
        on_stuck: OnStuck = lambda servable_id, change: None,
    ) -> None:
        self._num_threads = num_threads + 1
        self._stuck_after_s = stuck_after_s
        self._thread_name = thread_name
        self._on_stuck = on_stuck
        # Guards everything below but the last, which guards itself.
        self._lock = threading.Lock()
        self._turns = Turns(num_threads)
        self._versions: dict[int, OpenVersion] = {}  # by the identity of the servable, which each one keeps
        self._models: dict[str, Model] = {}
        self._workers: list[_Worker] = []
        self._threads_made = 0
        self._stopped = False
        self._idle: list[_Worker] = []  # those that wait for a wake-up, and will not get one unasked
        self._timer_at: float | None = None  # until when the one sleeps that watches the time
        self._watch_over = threading.Event()

    @property
    def runs_of_a_model(self) -> int:
        """How many runs of one model there are at most at the same time."""
        return self._turns.cap

    def start(self) -> None:
        with self._lock:
            for _ in range(self._num_threads):
                self._start_worker()
        if self._stuck_after_s is not None:
            threading.Thread(
                target=self._watch,
                args=(self._stuck_after_s,),
                name=f"{self._thread_name}-watch",
                daemon=True,
            ).start()

    # --- versions ------------------------------------------------------------------------------------------------

    def open(self, servable_id: ServableId, servable: Servable, rules_for: RulesFor | None = None) -> None:
        """Take tasks for a version, instead of for another servable that had its id.

        Args:
            rules_for: Asked for each new queue; by default every task runs alone.
        """
        self.close(servable_id)
        with self._lock:
            model = self._models.setdefault(servable_id.name, Model())
            self._versions[id(servable)] = OpenVersion(servable, Version(servable_id, model), rules_for)

    def close(self, servable_id: ServableId) -> None:
        """Forget a version and its queues, once its tasks have ended. Does nothing for one that is not open."""
        with self._lock:
            self._versions = {
                key: version for key, version in self._versions.items() if version.counts.id != servable_id
            }
            if all(version.counts.id.name != servable_id.name for version in self._versions.values()):
                self._models.pop(servable_id.name, None)

    def stuck(self) -> dict[ServableId, int]:
        """The versions with runs that were given up and have not ended, and how many."""
        with self._lock:
            counts = [version.counts for version in self._versions.values()]
            return {count.id: count.stuck for count in counts if count.stuck}

    # --- tasks ---------------------------------------------------------------------------------------------------

    def submit(self, task: Task) -> None:
        """Let a task wait for its run. One that is refused is answered at once."""
        try:
            with self._lock:
                version = self._version(task)
                now = time.monotonic()
                place = version.offer(task, now)
                if self._turns.look(place, now):
                    self._wake_one()
        except Exception as error:
            task.drop(as_serving_error(error))

    def run_now(self, task: Task) -> None:
        """Run a task on this thread and at once, by the rules of its version's queues; it is answered then."""
        try:
            with self._lock:
                version = self._version(task)
                run = version.run_of(task, time.monotonic())
        except Exception as error:
            task.drop(as_serving_error(error))
            return
        run()

    def _version(self, task: Task) -> OpenVersion:
        if self._stopped:
            raise UnavailableError(SHUTTING_DOWN)
        version = self._versions.get(id(task.handle.servable))
        if version is None:
            raise InternalError(f"Servable {task.handle.id} takes no tasks")
        return version

    # --- the end -------------------------------------------------------------------------------------------------

    def stop(self, timeout_s: float | None = None) -> bool:
        """Run what waits, then end the threads.

        Returns:
            Whether all threads ended in time. A thread that is stuck inside a model cannot be ended; it is a
            daemon, so it does not keep the process alive.
        """
        self._watch_over.set()
        with self._lock:
            if not self._stopped:
                self._stopped = True
                now = time.monotonic()
                for version in self._versions.values():
                    for place in version.places():
                        place.line.shut()
                        self._turns.look(place, now)
                while self._idle:
                    self._wake_one()
            threads = [worker.thread for worker in self._workers]
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        left = [thread.name for thread in threads if thread.is_alive()]
        if left:
            logger.warning("Threads still inside a model at shutdown: %s", ", ".join(left))
        return not left

    # --- threads -------------------------------------------------------------------------------------------------

    def _start_worker(self) -> None:
        """Under the lock, so that nobody joins a thread that has not started; it takes the lock later."""
        worker = _Worker()
        name = f"{self._thread_name}-{self._threads_made}"
        worker.thread = threading.Thread(target=self._work, args=(worker,), name=name, daemon=True)
        self._workers.append(worker)
        self._threads_made += 1
        worker.thread.start()

    def _work(self, worker: _Worker) -> None:
        while True:
            timeout_s = -1.0  # none
            timer_at: float | None = None
            with self._lock:
                now = time.monotonic()
                if worker.place is not None and self._ended(worker, worker.place, now):
                    return
                found = self._turns.next(now)
                if found is not None:
                    worker.place, run = found
                    worker.started_at = now
                    self._wake_another()
                elif self._stopped:
                    self._workers.remove(worker)
                    return
                else:
                    self._idle.append(worker)
                    at = self._turns.wake_at()
                    if at is not None and (self._timer_at is None or at < self._timer_at):
                        self._timer_at = timer_at = at
                        timeout_s = max(0.0, at - now)
            if found is not None:
                found = None
                try:
                    run()
                except Exception:
                    logger.exception("A run of servable %s raised", worker.place.version.id)  # type: ignore[union-attr]
                del run  # it would keep the answers' arrays until the next one
                continue
            woken = worker.wake_up.acquire(timeout=timeout_s)
            with self._lock:
                if not woken:
                    if worker in self._idle:
                        self._idle.remove(worker)
                    else:
                        worker.wake_up.acquire()  # it was woken in this very moment
                if timer_at is not None and self._timer_at == timer_at:
                    self._timer_at = None

    def _wake_one(self) -> None:
        """Wake the thread that went to sleep last, if any sleeps. Under the lock."""
        if self._idle:
            self._idle.pop().wake_up.release()

    def _wake_another(self) -> None:
        """Wake a further thread if there is something left to run, or nobody watches the time. Under the lock."""
        if self._turns.waiting or (self._timer_at is None and self._turns.wake_at() is not None):
            self._wake_one()

    def _ended(self, worker: _Worker, place: Place, now: float) -> bool:
        """Note the end of a run; whether its thread is to end too, because another took its place. Under the lock."""
        worker.place = None
        if not worker.given_up:
            self._turns.done(place, now)
            return False
        self._turns.returned(place, now)
        self._on_stuck(place.version.id, -1)
        logger.warning("A run of servable %s that was given up has ended", place.version.id)
        self._workers.remove(worker)
        self._wake_another()
        return True

    def _watch(self, stuck_after_s: float) -> None:
        """Give up runs that take too long. A run that begins during a sleep cannot be over its time before its end."""
        sleep_s = stuck_after_s
        while not self._watch_over.wait(sleep_s):
            with self._lock:
                now = time.monotonic()
                look_at = now + stuck_after_s
                for worker in list(self._workers):
                    if worker.place is None or worker.given_up:
                        continue
                    late_at = worker.started_at + stuck_after_s
                    if late_at > now:
                        look_at = min(look_at, late_at)
                    elif not self._stopped:
                        self._give_up(worker, worker.place, stuck_after_s)
            sleep_s = look_at - now

    def _give_up(self, worker: _Worker, place: Place, after_s: float) -> None:
        """Let another thread take the place of one. Under the lock."""
        worker.given_up = True
        self._turns.give_up(place, time.monotonic())
        self._on_stuck(place.version.id, 1)
        logger.warning(
            "A run of servable %s has not ended for %g s: another thread takes the place of %s",
            place.version.id, after_s, worker.thread.name,
        )  # fmt: skip
        self._start_worker()
