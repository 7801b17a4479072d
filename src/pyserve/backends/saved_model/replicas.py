"""One version on several devices: a servable for each, and which of them takes the next run.

Made by `loader` for a model with several devices. Every replica has a session with variables and tables of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from pyserve.backends.saved_model.servable import SavedModelServable
from pyserve.dtypes import Array
from pyserve.servable import OutputOf


def least_loaded(running: Sequence[int], last: int) -> int:
    """The place of the replica with the fewest runs; among equals the next one after the last that was chosen.

    Args:
        running: Runs under way on each replica, at least one replica.
        last: The place that was chosen before; -1 before the first choice.
    """
    return min(range(len(running)), key=lambda place: (running[place], (place - last - 1) % len(running)))


class ReplicatedServable:
    """A `Servable` whose runs go to the replica that has the least to do. Thread-safe.

    Args:
        replicas: The same version on different devices, at least one; owned from now on.
    """

    def __init__(self, replicas: Sequence[SavedModelServable]) -> None:
        self.replicas = tuple(replicas)
        self.signatures = self.replicas[0].signatures
        self.signature_def_map = self.replicas[0].signature_def_map
        self.stateless = self.replicas[0].stateless
        self._lock = threading.Lock()
        self._running = [0] * len(self.replicas)  # guarded by _lock
        self._last = -1  # guarded by _lock
        self._of_thread = threading.local()  # `place`: the replica that takes all runs of the thread

    def run(
        self,
        signature_key: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        """Run one signature; see `SavedModelServable.run`."""
        with self._replica() as replica:
            return replica.run(signature_key, inputs, outputs, timeout_s)

    def run_jointly(
        self, outputs: Mapping[str, OutputOf], array: Array, timeout_s: float | None = None
    ) -> dict[str, Array]:
        """Run several signatures on one replica; see `SavedModelServable.run_jointly`."""
        with self._replica() as replica:
            return replica.run_jointly(outputs, array, timeout_s)

    def run_tensors(
        self,
        feeds: Mapping[str, Array],
        fetches: Sequence[str],
        targets: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        """Run any part of one replica's graph; see `SavedModelServable.run_tensors`."""
        with self._replica() as replica:
            return replica.run_tensors(feeds, fetches, targets, timeout_s)

    def on_each_replica(self, work: Callable[[], None]) -> None:
        """Call something once for each replica; see `Replicated`. Other threads are not bound meanwhile."""
        try:
            for place in range(len(self.replicas)):
                self._of_thread.place = place
                work()
        finally:
            self._of_thread.place = None

    def unload(self) -> None:
        """Unload every replica, also when one of them fails to. Called after the last run."""
        with ExitStack() as stack:
            for replica in self.replicas:
                stack.callback(replica.unload)

    @contextmanager
    def _replica(self) -> Iterator[SavedModelServable]:
        """The replica for a run, the least loaded unless the thread is bound to one; it counts one run more inside."""
        place: int | None = getattr(self._of_thread, "place", None)
        with self._lock:
            if place is None:
                place = self._last = least_loaded(self._running, self._last)
            self._running[place] += 1
        try:
            yield self.replicas[place]
        finally:
            with self._lock:
                self._running[place] -= 1
