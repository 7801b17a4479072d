"""Recorded requests are replayed by a real server before a version is available: seen in state, log and errors."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from grpc_calls import Stubs, predict_request, status_request
from pyserve.codec.tf_record import encode_record
from pyserve.protos import tfs
from servers import EXAMPLES, ServerProcess

FILE = Path("assets.extra", "tf_serving_warmup_requests")
WAIT_S = 30.0
AVAILABLE, END = 30, 50


def predict_log(key: str = "", **inputs: list[float]) -> bytes:
    log = tfs.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = key
    for alias, values in inputs.items():
        tensor = request.inputs[alias]
        tensor.dtype = 1
        tensor.tensor_shape.dim.add().size = len(values)
        tensor.float_val.extend(values)
    return log.SerializeToString()


def give(version: Path, records: Iterable[bytes], cut: int | None = None) -> Path:
    """Put a warm-up file into a version directory; returns the file."""
    file = version / FILE
    file.parent.mkdir()
    file.write_bytes(b"".join(map(encode_record, records))[:cut])
    return file


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str], Path]:
    """Copies an example model; its base path."""
    return lambda name: Path(shutil.copytree(EXAMPLES / name, tmp_path / name))


def flags(base: Path, *more: str) -> list[str]:
    return [f"--model_name={base.name}", f"--model_base_path={base}", *more]


def states(stubs: Stubs, name: str) -> dict[int, tuple[int, str]]:
    """Version → (state, error text)."""
    answer = stubs.model.GetModelStatus(status_request(name), timeout=30)
    return {one.version: (one.state, one.status.error_message) for one in answer.model_version_status}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("more", "count"),
    [
        ([], 3),
        (["--num_request_iterations_for_warmup=4"], 12),
        (["--enable_model_warmup=false"], 0),
    ],
)
def test_every_record_is_replayed(copy: Callable[[str], Path], more: list[str], count: float) -> None:
    """A model that counts its calls has counted the records, as often as asked, before the first request."""
    base = copy("tf1_counter")
    file = give(base / "1", [predict_log("incr_counter")] * 3)
    with ServerProcess(flags(base, *more), rest=False) as server, Stubs(server.grpc_port) as stubs:
        answer = stubs.prediction.Predict(
            predict_request(base.name, {}, signature_name="get_counter"), timeout=30
        )
        assert list(answer.outputs["output"].float_val) == [count]
        said = f"Finished reading warmup data for model at {file}. Number of warmup records read: 3."
        assert (said in server.log) is (count > 0)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Path]]:
    """A server with a good version 1, to which others are added; and the model's base path."""
    base = tmp_path_factory.mktemp("serving") / "half_plus_two"
    shutil.copytree(EXAMPLES / "half_plus_two" / "1", base / "1")
    more = ["--max_num_load_retries=1", "--load_retry_interval_micros=0"]
    with ServerProcess(flags(base, *more), rest=False) as server:
        yield server, base


@pytest.mark.parametrize(
    ("version", "records", "cut", "text"),
    [
        (2, [predict_log(x=[1.0]), predict_log("none")], None, 'Serving signature key "none" not found.'),
        (3, [predict_log(y=[1.0])], None, "Signature input alias: x(feed name: "),
        (
            4,
            [predict_log(x=[1.0])],
            -1,
            "truncated record at 0' failed with Read less bytes than requested. Please verify your warmup data is in "
            "TFRecord format.",
        ),
        (5, [b""] * 1001, None, "Number of warmup records exceeds the maximum (1000) at "),
    ],
)
def test_what_fails_fails_the_load(
    serving: tuple[ServerProcess, Path], version: int, records: list[bytes], cut: int | None, text: str
) -> None:
    """A record's error, or the file's, is the version's, at every attempt; the version before it serves on."""
    server, base = serving
    arriving = Path(shutil.copytree(base / "1", base / f"{version}.arriving"))
    give(arriving, records, cut)
    with Stubs(server.grpc_port) as stubs:
        arriving.rename(base / str(version))
        until(lambda: states(stubs, base.name).get(version, (0, ""))[0] == END)
        found = states(stubs, base.name)
        assert found[version][1].startswith(text)
        assert found[1] == (AVAILABLE, "")
        answer = stubs.prediction.Predict(
            predict_request(base.name, {"x": {"dtype": 1, "shape": [1], "float_val": [2.0]}}), timeout=30
        )
        assert answer.model_spec.version.value == 1
        assert (
            server.log.count(f"Starting to read warmup data for model at {base / str(version) / FILE} ") == 2
        )


def test_examples_are_replayed(copy: Callable[[str], Path]) -> None:
    """Classify, Regress and MultiInference records run against real signatures."""
    base = copy("half_plus_two")
    logs = [tfs.PredictionLog() for _ in range(3)]
    requests: list[Any] = [
        logs[0].classify_log.request,
        logs[1].regress_log.request,
        logs[2].multi_inference_log.request,
    ]
    requests[0].model_spec.signature_name = "classify_x_to_y"
    requests[1].model_spec.signature_name = "regress_x_to_y"
    for key, method in (("regress_x_to_y", "regress"), ("classify_x_to_y", "classify")):
        task = requests[2].tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = base.name
        task.model_spec.signature_name = key
    for request in requests:
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(1.0)
    give(base / "2", [log.SerializeToString() for log in logs])
    with ServerProcess(flags(base), rest=False) as server:
        assert "Number of warmup records read: 3." in server.log
