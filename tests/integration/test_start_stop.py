"""Starts and stops as real processes: arguments → exit code, what is printed, which ports are open."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

import slow_models
from grpc_calls import Stubs, predict_request
from servers import EXAMPLES, ServerProcess, free_port

HPT = f"--model_base_path={EXAMPLES / 'half_plus_two'}"
BROKEN = ["--max_num_load_retries=0", "--incomplete_version_wait_s=0.1"]


@dataclass(frozen=True)
class Start:
    """A start that ends by itself. `{broken}`, `{text}` and `{port}` stand for things made by the test."""

    id: str
    arguments: list[str]
    code: int
    stdout: list[str] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)


STARTS = [
    Start("help", ["--help"], 0, ["usage: pyserve\nFlags:\n\t--port=8500 ", "pyserve's own flags:"]),
    Start("help in company", [HPT, "--help"], 0, ["usage: pyserve"]),
    Start("version", ["--version"], 0, ["TensorFlow ModelServer: ", "\nTensorFlow Library: 2."]),
    Start("version beats what is wrong", ["--version", "--port=0"], 0, ["TensorFlow ModelServer: "]),
    Start("version beats an unknown flag", ["--version", "--nonsense"], 0, ["TensorFlow ModelServer: "]),
    Start(
        "wrong value behind a blank",
        ["--port", "1.5"],
        255,
        [],
        ["Couldn't interpret value --port 1.5 for flag port."],
    ),
    Start(
        "batching parameters without batching",
        [HPT, "--batching_parameters_file=/x"],
        255,
        [
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
        ],
    ),
    Start(
        "two kinds of credentials",
        [HPT, "--use_alts_credentials", "--ssl_config_file=/x"],
        255,
        ["Either use_alts_credentials must be false or ssl_config_file must be empty."],
    ),
    Start(
        "an address that is none",
        [HPT, "--host=ä..b", "--port={port}"],
        255,
        ["Failed to BuildAndStart gRPC"],
    ),
    Start(
        "negative threads", [HPT, "--num_run_threads=-3"], 255, ["num_run_threads must be at least 0; was -3"]
    ),
    Start(
        "wrong value",
        ["--port=8500x"],
        255,
        ["usage: "],
        ["Couldn't interpret value --port=8500x for flag port."],
    ),
    Start(
        "unknown flag",
        [HPT, "--model_nam=x"],
        2,
        [],
        ["unknown argument: --model_nam=x\nDid you mean --model_name=x?"],
    ),
    Start("unknown command", ["server"], 2, [], ["unknown command: server"]),
    Start(
        "no model",
        [],
        255,
        [
            "Failed to start server. Error: INVALID_ARGUMENT: Both server_options.model_base_path and "
            "server_options.model_config_file are empty!"
        ],
    ),
    Start(
        "no port",
        [HPT, "--port=0", "--rest_api_port=8501"],
        255,
        [
            "Error: INVALID_ARGUMENT: At least one of server_options.grpc_port or server_options.grpc_socket_path"
        ],
    ),
    Start(
        "relative path",
        ["--model_base_path=models/m"],
        255,
        [
            "Error: INVALID_ARGUMENT: Expected model default to have an absolute path or URI; got base_path()=models/m"
        ],
    ),
    Start(
        "config file missing",
        ["--model_config_file=/nope/models.config"],
        255,
        ["Error: NOT_FOUND: /nope/models.config; No such file or directory"],
    ),
    Start(
        "config file broken",
        ["--model_config_file={text}"],
        255,
        ["Error: INVALID_ARGUMENT: Invalid protobuf file: '{text}'"],
        ["Error parsing text-format tensorflow.serving.ModelServerConfig: 1:"],
    ),
    Start(
        "refused flag",
        [HPT, "--use_alts_credentials"],
        255,
        ["UNIMPLEMENTED: --use_alts_credentials is refused"],
    ),
    Start(
        "monitoring config file missing",
        [HPT, "--rest_api_port=8501", "--monitoring_config_file=/nope/monitoring.config"],
        255,
        ["Failed to start server. Error: NOT_FOUND: /nope/monitoring.config; No such file or directory"],
    ),
    Start(
        "monitoring config file broken",
        [HPT, "--rest_api_port=8501", "--monitoring_config_file={text}"],
        255,
        ["Failed to start server. Error: INVALID_ARGUMENT: Invalid protobuf file: '{text}'"],
        ["Error parsing text-format tensorflow.serving.MonitoringConfig: 1:"],
    ),
    Start(
        "channel argument without a value",
        [HPT, "--grpc_channel_arguments=grpc.max_concurrent_streams"],
        255,
        ["Failed to start server. Error: INVALID_ARGUMENT: --grpc_channel_arguments: 'grpc.max_concurrent"],
    ),
    Start("TLS is never ignored", [HPT, "--ssl_config_file=/x"], 255, ["--ssl_config_file"]),
    Start(
        "log format", [HPT, "--log_format=xml"], 255, [], ["--log_format must be one of text, json; was xml"]
    ),
    Start(
        "broken model",
        ["--model_name=m", "--model_base_path={broken}", "--port={port}", *BROKEN],
        255,
        [
            "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{{name: m version: 1} due"
        ],
        [
            "Loading servable: {name: m version: 1} failed: ",
            "Servable {name: m version: 1} cannot be loaded: ",
        ],
    ),
    Start(
        "port in use",
        [HPT, "--port={taken}"],
        255,
        ["Error: INVALID_ARGUMENT: Failed to BuildAndStart gRPC server"],
    ),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the placeholders of the table stand for."""
    directory = tmp_path_factory.mktemp("starts")
    broken = directory / "broken" / "1"
    broken.mkdir(parents=True)
    (broken / "saved_model.pb").write_bytes(b"no proto at all")
    (directory / "text").write_text("improperly formatted file")
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        yield {
            "{broken}": str(broken.parent),
            "{text}": str(directory / "text"),
            "{port}": str(free_port()),
            "{taken}": str(taken.getsockname()[1]),
        }


