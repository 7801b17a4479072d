"""Models run directly, without any server: the limit that a server is measured against."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from child import Child
from pyserve.dtypes import Array
from pyserve.servable import DEFAULT_SIGNATURE
from pyserve.tools.bench.load import Outcome, merged


class InProcess(Child):
    """A process with models that were loaded through pyserve's backend.

    Args:
        versions: Directory of each model by name.
    """

    def __init__(self, versions: Mapping[str, Path]) -> None:
        super().__init__(make, dict(versions))

    def run(
        self, name: str, inputs: Mapping[str, Array], in_flight: int, seconds: float, rows: int = 1
    ) -> Outcome:
        """Run a model from as many threads as are in flight, at most one per core and one more; its rows count."""
        threads = min(in_flight, (os.cpu_count() or 1) + 1)
        outcome: Outcome = self.ask(name, dict(inputs), threads, seconds, rows)
        return outcome


def make(versions: dict[str, Path]) -> Callable[..., Outcome]:
    """Load the models; what is returned runs one of them, numpy in and numpy out."""
    from pyserve.backends.saved_model import SavedModelLoader
    from pyserve.config import TensorFlowOptions

    servables = {
        name: SavedModelLoader(str(path), TensorFlowOptions()).load() for name, path in versions.items()
    }

    def run(name: str, inputs: dict[str, Array], threads: int, seconds: float, rows: int) -> Outcome:
        return _run(servables[name], inputs, threads, seconds, rows)

    return run


def _run(servable: Any, inputs: dict[str, Array], threads: int, seconds: float, rows: int) -> Outcome:
    outputs = sorted(servable.signatures[DEFAULT_SIGNATURE].outputs)
    outcomes = [Outcome(seconds) for _ in range(threads)]
    end = time.perf_counter() + seconds

    def one(outcome: Outcome) -> None:
        began = time.perf_counter()
        while began < end:
            servable.run(DEFAULT_SIGNATURE, inputs, outputs)
            now = time.perf_counter()
            outcome.latency.add(now - began)
            outcome.codes["OK"] += rows
            outcome.good_in_time += rows
            began = now
        outcome.seconds = began - end + seconds

    workers = [threading.Thread(target=one, args=(outcome,)) for outcome in outcomes]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return merged(outcomes)
