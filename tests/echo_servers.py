"""An embedded server without TensorFlow whose model `echo` gives back what it gets, in every dtype, and can misbehave.

Signatures of `echo`, by key:

    <dtype>         `x` comes back as `y`
    make_<dtype>    `count` (int64) samples of that dtype as `y`, whatever JSON can carry
    flaky           `x` as `y`; but UNAVAILABLE as often as `EchoBackend.failures` says
    gate            waits until `EchoBackend.gate` is set
    sum             `x` → its sum, of rank 0
    code            INVALID_ARGUMENT and so on, by the number in `x`
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dtype_samples import SENDABLE, sample
from pyserve import Server, ServerConfig, dtypes
from pyserve.backends.function import Function, FunctionServable, predict_signature
from pyserve.config import LoadOptions, ModelConfig
from pyserve.dtypes import Array, DType
from pyserve.errors import UnavailableError, error_for
from pyserve.servable import Servable, ServableId, Signature, TensorSpec


class EchoBackend:
    """Loads every version directory as the echo model.

    Attributes:
        failures: How many calls of `flaky` are still to fail.
        calls: How often `flaky` was called.
        sizes: The rows of each call of `float`, in order.
        running, most: How many calls of `float` there are at once, now and at most.
        gate: Opens `gate`.
    """

    def __init__(self) -> None:
        self.failures = 0
        self.calls = 0
        self.sizes: list[int] = []
        self.running = self.most = 0
        self.gate = threading.Event()
        self._lock = threading.Lock()

    def prepare(self, *, own_process: bool) -> None: ...

    def incomplete_reason(self, path: str) -> str | None:
        return None

    def make_loader(self, id: ServableId, path: str) -> EchoBackend:
        return self

    def load(self) -> Servable:
        functions: list[tuple[Signature, Function]] = [
            (_signature("flaky", dtypes.FLOAT), self._flaky),
            (_signature("gate", dtypes.FLOAT), self._wait),
            (_signature("sum", dtypes.FLOAT), lambda x: {"y": np.asarray(x.sum())}),
            (_signature("code", dtypes.INT64), _fail),
        ]
        for dtype in SENDABLE:
            functions.append((_signature(dtype.name, dtype), self._echo))
            functions.append((_signature(f"make_{dtype.name}", dtypes.INT64, dtype), _maker(dtype)))
        return FunctionServable(functions)

    def _echo(self, x: Array) -> Mapping[str, Array]:
        with self._lock:
            self.sizes.append(len(x) if x.ndim else 0)
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            return {"y": x}
        finally:
            with self._lock:
                self.running -= 1

    def _flaky(self, x: Array) -> Mapping[str, Array]:
        with self._lock:
            self.calls += 1
            self.failures -= 1
            if self.failures >= 0:
                raise UnavailableError("come back later")
        return {"y": x}

    def _wait(self, x: Array) -> Mapping[str, Array]:
        self.gate.wait(60)
        return {"y": x}


def _signature(key: str, given: DType, made: DType | None = None) -> Signature:
    return predict_signature([TensorSpec("x", given, None)], [TensorSpec("y", made or given, None)], key)


def _maker(dtype: DType) -> Function:
    return lambda x: {"y": np.concatenate([sample(dtype)] * int(x))}


def _fail(x: Array) -> Mapping[str, Array]:
    raise error_for(int(x), f"code {int(x)} was asked for")


@contextmanager
def echo_server(directory: Path, backend: EchoBackend | None = None, **config: Any) -> Iterator[Server]:
    """A running server for version 1 of `echo`, on free ports unless `config` names others."""
    backend = backend or EchoBackend()
    (directory / "echo" / "1").mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "models": (ModelConfig("echo", str(directory / "echo")),),
        "port": 0,
        "rest_api_port": 0,
        "drain_timeout_s": 5.0,
        "warmup_from_signature": False,
        "load": LoadOptions(file_system_poll_wait_seconds=0.05, max_num_load_retries=0),
        **config,
    }
    with Server(ServerConfig(**settings), backend) as server:
        try:
            yield server
        finally:
            backend.gate.set()