def filled(text: str, places: dict[str, str]) -> str:
    for mark, value in places.items():
        text = text.replace(mark, value)
    return text


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.id)
def test_starts_that_end(start: Start, places: dict[str, str]) -> None:
    """Each ends with its exit code, and says why where TensorFlow Serving says it."""
    command = [sys.executable, "-m", "pyserve", *(filled(argument, places) for argument in start.arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == start.code, done.stderr
    for text in start.stdout:
        assert filled(text, places) in done.stdout
    for text in start.stderr:
        assert filled(text, places) in done.stderr
    assert "Traceback" not in done.stderr


def get(port: int, path: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("localhost", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        is_json = answer.getheader("Content-Type") == "application/json"
        return answer.status, json.loads(body) if is_json else body.decode()
    finally:
        connection.close()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def predict(channel_target: str) -> list[float]:
    with grpc.insecure_channel(channel_target) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        request = predict_request("default", {"x": {"dtype": 1, "shape": [1], "float_val": [2.0]}})
        from tensorflow_serving.apis import predict_pb2

        answer = predict_pb2.PredictResponse.FromString(call(request.SerializeToString(), timeout=20))
        return list(answer.outputs["y"].float_val)


def test_rest_port_in_use_leaves_grpc() -> None:
    """REST that cannot be had is an error in the log; gRPC serves."""
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with ServerProcess([HPT, f"--rest_api_port={port}"], rest=False) as server:
            server.wait_for_log(f"Failed to start HTTP Server at localhost:{port}")
            assert predict(f"localhost:{server.grpc_port}") == [3.0]


def test_equal_ports_leave_grpc() -> None:
    """REST on gRPC's port is skipped with TensorFlow Serving's words."""
    server = ServerProcess([HPT], rest=False)
    server.add(f"--rest_api_port={server.grpc_port}")
    with server:
        server.wait_for_log("server_options.http_port cannot be same as grpc_port.")
        assert predict(f"localhost:{server.grpc_port}") == [3.0]


def test_unix_socket_only(tmp_path: Path) -> None:
    """gRPC on a UNIX socket, without TCP; a stale socket file is no obstacle."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    server = ServerProcess([HPT, "--port=0", f"--grpc_socket_path={path}"], rest=False)
    with server:
        server.wait_for_log(f"Running gRPC ModelServer at UNIX socket {path} ...")
        assert predict(f"unix:{path}") == [3.0]
        assert not listens(server.grpc_port)


def test_one_address_only() -> None:
    """`--host` binds that address for both protocols."""
    with ServerProcess([HPT, "--host=127.0.0.1"]) as server:
        assert predict(f"127.0.0.1:{server.grpc_port}") == [3.0]
        with socket.socket(socket.AF_INET6) as probe:
            assert probe.connect_ex(("::1", server.rest_port)) != 0


def test_rest_is_reachable_by_ipv4_and_ipv6() -> None:
    """REST listens on every address, whatever the family."""
    with ServerProcess([HPT]) as server:
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family) as probe:
                assert probe.connect_ex((host, server.rest_port)) == 0


def test_the_admin_port_is_open_while_a_model_is_missing(tmp_path: Path) -> None:
    """From the first second the admin port says what the server waits for; the other ports stay closed until then."""
    base = tmp_path / "late"
    admin = free_port()
    server = ServerProcess([f"--model_base_path={base}", f"--admin_port={admin}", "--model_name=late"])
    server.launch()
    try:
        server.wait_for_log("Could not find base path")
        assert get(admin, "/healthz") == (200, "ok\n")
        status, body = get(admin, "/readyz")
        assert (status, body["ready"]) == (503, False)
        assert body["reason"] == "the server is starting; waiting for late"
        assert body["models"] == {"late": "missing path"}
        assert get(admin, "/v1/models/late")[0] == 404
        assert not listens(server.grpc_port)
        assert not listens(server.rest_port)
        base.symlink_to(EXAMPLES / "half_plus_two")
        server.wait_for_log("Exporting HTTP/REST API")
        for port in (admin, server.rest_port):
            assert get(port, "/readyz") == (
                200,
                {"ready": True, "reason": "", "models": {"late": "available"}},
            )
    finally:
        server.stop()


def test_a_missing_model_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Ports open when every other model has a result; the missing one is named as the reason."""
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "here" base_path: "{EXAMPLES}/half_plus_two" '
        f'model_platform: "tensorflow" }} config {{ name: "gone" base_path: "{tmp_path}/gone" '
        'model_platform: "tensorflow" } }'
    )
    with ServerProcess([f"--model_config_file={config}"]) as server:
        status, body = get(server.rest_port, "/readyz")
        assert status == 200
        assert body["models"] == {"here": "available", "gone": "missing path"}


def test_fail_on_initial_load_error_false(places: dict[str, str]) -> None:
    """With the flag off a broken model is reported, and the server serves without it."""
    arguments = ["--model_name=m", f"--model_base_path={places['{broken}']}", *BROKEN]
    with ServerProcess([*arguments, "--fail_on_initial_load_error=false"]) as server:
        status, body = get(server.rest_port, "/v1/models/m")
        assert status == 200
        assert body["model_version_status"][0]["state"] == "END"
        assert "version 1: " in get(server.rest_port, "/readyz")[1]["models"]["m"]


def test_json_log() -> None:
    """With `--log_format=json` each line of ours is an object."""
    with ServerProcess([HPT, "--log_format=json"]) as server:
        lines = [json.loads(line) for line in server.log.splitlines() if line.startswith('{"time')]
    messages = [line["message"] for line in lines]
    assert f"Running gRPC ModelServer at 0.0.0.0:{server.grpc_port} ..." in messages
    assert {line["level"] for line in lines} == {"INFO"}


GREPPED = [
    "Building single TensorFlow model file config:  model_name: default model_base_path: ",
    "Adding/updating models.",
    "]  (Re-)adding model: default",
    "Successfully reserved resources to load servable {name: default version: 2}",
    "Approving load for servable version {name: default version: 2}",
    "Loading servable version {name: default version: 2}",
    "Successfully loaded servable version {name: default version: 2}",
    "Finished adding/updating models",
    "Using InsecureServerCredentials",
    "Running gRPC ModelServer at 0.0.0.0:",
    "Exporting HTTP/REST API at:localhost:",
]


def test_log_lines_that_scripts_look_for() -> None:
    """They come in TensorFlow Serving's words and order, in its format."""
    with ServerProcess([HPT]) as server:
        log = server.log
    places = [log.find(text) for text in GREPPED]
    assert -1 not in places
    assert places == sorted(places)
    stamped = [line for line in log.splitlines() if "] Running gRPC" in line]
    assert len(stamped) == 1
    date, clock, letter, _ = stamped[0].split(" ", 3)
    time.strptime(f"{date} {clock[:8]}", "%Y-%m-%d %H:%M:%S")
    assert (len(clock), clock[8], clock[-1], letter) == (16, ".", ":", "I")


def test_log_level_of_tensorflow() -> None:
    """TF_CPP_MIN_LOG_LEVEL hides our lines as it hides TensorFlow's."""
    server = ServerProcess([HPT], env={"TF_CPP_MIN_LOG_LEVEL": "1"})
    server.launch()
    try:
        deadline = time.monotonic() + 60
        while not listens(server.rest_port) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert predict(f"localhost:{server.grpc_port}") == [3.0]
        assert "Running gRPC" not in server.log
    finally:
        assert server.stop() == 0


# --- stops ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("slow")
    slow_models.make(directory)
    return directory


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_stop(number: signal.Signals) -> None:
    """A signal ends an idle server at once with 0, whatever idle connections there are."""
    server = ServerProcess([HPT])
    server.start()
    idle = [
        socket.create_connection(("localhost", port)) for port in (server.rest_port, server.grpc_port) * 3
    ]
    kept = http.client.HTTPConnection("localhost", server.rest_port)
    kept.request("GET", "/healthz")
    kept.getresponse().read()
    with Stubs(server.grpc_port) as stubs:
        stubs.prediction.Predict(
            predict_request("default", {"x": {"dtype": 1, "shape": [1], "float_val": [2.0]}}), timeout=10
        )
        began = time.monotonic()
        assert server.stop(number) == 0
        assert time.monotonic() - began < 5
    for connection in idle:
        connection.close()
    kept.close()
    assert "Stopped" in server.log
    assert "Traceback" not in server.log


def slow_request(rounds: int) -> Any:
    return predict_request("slow", {"rounds": {"dtype": 9, "shape": [], "int64_val": [rounds]}})


def rounds_that_take_a_second(server: ServerProcess) -> int:
    rounds = 1000
    with Stubs(server.grpc_port) as stubs:
        while True:
            began = time.monotonic()
            stubs.prediction.Predict(slow_request(rounds), timeout=60)
            taken = time.monotonic() - began
            if taken > 0.2:
                return max(1, int(rounds / taken))
            rounds *= 4


def test_requests_in_flight_finish(slow: Path) -> None:
    """Requests that run when the signal comes are answered over both protocols; new ones are not accepted."""
    server = ServerProcess(["--model_name=slow", f"--model_base_path={slow}/slow"])
    server.start()
    rounds = rounds_that_take_a_second(server)
    answers: list[Any] = []

    def by_grpc() -> None:
        with Stubs(server.grpc_port) as stubs:
            answers.append(
                stubs.prediction.Predict(slow_request(rounds), timeout=60).outputs["rounds"].int64_val[0]
            )

    def by_rest() -> None:
        connection = http.client.HTTPConnection("localhost", server.rest_port, timeout=60)
        connection.request("POST", "/v1/models/slow:predict", json.dumps({"inputs": rounds}))
        answers.append(json.loads(connection.getresponse().read())["outputs"])
        connection.close()

    threads = [threading.Thread(target=target) for target in (by_grpc, by_rest)]
    for thread in threads:
        thread.start()
    time.sleep(0.4)
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    server.wait_for_log("Stopping: ")
    deadline = time.monotonic() + 5
    while listens(server.rest_port) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not listens(server.rest_port)
    for thread in threads:
        thread.join(60)
    assert answers == [rounds, rounds]
    assert server.process.wait(30) == 0


def test_the_drain_has_an_end(slow: Path) -> None:
    """A request that takes too long is cut off when the drain is over; the exit code is still 0."""
    server = ServerProcess(["--model_name=slow", f"--model_base_path={slow}/slow", "--drain_timeout_s=1"])
    server.start()
    with Stubs(server.grpc_port) as stubs:
        future = stubs.prediction.Predict.future(slow_request(2**40), timeout=60)
        time.sleep(0.5)
        began = time.monotonic()
        assert server.stop() == 0
        assert 0.5 < time.monotonic() - began < 10
        assert future.exception().code().name in ("UNAVAILABLE", "CANCELLED")


def test_readiness_goes_first(slow: Path) -> None:
    """During the drain delay the server still answers, and says that it is not ready."""
    admin = free_port()
    server = ServerProcess([HPT, f"--admin_port={admin}", "--drain_delay_s=2"])
    server.start()
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    server.wait_for_log("Stopping: ")
    status, body = get(admin, "/readyz")
    assert (status, body["reason"]) == (503, "the server is draining")
    assert predict(f"localhost:{server.grpc_port}") == [3.0]
    assert server.process.wait(30) == 0


def test_a_second_signal_ends_it_at_once(slow: Path) -> None:
    """While a long request drains, a second signal ends the process with 128 + its number."""
    server = ServerProcess(["--model_name=slow", f"--model_base_path={slow}/slow"])
    server.start()
    with Stubs(server.grpc_port) as stubs:
        future = stubs.prediction.Predict.future(slow_request(2**40), timeout=60)
        time.sleep(0.5)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log("Stopping: ")
        began = time.monotonic()
        assert server.stop(signal.SIGINT) == 128 + signal.SIGINT
        assert time.monotonic() - began < 2
        assert future.exception() is not None


def test_stop_during_a_load(slow: Path) -> None:
    """A load that does not end does not keep the process: exit 0 within two seconds, with no port ever open."""
    server = ServerProcess(["--model_name=slow", f"--model_base_path={slow}/slow_load"])
    server.launch()
    try:
        server.wait_for_log("Loading servable version {name: slow version: 1}")
        time.sleep(6)  # past the import of TensorFlow, into the model's initialisation
        assert not listens(server.rest_port)
    finally:
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 2


def test_stop_during_the_import() -> None:
    """A signal in the first second is heard too."""
    server = ServerProcess([HPT])
    server.launch()
    server.wait_for_log("Adding/updating models.")
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 4


def test_kill_and_restart(tmp_path: Path) -> None:
    """After SIGKILL a server starts again on the same ports and the same socket path."""
    path = tmp_path / "s"
    server = ServerProcess([HPT, f"--grpc_socket_path={path}"])
    server.start()
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    again = ServerProcess([HPT, f"--grpc_socket_path={path}"])
    again.add(f"--port={server.grpc_port}", f"--rest_api_port={server.rest_port}")
    again.start()
    assert predict(f"unix:{path}") == [3.0]
    assert predict(f"localhost:{server.grpc_port}") == [3.0]
    assert again.stop() == 0


def test_a_request_that_is_still_being_sent_when_the_stop_comes() -> None:
    """Head before the signal, body after it: the request is answered, and the connection closed with the answer.

    Likewise a connection that was open and had not said anything yet.
    """
    server = ServerProcess([HPT])
    server.start()
    body = b'{"instances": [2.0]}'
    head = b"POST /v1/models/default:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with (
        socket.create_connection(("localhost", server.rest_port)) as half,
        socket.create_connection(("localhost", server.rest_port)) as silent,
    ):
        half.sendall(head)
        time.sleep(0.2)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log("Stopping: ")
        silent.sendall(head + body)
        half.sendall(body)
        for connection in (silent, half):
            connection.settimeout(20)
            answer = b""
            while part := connection.recv(65536):
                answer += part
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert b"\r\nConnection: close\r\n" in answer
            assert answer.endswith(b'"predictions": [3.0\n    ]\n}')
    assert server.process.wait(30) == 0
    assert "cut off" not in server.log


def test_a_connection_that_was_just_made_may_still_send_its_request() -> None:
    """Who connected right before the signal and sends half a second later is answered; old silence delays nobody."""
    server = ServerProcess([HPT])
    server.start()
    old = socket.create_connection(("localhost", server.rest_port))
    time.sleep(1.1)
    with old, socket.create_connection(("localhost", server.rest_port)) as new:
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log("Stopping: ")
        time.sleep(0.5)
        new.sendall(b"GET /v1/models/default HTTP/1.1\r\nHost: x\r\n\r\n")
        new.settimeout(20)
        answer = b""
        while part := new.recv(65536):
            answer += part
        assert answer.startswith(b"HTTP/1.1 200 OK")
    assert server.process.wait(30) == 0
