"""Batching in an embedded server over callables: parameters in code, floods, and runs that do not end."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from function_servers import FunctionBackend, add_version, function_server
from grpc_calls import Stubs, predict_request
from pyserve import Server
from pyserve.config import BatchingParameters

WAIT_S = 20.0
METRICS = "/metrics"


def predict(stubs: Stubs, name: str, x: list[float], timeout_s: float = WAIT_S) -> list[float]:
    request = predict_request(name, {"x": {"dtype": 1, "shape": [len(x)], "float_val": x}})
    return list(stubs.prediction.Predict(request, timeout=timeout_s).outputs["y"].float_val)


def get(port: int | None, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://localhost:{port}{path}", timeout=WAIT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def rows_run(server: Server) -> float:
    page = get(server.rest_port, METRICS)[1]
    name = ":tensorflow:serving:batching_session:processed_batch_size_sum{} "
    return next((float(line.removeprefix(name)) for line in page.splitlines() if line.startswith(name)), 0.0)


def test_a_callable_is_batched_and_padded(tmp_path: Path) -> None:
    """The parameters of the configuration hold for callables; rows of the padding are run and not given to anybody."""
    parameters = BatchingParameters(max_batch_size=8, allowed_batch_sizes=(4, 8), max_enqueued_batches=100)
    models = {"m": add_version(tmp_path, "m")}
    with (
        function_server(models, batching=parameters, metrics_path=METRICS) as server,
        Stubs(server.grpc_port or 0) as stubs,
    ):
        assert predict(stubs, "m", [1.0, 2.0, 5.0]) == [2.5, 3.0, 4.5]
        assert rows_run(server) == 4
        with ThreadPoolExecutor(32) as threads:
            answers = list(threads.map(lambda n: predict(stubs, "m", [float(n)]), range(64)))
        assert answers == [[n / 2 + 2] for n in range(64)]
        assert predict(stubs, "m", []) == []


def test_only_callers_who_wait_are_run(tmp_path: Path) -> None:
    """Calls whose time is over, or that were cancelled, while the model is busy cost no rows."""
    backend = FunctionBackend()
    models = {"m": add_version(tmp_path, "m", mark="slow")}
    parameters = BatchingParameters(num_batch_threads=1)
    with (
        function_server(models, backend, batching=parameters, metrics_path=METRICS) as server,
        Stubs(server.grpc_port or 0) as stubs,
        ThreadPoolExecutor(2) as threads,
    ):
        first = threads.submit(predict, stubs, "m", [1.0])
        assert backend.entered.acquire(timeout=WAIT_S)
        with pytest.raises(grpc.RpcError) as caught:
            predict(stubs, "m", [2.0] * 10, timeout_s=0.1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        request = predict_request("m", {"x": {"dtype": 1, "shape": [10], "float_val": [3.0] * 10}})
        cancelled = stubs.prediction.Predict.future(request)
        time.sleep(0.2)  # for the request to arrive; the test holds either way
        cancelled.cancel()
        last = threads.submit(predict, stubs, "m", [4.0])
        time.sleep(0.2)
        backend.gate.set()
        assert (first.result(WAIT_S), last.result(WAIT_S)) == ([2.5], [4.0])
        assert rows_run(server) == 2


def test_a_flood_on_one_model_leaves_another_alone(tmp_path: Path) -> None:
    """With one model's runs all held up and hundreds of its requests waiting, another one answers."""
    backend = FunctionBackend()
    models = {"slow": add_version(tmp_path, "slow", mark="slow"), "quick": add_version(tmp_path, "quick")}
    parameters = BatchingParameters(num_batch_threads=2, max_batch_size=4, max_enqueued_batches=1000)
    with (
        function_server(models, backend, batching=parameters) as server,
        Stubs(server.grpc_port or 0) as stubs,
        ThreadPoolExecutor(200) as threads,
    ):
        flood = [threads.submit(predict, stubs, "slow", [1.0]) for _ in range(200)]
        for _ in range(2):
            assert backend.entered.acquire(timeout=WAIT_S)
        for number in range(20):
            assert predict(stubs, "quick", [float(number)]) == [number / 2 + 2]
        assert not any(call.done() for call in flood)
        backend.gate.set()
        assert [call.result(WAIT_S) for call in flood] == [[2.5]] * 200


def test_a_run_that_does_not_end(tmp_path: Path) -> None:
    """Its caller has DEADLINE_EXCEEDED, its thread a successor, its version a mark that metrics and readiness show;
    a new version serves meanwhile; the mark goes when the run ends."""
    backend = FunctionBackend()
    models = {"m": add_version(tmp_path, "m", mark="slow"), "other": add_version(tmp_path, "other")}
    with (
        function_server(
            models, backend, num_run_threads=1, stuck_after_s=0.2, admin_port=0, metrics_path=METRICS
        ) as server,
        Stubs(server.grpc_port or 0) as stubs,
    ):

        def state() -> Any:
            body = json.loads(get(server.admin_port, "/readyz")[1])
            return body["ready"], body["models"]["m"]

        def run_threads() -> set[threading.Thread]:
            return {thread for thread in threading.enumerate() if thread.name.startswith("pyserve-run-")}

        threads = run_threads()
        assert state() == (True, "available")
        with pytest.raises(grpc.RpcError) as caught:
            predict(stubs, "m", [1.0], timeout_s=0.5)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        stuck = ':pyserve:stuck_runs{model_name="m",version="1"} '
        until(lambda: stuck + "1\n" in get(server.rest_port, METRICS)[1])
        assert state() == (True, "stuck: version 1 has 1 of 1 runs that do not end")
        assert len(run_threads() - threads) == 1
        assert predict(stubs, "other", [2.0]) == [3.0]
        add_version(tmp_path, "m", 2)
        until(lambda: state()[1].startswith("available"))
        assert predict(stubs, "m", [2.0]) == [3.0]
        backend.gate.set()
        until(lambda: stuck + "0\n" in get(server.rest_port, METRICS)[1])
        until(lambda: state() == (True, "available"))
        until(lambda: len(run_threads()) == len(threads))


def test_a_server_whose_only_model_is_stuck_is_not_ready(tmp_path: Path) -> None:
    """Nobody should be sent to it."""
    backend = FunctionBackend()
    models = {"m": add_version(tmp_path, "m", mark="slow")}
    with (
        function_server(models, backend, num_run_threads=2, stuck_after_s=0.1, admin_port=0) as server,
        Stubs(server.grpc_port or 0) as stubs,
    ):
        for taken, status in ((1, 200), (2, 503)):
            with pytest.raises(grpc.RpcError):
                predict(stubs, "m", [1.0], timeout_s=0.3)
            text = f"stuck: version 1 has {taken} of 2 runs that do not end"
            until(lambda text=text: text in get(server.admin_port, "/readyz")[1])  # type: ignore[misc]
            assert get(server.admin_port, "/readyz")[0] == status
        backend.gate.set()
        until(lambda: get(server.admin_port, "/readyz")[0] == 200)
