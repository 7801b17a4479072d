"""Batching in a real server over real SavedModels: answers are those of unbatched runs, and failures stay alone."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import batched_models
from grpc_calls import Stubs, example, multi_inference_request, predict_request, status_request
from pyserve.backends.saved_model import SavedModelLoader
from pyserve.config import TensorFlowOptions
from pyserve.inference.warmup_file import PATH_IN_VERSION
from servers import EXAMPLES, ServerProcess, config_text

IN_FLIGHT = 64
WAIT_S = 30.0
PARAMETERS = {
    "half_plus_two": "max_batch_size { value: 32 } batch_timeout_micros { value: 1000 } allowed_batch_sizes: [8, 32] "
    "max_enqueued_batches { value: 1000 }",
    "mlp": "max_batch_size { value: 64 } max_enqueued_batches { value: 1000 } "
    "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 5 }",
    "vocabulary": "max_batch_size { value: 16 } max_enqueued_batches { value: 1000 } pad_variable_length_inputs: true",
    "two_in_six_out": "max_enqueued_batches { value: 1000 }",
    # Exactly eight requests of one row are a batch.
    "checked": "max_batch_size { value: 8 } batch_timeout_micros { value: 10000000 }",
    "counting": "max_batch_size { value: 8 } batch_timeout_micros { value: 10000000 }",
    "swapped": "max_batch_size { value: 16 } max_enqueued_batches { value: 1000 }",
    "one_at_a_time": "max_batch_size { value: 1 } max_enqueued_batches { value: 1 }",
    "unparsable": "nonsense",
    "warmed_up": "max_batch_size { value: 4 }",
    "unbatched": None,
}
SOURCES = dict.fromkeys(("swapped", "one_at_a_time", "unparsable", "warmed_up", "unbatched"), "half_plus_two")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models with parameters of their own."""
    directory = tmp_path_factory.mktemp("models")
    batched_models.make(directory)
    for name, parameters in PARAMETERS.items():
        version = directory / name / "1"
        if not version.exists():
            shutil.copytree(EXAMPLES / SOURCES.get(name, name) / "1", version)
        if parameters is not None:
            (version / "batching_params.pbtxt").write_text(parameters)
    scalar = directory / "scalar.json"
    scalar.write_text('{"inputs": 2}')
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pyserve",
            "warmup",
            "make",
            directory / "warmed_up" / "1",
            "--request",
            scalar,
        ],
        check=True,
        capture_output=True,
    )
    assert (directory / "warmed_up" / "1" / PATH_IN_VERSION).exists()
    return directory


@pytest.fixture(scope="module")
def batched(directory: Path) -> Iterator[ServerProcess]:
    """A server that batches each of them by its own parameters."""
    (directory / "models.config").write_text(config_text({name: directory / name for name in PARAMETERS}))
    (directory / "monitoring").write_text("prometheus_config { enable: true }")
    (directory / "batching").write_text(
        'num_batch_threads { value: 2 } thread_pool_name { value: "batcher" }'
    )
    flags = [
        f"--model_config_file={directory}/models.config",
        f"--monitoring_config_file={directory}/monitoring",
        "--enable_batching",
        f"--batching_parameters_file={directory}/batching",
        "--enable_per_model_batching_parameters",
        "--fail_on_initial_load_error=false",
        "--max_num_load_retries=0",
    ]
    with ServerProcess(flags) as server:
        yield server


@pytest.fixture
def stubs(batched: ServerProcess) -> Iterator[Stubs]:
    with Stubs(batched.grpc_port) as stubs:
        yield stubs


def tensor(array: Any) -> dict[str, Any]:
    array = np.asarray(array)
    if array.dtype == object:
        return {"dtype": 7, "shape": array.shape, "string_val": list(array.flat)}
    return {"dtype": 1, "shape": array.shape, "float_val": array.astype(np.float32).ravel().tolist()}


def values(answer: Any, alias: str) -> list[Any]:
    proto = answer.outputs[alias]
    return list(proto.float_val or proto.int64_val or proto.string_val or proto.int_val)


