"""Models run directly, without any server: the limit that a server is measured against.

A process of its own loads them through pyserve's backend, and runs what it is asked for: numpy in, numpy out.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pyserve.dtypes import Array
from pyserve.servable import DEFAULT_SIGNATURE
from pyserve.tools.bench.load import Outcome, merged


class InProcess:
    """The process; a context manager.

    Args:
        versions: Directory of each model by name.
    """

    def __init__(self, versions: Mapping[str, Path]) -> None:
        self._versions = versions

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_work, args=(there, dict(self._versions)), daemon=True)
        self._process.start()
        there.close()
        self._pipe.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def run(self, name: str, inputs: Mapping[str, Array], in_flight: int, seconds: float) -> Outcome:
        """Run a model from as many threads as are in flight, at most one per core and one more."""
        self._pipe.send((name, dict(inputs), min(in_flight, (os.cpu_count() or 1) + 1), seconds))
        outcome: Outcome = self._pipe.recv()
        return outcome


def _work(pipe: Connection, versions: dict[str, Path]) -> None:
    from pyserve.backends.saved_model import SavedModelLoader
    from pyserve.config import TensorFlowOptions

    servables = {
        name: SavedModelLoader(str(path), TensorFlowOptions()).load() for name, path in versions.items()
    }
    pipe.send("ready")
    while True:
        try:
            name, inputs, threads, seconds = pipe.recv()
        except EOFError:
            os._exit(0)  # as the server ends: TensorFlow's threads are not waited for
        pipe.send(_run(servables[name], inputs, threads, seconds))


def _run(servable: Any, inputs: dict[str, Array], threads: int, seconds: float) -> Outcome:
    outputs = sorted(servable.signatures[DEFAULT_SIGNATURE].outputs)
    outcomes = [Outcome(seconds) for _ in range(threads)]
    end = time.perf_counter() + seconds

    def one(outcome: Outcome) -> None:
        began = time.perf_counter()
        while began < end:
            servable.run(DEFAULT_SIGNATURE, inputs, outputs)
            now = time.perf_counter()
            outcome.latency.add(now - began)
            outcome.codes["OK"] += 1
            outcome.good_in_time += now <= end
            began = now

    workers = [threading.Thread(target=one, args=(outcome,)) for outcome in outcomes]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return merged(outcomes)
