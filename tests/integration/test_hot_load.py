"""The main job, as a real process: find a version, serve it, change to another, go back."""

from __future__ import annotations

import json
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from grpc_calls import Stubs, predict_request
from servers import EXAMPLES, ServerProcess

WAIT_S = 30.0
MODEL = "half_plus_two"


def publish(base: Path, version: str, source: str = "1") -> None:
    arriving = base / f"{version}.arriving"
    shutil.copytree(EXAMPLES / MODEL / source, arriving)
    arriving.rename(base / version)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    base = tmp_path / MODEL
    base.mkdir()
    publish(base, "1")
    return base


@pytest.fixture
def server(base: Path) -> Iterator[ServerProcess]:
    with ServerProcess([f"--model_name={MODEL}", f"--model_base_path={base}"]) as server:
        yield server


def get(server: ServerProcess, path: str, body: str | None = None) -> tuple[int, Any]:
    url = f"http://localhost:{server.rest_port}/v1/models/{MODEL}{path}"
    data = None if body is None else body.encode()
    try:
        with urllib.request.urlopen(url, data, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def states(server: ServerProcess) -> dict[str, str]:
    listed = get(server, "")[1]["model_version_status"]
    return {status["version"]: status["state"] for status in listed}


def until(condition: Callable[[], bool]) -> float:
    """Seconds until a condition holds; fails after WAIT_S."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + WAIT_S
        time.sleep(0.01)
    return time.monotonic() - began


def test_versions_come_and_go(server: ServerProcess, base: Path) -> None:
    """A new version takes over and the old one ends; when it goes, the older one that is there comes back."""
    body = '{"instances": [1.0, 2.0, 5.0]}'
    assert get(server, ":predict", body) == (200, {"predictions": [2.5, 3.0, 4.5]})
    assert states(server) == {"1": "AVAILABLE"}

    publish(base, "2")
    until(lambda: states(server) == {"2": "AVAILABLE", "1": "END"})
    assert get(server, ":predict", body)[0] == 200
    status, answer = get(server, "/versions/1:predict", body)
    assert (status, answer["error"]) == (404, "Servable not found for request: Specific(half_plus_two, 1)")

    (base / "2").rename(base / "2.denied")
    until(lambda: states(server) == {"2": "END", "1": "AVAILABLE"})
    assert get(server, ":predict", body)[0] == 200

    (base / "1").rename(base / "1.denied")
    until(lambda: states(server) == {"2": "END", "1": "END"})
    status, answer = get(server, ":predict", body)
    assert (status, answer["error"]) == (404, "Servable not found for request: Latest(half_plus_two)")

    (base / "1.denied").rename(base / "1")
    until(lambda: states(server)["1"] == "AVAILABLE")
    assert get(server, ":predict", body)[0] == 200


def test_a_new_version_is_noticed_before_the_next_poll(base: Path) -> None:
    """File events shorten the wait: with a poll period of a minute a version still loads within seconds."""
    arguments = [f"--model_name={MODEL}", f"--model_base_path={base}", "--file_system_poll_wait_seconds=60"]
    with ServerProcess(arguments) as server:
        publish(base, "2")
        assert until(lambda: states(server).get("2") == "AVAILABLE") < 20


def test_a_version_copied_slowly_is_loaded_when_it_is_whole(server: ServerProcess, base: Path) -> None:
    """A directory that is still being filled is announced, not tried; once complete it is loaded."""
    target = base / "3"
    (target / "variables").mkdir(parents=True)
    until(lambda: states(server).get("3") == "START")
    source = EXAMPLES / MODEL / "1"
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    for path in files:
        assert states(server)["3"] == "START"
        target.joinpath(path.relative_to(source)).parent.mkdir(exist_ok=True)
        data = path.read_bytes()
        with target.joinpath(path.relative_to(source)).open("wb") as copy:
            for half in (data[: len(data) // 2], data[len(data) // 2 :]):
                copy.write(half)
                copy.flush()
                time.sleep(0.05)
    until(lambda: states(server) == {"3": "AVAILABLE", "1": "END"})
    assert "Encountered an error for servable version" not in server.log


def test_a_broken_version_leaves_the_old_one(base: Path) -> None:
    """A version that cannot be loaded ends with its error; the old one goes on serving."""
    arguments = [
        f"--model_name={MODEL}",
        f"--model_base_path={base}",
        "--max_num_load_retries=1",
        "--load_retry_interval_micros=1000",
        "--incomplete_version_wait_s=0.2",
    ]
    with ServerProcess(arguments) as server:
        broken = base / "2"
        broken.mkdir()
        (broken / "saved_model.pb").write_bytes(b"this is no SavedModel")
        until(lambda: states(server).get("2") == "END")
        listed = get(server, "/versions/2")[1]["model_version_status"][0]
        assert listed["status"]["error_code"] != "OK"
        assert listed["status"]["error_message"]
        assert states(server)["1"] == "AVAILABLE"
        assert get(server, ":predict", '{"instances": [1.0]}') == (200, {"predictions": [2.5]})


def test_requests_in_flight_survive_a_swap(server: ServerProcess, base: Path) -> None:
    """While versions change under load no request fails, and each is answered by one version or the other."""
    stop = threading.Event()
    served: set[int] = set()
    errors: list[Exception] = []
    request = predict_request(MODEL, {"x": {"dtype": 1, "shape": [1], "float_val": [2.0]}})

    def call() -> None:
        with Stubs(server.grpc_port) as stubs:
            while not stop.is_set():
                try:
                    response = stubs.prediction.Predict(request, timeout=30)
                    assert list(response.outputs["y"].float_val) == [3.0]
                    served.add(response.model_spec.version.value)
                except Exception as error:
                    errors.append(error)
                    return

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(2, 7):
        publish(base, str(version))
        until(lambda version=version: states(server).get(str(version)) == "AVAILABLE")  # type: ignore[misc]
        (base / str(version - 1)).rename(base / f"{version - 1}.old")
    stop.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert errors == []
    assert len(served) >= 4
