"""What the core records by itself."""

from __future__ import annotations

from embedded import FunctionBackend
from pyserve import ServerConfig
from pyserve.errors import OK
from pyserve.inference.warmup_file import Replayed
from pyserve.lifecycle.monitor import Monitor
from pyserve.server import Core


def test_a_replayed_warm_up() -> None:
    """Its time is in microseconds, its records are added up, and both carry the directory and the status."""
    core = Core(ServerConfig(), FunctionBackend(), Monitor())
    for _ in range(2):
        core._on_replayed(Replayed("/models/m/1", OK, 1.5, 7))
    labels = ("/models/m/1", "OK")
    assert core.metrics.model_warmup_latency.values()[labels].sum == 3_000_000
    assert core.metrics.model_warmup_records_read.values() == {labels: 14}