def rest(server: ServerProcess, name: str, body: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("localhost", server.rest_port, timeout=60)
    try:
        connection.request("POST", f"/v1/models/{name}:predict", json.dumps(body))
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def metric(server: ServerProcess, name: str) -> float:
    """A value of the metrics page, its labels added up; 0 when it is not there."""
    connection = http.client.HTTPConnection("localhost", server.rest_port, timeout=60)
    try:
        connection.request("GET", "/monitoring/prometheus/metrics")
        page = connection.getresponse().read().decode()
    finally:
        connection.close()
    found = re.findall(rf"^{re.escape(name)}{{.*?}} (\S+)$", page, re.MULTILINE)
    return sum(map(float, found))


BATCHING = ":tensorflow:serving:batching_session:"


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """The results of as many calls as may be in flight together, each on a thread of its own; errors are results."""
    ready = threading.Barrier(min(count, IN_FLIGHT))

    def one(number: int) -> Any:
        if number < IN_FLIGHT:
            ready.wait(WAIT_S)
        try:
            return call(number)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"

    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        return list(threads.map(one, range(count)))


def inputs_of(name: str, number: int) -> dict[str, Any]:
    """The inputs of the request with a number: one to three rows that no other request has."""
    rows = number % 3 + 1
    x = np.arange(rows, dtype=np.float32) + 10.0 * number
    match name:
        case "mlp":
            return {"image": np.random.default_rng(number).random((rows + 4, 784)).astype(np.float32)}
        case "vocabulary":
            words = np.empty(rows, object)
            words[:] = [b"the", b"fox", b"dog"][:rows] if number % 2 else [b"fox"] * rows
            return {"words": words}
        case "two_in_six_out":
            return {"left": x, "right": x + 1}
        case _:
            return {"x": x}


@pytest.mark.parametrize("name", ["half_plus_two", "mlp", "vocabulary", "two_in_six_out"])
def test_answers_are_those_of_unbatched_runs(name: str, stubs: Stubs, batched: ServerProcess) -> None:
    """Under concurrency each caller gets over gRPC and REST what the model says of its rows alone."""
    loaded = SavedModelLoader(str(EXAMPLES / name / "1"), TensorFlowOptions()).load()
    signature = loaded.signatures["serving_default"]
    aliases = dict(zip(inputs_of(name, 0), sorted(signature.inputs), strict=True))
    try:
        requests = [
            {aliases[key]: array for key, array in inputs_of(name, number).items()} for number in range(128)
        ]
        expected = [loaded.run("serving_default", request, sorted(signature.outputs)) for request in requests]
    finally:
        loaded.unload()
    before = metric(batched, BATCHING + "wrapped_run_count")

    def call(number: int) -> Any:
        request = {alias: tensor(array) for alias, array in requests[number].items()}
        return stubs.prediction.Predict(predict_request(name, request), timeout=WAIT_S)

    for answer, wanted in zip(at_once(128, call), expected, strict=True):
        assert not isinstance(answer, str), answer
        for alias, array in wanted.items():
            assert [dim.size for dim in answer.outputs[alias].tensor_shape.dim] == list(array.shape)
            assert_same(values(answer, alias), array.ravel().tolist())
    runs = metric(batched, BATCHING + "wrapped_run_count") - before
    if name != "mlp":  # whose requests are cut into pieces
        assert 0 < runs < 128

    def post(number: int) -> Any:
        columns = {alias: plain(array) for alias, array in requests[number].items()}
        return rest(batched, name, {"inputs": columns})

    for (status, answer), wanted in zip(at_once(IN_FLIGHT, post), expected[:IN_FLIGHT], strict=True):
        assert status == 200, answer
        outputs = answer["outputs"]
        if len(wanted) == 1:
            outputs = dict.fromkeys(wanted, outputs)
        for alias, array in wanted.items():
            assert_same(outputs[alias], plain(array))


def assert_same(got: Sequence[Any], wanted: Sequence[Any]) -> None:
    if isinstance(np.ravel(wanted)[:1].tolist()[0], float):
        # Matrix products of other sizes add up in another order.
        np.testing.assert_allclose(got, wanted, rtol=1e-5)
    else:
        assert list(got) == list(wanted)


def plain(array: Any) -> Any:
    if array.dtype == object:
        return [word.decode() for word in array.tolist()]
    return array.tolist()


def eight_at_once(stubs: Stubs, name: str) -> list[Any]:
    """Eight requests of one row, a batch, of which number 3 is bad."""

    def call(number: int) -> Any:
        request = predict_request(name, {"x": tensor([-1.0 if number == 3 else number])})
        return values(stubs.prediction.Predict(request, timeout=WAIT_S), "y")

    return at_once(8, call)


def test_a_poisoned_request_fails_alone(stubs: Stubs, batched: ServerProcess) -> None:
    """Its batch is run again one by one, and only it has an error: the model's own."""
    before = metric(batched, BATCHING + "wrapped_run_count")
    answers = eight_at_once(stubs, "checked")
    assert metric(batched, BATCHING + "wrapped_run_count") - before == 9
    bad = answers.pop(3)
    assert bad.startswith("INVALID_ARGUMENT: "), bad
    assert answers == [[2.0 * number] for number in range(8) if number != 3]


def test_a_model_with_state_is_not_run_again(stubs: Stubs) -> None:
    """The batch fails whole, and the model has counted one run."""
    answers = eight_at_once(stubs, "counting")
    assert all(isinstance(answer, str) and answer.startswith("INVALID_ARGUMENT") for answer in answers), (
        answers
    )
    full = tensor(np.zeros(8))
    request = predict_request("counting", {"x": full}, signature_name="count")
    assert values(stubs.prediction.Predict(request, timeout=WAIT_S), "runs") == [1.0] * 8


def test_limits_and_rules_of_each_model(stubs: Stubs, batched: ServerProcess) -> None:
    """Refusals have TensorFlow Serving's codes and texts, over both entries; a model without a file is not batched."""

    def refusal(name: str, x: Any) -> str:
        with pytest.raises(grpc.RpcError) as caught:
            stubs.prediction.Predict(predict_request(name, {"x": tensor(x)}), timeout=WAIT_S)
        return f"{caught.value.code().name}: {caught.value.details()}"

    too_large = "Task size 33 is larger than maximum input batch size 32"
    no_rows = "Batching Run() input tensors must have at least one dimension"
    assert refusal("half_plus_two", np.zeros(33)) == f"INVALID_ARGUMENT: {too_large}"
    assert refusal("half_plus_two", 1.0) == f"INVALID_ARGUMENT: {no_rows}"
    assert rest(batched, "half_plus_two", {"inputs": [0] * 33}) == (400, {"error": too_large})
    assert rest(batched, "half_plus_two", {"inputs": 1}) == (400, {"error": no_rows})
    assert rest(batched, "half_plus_two", {"inputs": []}) == (200, {"outputs": []})
    assert rest(batched, "unbatched", {"inputs": 1}) == (200, {"outputs": 2.5})
    # Examples go through the same queues.
    tasks = [
        ("half_plus_two", "regress_x_to_y", "tensorflow/serving/regress"),
        ("half_plus_two", "classify_x_to_y", "tensorflow/serving/classify"),
    ]
    many = stubs.prediction.MultiInference(
        multi_inference_request(tasks, [example(x=float(n)) for n in range(3)]), timeout=WAIT_S
    )
    regressed = [one.value for one in many.results[0].regression_result.regressions]
    assert regressed == [2.0, 2.5, 3.0]
    too_many = multi_inference_request(tasks, [example(x=1.0)] * 33)
    with pytest.raises(grpc.RpcError, match="Task size 33"):
        stubs.prediction.MultiInference(too_many, timeout=WAIT_S)


def test_a_full_queue_is_unavailable(stubs: Stubs, batched: ServerProcess) -> None:
    """Some of many callers at once are turned away with UNAVAILABLE and 503; the others are answered."""
    text = (
        "The batch scheduling queue to which this task was submitted is full; currently 1 batches enqueued and "
        "max_enqueued_batches is 1"
    )
    x = {"x": tensor([1.0])}

    def call(number: int) -> Any:
        return values(stubs.prediction.Predict(predict_request("one_at_a_time", x), timeout=WAIT_S), "y")

    seen: list[Any] = []
    deadline = time.monotonic() + WAIT_S
    while not any(isinstance(answer, str) for answer in seen) and time.monotonic() < deadline:
        seen = at_once(500, call)
    assert {str(answer) for answer in seen} == {"[2.5]", f"UNAVAILABLE: {text}"}


def test_loads_that_fail(stubs: Stubs) -> None:
    """Parameters that cannot be read, and a warm-up that cannot be batched, end in END with TensorFlow Serving's
    errors."""

    def status(name: str) -> tuple[int, int, str]:
        (one,) = stubs.model.GetModelStatus(status_request(name), timeout=WAIT_S).model_version_status
        return one.state, one.status.error_code, one.status.error_message

    end, invalid_argument = 50, 3
    state, code, text = status("unparsable")
    assert (state, code) == (end, invalid_argument)
    assert re.fullmatch(r"Invalid protobuf file: '.*/unparsable/1/batching_params.pbtxt'", text)
    no_rows = "Batching Run() input tensors must have at least one dimension"
    assert status("warmed_up") == (end, invalid_argument, no_rows)


def test_metrics(stubs: Stubs, batched: ServerProcess) -> None:
    """What is counted per task, per input and per batch."""
    names = ("input_batch_size_count", "input_batch_size_sum", "queuing_latency_count", "wrapped_run_count",
             "padding_size_count", "padding_size_sum", "processed_batch_size_sum")  # fmt: skip

    def counts() -> Mapping[str, float]:
        return {name: metric(batched, BATCHING + name) for name in names}

    before = counts()
    stubs.prediction.Predict(predict_request("half_plus_two", {"x": tensor([1.0, 2.0, 3.0])}), timeout=WAIT_S)
    pair = {"left": tensor([1.0]), "right": tensor([2.0])}
    request = predict_request("two_in_six_out", pair)
    aliases = sorted(request.inputs)
    assert len(aliases) == 2
    stubs.prediction.Predict(request, timeout=WAIT_S)
    after = counts()
    assert {name: after[name] - before[name] for name in names} == {
        "input_batch_size_count": 3,
        "input_batch_size_sum": 5,
        "queuing_latency_count": 2,
        "wrapped_run_count": 2,
        "padding_size_count": 2,
        "padding_size_sum": 5,
        "processed_batch_size_sum": 9,
    }


def test_the_log(batched: ServerProcess) -> None:
    """One line per version that is batched, in TensorFlow Serving's words."""
    assert batched.log.count("Wrapping session to perform batch processing") >= 8


def test_hot_swaps_lose_nothing(stubs: Stubs, directory: Path) -> None:
    """While versions come and go under load every request is answered, and versions end."""
    answers: list[Any] = []
    over = threading.Event()

    def call(worker: int) -> None:
        number = worker
        while not over.is_set():
            x = [float(number), float(number + 1)]
            request = predict_request("swapped", {"x": tensor(x)})
            try:
                got = values(stubs.prediction.Predict(request, timeout=WAIT_S), "y")
                answers.append(got == [value / 2 + 2 for value in x] or got)
            except grpc.RpcError as error:
                answers.append(f"{error.code()} {error.details()}")
            number += 16

    def states() -> dict[int, int]:
        found = stubs.model.GetModelStatus(status_request("swapped"), timeout=WAIT_S).model_version_status
        return {one.version: one.state for one in found}

    threads = [threading.Thread(target=call, args=(worker,)) for worker in range(16)]
    for thread in threads:
        thread.start()
    try:
        for version in ("2", "3", "4"):
            arriving = directory / "swapped" / f"{version}.arriving"
            shutil.copytree(directory / "swapped" / "1", arriving)
            arriving.rename(directory / "swapped" / version)
            deadline = time.monotonic() + WAIT_S
            wanted = dict.fromkeys(range(1, int(version)), 50) | {int(version): 30}
            while states() != wanted:
                assert time.monotonic() < deadline, states()
                time.sleep(0.05)
    finally:
        over.set()
        for thread in threads:
            thread.join(WAIT_S)
    assert len(answers) > 100
    assert [answer for answer in answers if answer is not True] == []
