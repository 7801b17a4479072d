"""A loader that is counted, by the names under which TensorFlow counts its own loads."""

from __future__ import annotations

import time

from pyserve.lifecycle.loader import Loader
from pyserve.observe.serving_metrics import ServingMetrics
from pyserve.servable import Servable


class MeteredLoader:
    """Another loader, each of whose attempts is counted, with the microseconds that it took.

    Source: TensorFlow, cc/saved_model/loader.cc (names, and the statuses `success` and `fail`).
    """

    def __init__(self, loader: Loader, path: str, metrics: ServingMetrics) -> None:
        self._loader = loader
        self._path = path
        self._metrics = metrics

    def load(self) -> Servable:
        started = time.perf_counter()
        status = "fail"
        try:
            servable = self._loader.load()
            status = "success"
        finally:
            micros = int((time.perf_counter() - started) * 1e6)
            self._metrics.load_attempt_count.add((self._path, status))
            self._metrics.load_latency.add((self._path,), micros)
        return servable
