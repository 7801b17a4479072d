"""Adaptive batching in a real server over real SavedModels, and what `pyserve explain` says of it afterwards."""

from __future__ import annotations

import http.client
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adaptive_models
from grpc_calls import Stubs, predict_request
from pyserve.errors import ServingError
from pyserve.tools import explain
from servers import EXAMPLES, ServerProcess, config_text

IN_FLIGHT = 64


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that batches adaptively, without any parameters."""
    directory = tmp_path_factory.mktemp("models")
    adaptive_models.make(directory)
    models = {name: EXAMPLES / name for name in ("half_plus_two", "mlp", "vocabulary")}
    models |= {name: directory / name for name in ("scalar", "summing")}
    (directory / "models.config").write_text(config_text(models))
    with ServerProcess(
        [f"--model_config_file={directory}/models.config", "--batching_mode=adaptive"]
    ) as server:
        yield server


def get(port: int, path: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("localhost", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def post(port: int, name: str, body: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("localhost", port, timeout=30)
    try:
        connection.request("POST", f"/v1/models/{name}:predict", json.dumps(body))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def report(server: ServerProcess, name: str) -> dict[str, Any]:
    status, body = get(server.rest_port, f"/pyserve/models/{name}/batching")
    assert status == 200
    return dict(body)


def test_answers_are_those_of_unbatched_runs(adaptive: ServerProcess, server: ServerProcess) -> None:
    """With 64 requests in flight over gRPC each caller gets what a server without batching gives it."""
    chance = np.random.default_rng(5)
    images = chance.random((IN_FLIGHT, 784), np.float32)
    requests = [
        predict_request("mlp", {"images": {"dtype": 1, "shape": [1, 784], "float_val": image.tolist()}})
        for image in images
    ]
    requests += [
        predict_request(
            "half_plus_two", {"x": {"dtype": 1, "shape": [rows], "float_val": [float(rows)] * rows}}
        )
        for rows in range(1, IN_FLIGHT + 1)
    ]
    with Stubs(adaptive.grpc_port) as batched, Stubs(server.grpc_port) as unbatched:

        def differs(request: Any) -> bool:
            found = batched.prediction.Predict(request, timeout=60)
            expected = unbatched.prediction.Predict(request, timeout=60)
            return any(
                list(found.outputs[alias].tensor_shape.dim) != list(tensor.tensor_shape.dim)
                or not np.allclose(found.outputs[alias].float_val, tensor.float_val, rtol=1e-5)
                or list(found.outputs[alias].int64_val) != list(tensor.int64_val)
                for alias, tensor in expected.outputs.items()
            )

        with ThreadPoolExecutor(IN_FLIGHT) as threads:
            assert not any(threads.map(differs, requests * 4))
    (queue,) = report(adaptive, "mlp")["queues"]
    assert queue["batches"] < queue["requests"]  # some shared a run
    assert queue["requests"] >= 4 * IN_FLIGHT


def test_rest_too(adaptive: ServerProcess) -> None:
    """Requests over REST share batches and get their own rows back, strings too."""
    words = ["the", "quick", "brown", "fox", "cat"]
    with ThreadPoolExecutor(32) as threads:
        answers = threads.map(
            lambda n: post(adaptive.rest_port, "vocabulary", {"instances": [words[n % 5], "?"]}), range(320)
        )
        alone = [post(adaptive.rest_port, "vocabulary", {"instances": [word, "?"]}) for word in words]
        assert list(answers) == alone * 64


def test_signatures_without_rows_run_alone(adaptive: ServerProcess) -> None:
    """A scalar input is served as without batching, by 32 callers at once; the report says why it is not batched."""
    with ThreadPoolExecutor(32) as threads:
        answers = threads.map(lambda n: post(adaptive.rest_port, "scalar", {"inputs": n}), range(64))
        assert list(answers) == [(200, {"outputs": 2.0 * n}) for n in range(64)]
    found = report(adaptive, "scalar")
    assert found["queues"] == []
    assert found["alone"] == [
        {
            "signatures": ["serving_default"],
            "outputs": ["y"],
            "why": "an input or output has no first dimension of any size",
        }
    ]


def test_outputs_that_turn_out_to_have_no_rows(adaptive: ServerProcess) -> None:
    """Where only the answers show that requests cannot share a run, each is still answered as if it had run alone."""

    def ask(n: int) -> tuple[int, Any]:
        return post(adaptive.rest_port, "summing", {"inputs": [1.0 * n, 1.0]})

    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(ask, range(320)))
    assert answers == [(200, {"outputs": {"y": [1.0 * n, 1.0], "sum": n + 1.0}}) for n in range(320)]


def test_requests_whose_inputs_differ_in_rows(adaptive: ServerProcess) -> None:
    """What batching could only refuse runs alone, and gets the model's own answer."""
    status, body = post(adaptive.rest_port, "half_plus_two", {"inputs": 4.0})
    assert (status, body) == (200, {"outputs": 4.0})


