"""The metrics page over HTTP, after calls whose counts are known. No TensorFlow but its client's stubs."""

from __future__ import annotations

import http.client
import re
import threading
import time
from pathlib import Path

import grpc
import pytest

from function_servers import FunctionBackend, add_version, function_server
from grpc_calls import Stubs, predict_request
from pyserve import Server
from pyserve.lifecycle.monitor import State
from pyserve.servable import ServableId

PATH = "/monitoring/prometheus/metrics"
LINE = re.compile(
    r'(:[\w:]+)\{((?:\w+="(?:[^"\\\n]|\\.)*",?)*)\} (\S+)|# TYPE :[\w:]+ (counter|gauge|histogram)'
)


def ask(server: Server, target: str, method: str = "GET", body: bytes | None = None) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("localhost", server.rest_port or 0, timeout=30)
    try:
        connection.request(method, target, body)
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type", ""), response.read().decode()
    finally:
        connection.close()


def samples(text: str) -> dict[str, str]:
    """`name{labels}` → value; every line must be well formed."""
    assert text.endswith("\n")
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = LINE.fullmatch(line)
        assert match is not None, line
        if not line.startswith("#"):
            found[line.rpartition(" ")[0]] = match[3]
    return found


def test_counts(tmp_path: Path) -> None:
    """Each call appears where TensorFlow Serving would count it; names of no model are one label."""
    base = add_version(tmp_path, "m")
    with function_server({"m": base}, metrics_path=PATH) as server, Stubs(server.grpc_port or 0) as stubs:
        # A name that only appears on disk with its mark: the poll must not find it half made.
        staged = add_version(tmp_path, "staged", 2, mark="broken")
        (staged / "2").rename(base / "2")
        broken = ServableId("m", 2)
        assert server.monitor.wait(
            lambda: (seen := server.monitor.state(broken)) is not None and seen.state is State.END, 10
        )
        for _ in range(3):
            stubs.prediction.Predict(predict_request("m", {"x": {"dtype": 1, "shape": [], "float_val": [1]}}))
        for name in ("bogus1", "bogus2"):
            with pytest.raises(grpc.RpcError):
                stubs.prediction.Predict(predict_request(name, {}))
        with pytest.raises(grpc.RpcError):
            stubs.prediction.Predict(predict_request("m", {}))
        assert ask(server, "/v1/models/m:predict", "POST", b'{"instances": [1]}')[0] == 200
        assert ask(server, "/v1/models/m:predict", "POST", b"{")[0] == 400
        assert ask(server, "/v1/models/m")[0] == 200
        assert ask(server, "/v1/models/bogus3")[0] == 404
        assert ask(server, "/v1/nonsense")[0] == 400
        assert ask(server, "/nonsense")[0] == 404
        status, content_type, text = ask(server, PATH)
        assert (status, content_type) == (200, "text/plain")
        found = samples(text)
        count = ":tensorflow:serving:request_count"
        assert {key: value for key, value in found.items() if key.startswith(count)} == {
            count + '{model_name="",status="INVALID_ARGUMENT"}': "1",
            count + '{model_name="_unknown_",status="NOT_FOUND"}': "3",
            count + '{model_name="m",status="INVALID_ARGUMENT"}': "2",
            count + '{model_name="m",status="OK"}': "5",
        }
        latency = ":tensorflow:serving:request_latency"
        assert found[latency + '_count{model_name="m",API="Predict",entrypoint="GRPC"}'] == "3"
        assert found[latency + '_count{model_name="m",API="predict",entrypoint="REST"}'] == "1"
        assert found[latency + '_count{model_name="m",API="",entrypoint="REST"}'] == "1"
        bucket = latency + '_bucket{model_name="m",API="Predict",entrypoint="GRPC",le='
        assert (found[bucket + '"10"}'], found[bucket + '"+Inf"}']) == ("0", "3")
        assert (
            found[':tensorflow:serving:runtime_latency_count{model_name="m",API="Predict",runtime="TF1"}']
            == "4"
        )
        attempts = ":tensorflow:cc:saved_model:load_attempt_count"
        assert found[f'{attempts}{{model_path="{base}/2",status="fail"}}'] == "1"
        assert int(found[f':tensorflow:cc:saved_model:load_latency{{model_path="{base}/2"}}']) >= 0
        assert "# TYPE :tensorflow:serving:batching_session:wrapped_run_count counter\n" in text


def test_the_path(tmp_path: Path) -> None:
    """Any method, no query, before the API's own paths; nothing there unless it is enabled."""
    models = {"m": add_version(tmp_path, "m")}
    with function_server(models, metrics_path="/v1/models/m") as server:
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            status, content_type, text = ask(server, "/v1/models/m", method)
            assert (status, content_type) == (200, "text/plain")
            assert text.startswith("# TYPE :")
        assert ask(server, "/v1/models/m?a=b") == (
            400,
            "text/plain",
            "Unexpected path: /v1/models/m?a=b. Should be /v1/models/m",
        )
        assert ask(server, "/v1/models/m", "HEAD") == (200, "text/plain", "")
        assert ask(server, PATH)[:2] == (404, "text/html")
    with function_server(models) as server:
        assert ask(server, PATH)[:2] == (404, "text/html")


def test_cancelled_calls_count(tmp_path: Path) -> None:
    """A caller that goes away is CANCELLED, and has no latency."""
    backend = FunctionBackend()
    with (
        function_server({"m": add_version(tmp_path, "m", mark="slow")}, backend, metrics_path=PATH) as server,
        Stubs(server.grpc_port or 0) as stubs,
    ):
        one = predict_request("m", {"x": {"dtype": 1, "shape": [], "float_val": [1]}})
        call = stubs.prediction.Predict.future(one, timeout=30)
        assert backend.entered.acquire(timeout=10)
        call.cancel()
        wanted = ':tensorflow:serving:request_count{model_name="m",status="CANCELLED"}'
        deadline = time.monotonic() + 10
        while wanted not in (found := samples(ask(server, PATH)[2])):
            assert time.monotonic() < deadline
        assert not [key for key in found if "request_latency" in key]


def test_a_large_page_is_not_made_on_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the page is being made, other requests are answered."""
    begun, gate = threading.Event(), threading.Event()

    def page(metrics: object) -> str:
        begun.set()
        assert gate.wait(30)
        return "done"

    monkeypatch.setattr("pyserve.observe.prometheus.page", page)
    with function_server({"m": add_version(tmp_path, "m")}, metrics_path=PATH) as server:
        answers: list[tuple[int, str, str]] = []
        scrape = threading.Thread(target=lambda: answers.append(ask(server, PATH)))
        scrape.start()
        assert begun.wait(10)
        assert ask(server, "/v1/models/m")[0] == 200
        gate.set()
        scrape.join(10)
        assert answers == [(200, "text/plain", "done")]