def explained(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyserve", "explain", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_explain_after_load(adaptive: ServerProcess) -> None:
    """The command shows what the server counted, as text and as JSON, for one model and for all."""
    request = predict_request("half_plus_two", {"x": {"dtype": 1, "shape": [1], "float_val": [2.0]}})
    with Stubs(adaptive.grpc_port) as stubs:
        for _ in range(100):
            stubs.prediction.Predict(request, timeout=30)
    address = f"localhost:{adaptive.rest_port}"
    found = json.loads(explained(address, "--model=half_plus_two", "--json").stdout)
    assert found == [report(adaptive, "half_plus_two")]
    (queue,) = [queue for queue in found[0]["queues"] if queue["outputs"] == ["y"]]
    assert queue["requests"] >= 100
    text = explained(f"http://{address}/", "--model", "half_plus_two").stdout
    assert f"{queue['batches']} batches of {queue['requests']} requests" in text
    assert queue["advice"] in text
    assert "rows of a batch" in text
    everything = explained(address).stdout
    for name in ("half_plus_two", "mlp", "vocabulary", "scalar", "summing"):
        assert f"{name} version " in everything


def test_without_batching_it_says_so(server: ServerProcess) -> None:
    """A server that does not batch tells how to switch it on."""
    found = report(server, "half_plus_two")
    assert found["note"] == (
        "requests run alone: neither --enable_batching nor --batching_mode=adaptive is given"
    )
    assert (found["version"], found["queues"], found["alone"]) == (2, [], [])
    assert "requests run alone" in explained(f"localhost:{server.rest_port}", "--model=half_plus_two").stdout


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/pyserve/models/nope/batching", 404, "Servable not found for request: Latest(nope)"),
        ("/pyserve/models/half%5Fplus_two/batching?version=1", 200, None),
        (
            "/pyserve/models/half_plus_two/batching?version=7",
            404,
            "Servable not found for request: Specific(",
        ),
        (
            "/pyserve/models/half_plus_two/batching?version=x",
            400,
            "expected ?version=N with a number; got ?version=x",
        ),
        ("/pyserve/models/half_plus_two/batching?label=stable", 400, "expected ?version=N"),
    ],
)
def test_what_the_url_answers(path: str, status: int, error: str | None, server: ServerProcess) -> None:
    """Errors are JSON and name what was asked for."""
    found, body = get(server.rest_port, path)
    assert found == status
    assert body["error"].startswith(error) if error else body["version"] == 1


def test_a_server_that_cannot_explain(server: ServerProcess, tmp_path: Path) -> None:
    """An unknown model, a closed port and a server of another kind end the command with one clear line."""
    unknown = explained(f"localhost:{server.rest_port}", "--model=nope")
    assert unknown.returncode == 1
    assert "NOT_FOUND" in unknown.stderr
    assert "nope" in unknown.stderr
    closed = explained("localhost:1")
    assert closed.returncode == 1
    assert "http://localhost:1 does not answer" in closed.stderr
    handler = http.server.SimpleHTTPRequestHandler
    handler.log_message = lambda *args: None  # type: ignore[assignment,method-assign]
    with http.server.HTTPServer(("localhost", 0), handler) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            with pytest.raises(ServingError, match="is no pyserve of this version"):
                explain.fetch(f"localhost:{other.server_port}")
        finally:
            other.shutdown()
            thread.join()
