"""Models that are Python code, in real servers: found, loaded, batched, swapped and refused as any other."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echo_clients import CLIENTS, client_of
from function_servers import add_version, function_server
from pyserve import Server, ServerConfig
from pyserve.client import Client
from pyserve.codec.tf_record import encode_record
from pyserve.config import BatchingParameters, LoadOptions, ModelConfig
from pyserve.errors import (
    Code,
    InternalError,
    InvalidArgumentError,
    ResourceExhaustedError,
    ServingError,
)
from pyserve.inference.warmup_file import PATH_IN_VERSION
from pyserve.lifecycle.monitor import State
from pyserve.protos import tfs
from pyserve.servable import ServableId
from python_models import X_TO_Y, modules, write
from servers import config_text

WAIT_S = 30.0
X = np.array([1, 2], np.float32)
VERSION = "X_TO_Y\nfrom . import constant\ndef predict(inputs): return {'y': inputs['x'] + constant.ADD}"


@contextmanager
def python_server(*models: Path, **config: Any) -> Iterator[Server]:
    """An embedded server for models by base path, named like their directories."""
    settings: dict[str, Any] = {
        "models": tuple(ModelConfig(path.name, str(path), platform="python") for path in models),
        "allow_python_models": True,
        "port": 0,
        "rest_api_port": 0,
        "load": LoadOptions(
            file_system_poll_wait_seconds=0.05, max_num_load_retries=0, fail_on_initial_load_error=False
        ),
        **config,
    }
    with Server(ServerConfig(**settings)) as server:
        yield server
    gc.collect()
    assert modules() == []


def version(base: Path, number: int, **files: str) -> Path:
    """A version that is there as a whole or not at all."""
    made = write(base.parent / f"{base.name}_{number}", **files)
    base.mkdir(exist_ok=True)
    return made.rename(base / str(number))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def state(server: Server, name: str, number: int) -> State | None:
    found = server.monitor.state(ServableId(name, number))
    return found.state if found else None


@pytest.mark.parametrize("kind", CLIENTS)
def test_versions(kind: str, tmp_path: Path) -> None:
    """A new version takes over while requests go on, a broken one does not, and the old one's code is gone."""
    base = tmp_path / "m"
    version(base, 1, model=VERSION, constant="ADD = 1")
    with python_server(base) as server, client_of(kind, server) as client:
        server.wait_until_available("m", WAIT_S)
        assert client.predict("m", {"x": X})["y"].tolist() == [2, 3]
        seen: set[float] = set()
        over = threading.Event()

        def ask() -> None:
            with client_of(kind, server) as mine:
                while not over.is_set():
                    seen.add(float(mine.predict("m", {"x": X})["y"][0]))

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            version(base, 2, model=VERSION, constant="ADD = 10")
            until(lambda: state(server, "m", 1) is State.END and 11 in seen)
        finally:
            over.set()
            thread.join()
        assert seen <= {2, 11}
        assert len([name for name in modules() if name.endswith(".model")]) == 1
        version(base, 3, model=VERSION, constant="\nADD = nothing")
        until(lambda: state(server, "m", 3) is State.END)
        newest = client.status("m")[0]
        assert newest.status.code is Code.INTERNAL
        where = f"{base}/3/constant.py:2: NameError: name 'nothing' is not defined"
        assert newest.status.message == where
        assert client.predict("m", {"x": X})["y"].tolist() == [11, 12]
        if kind == "grpc":
            assert client.metadata("m").signatures["serving_default"].outputs["y"].shape is None


ERRORS = """
X_TO_Y
from pyserve.errors import ResourceExhaustedError
def predict(inputs):
    kind = int(inputs["x"].flat[0])
    if kind == 1:
        raise ResourceExhaustedError("no room")
    if kind == 2:
        raise ValueError("bad")
    if kind == 3:
        raise SystemExit
    return {"y": "text"} if kind == 4 else {"y": inputs["x"]}
"""


@pytest.mark.parametrize("kind", CLIENTS)
def test_errors(kind: str, tmp_path: Path) -> None:
    """A failed request has its code and text over both protocols, and the next one is served."""
    version(tmp_path / "m", 1, model=ERRORS)
    with python_server(tmp_path / "m") as server, client_of(kind, server) as client:
        server.wait_until_available("m", WAIT_S)
        # REST has no codes: one that HTTP shares with others comes back as the nearest.
        for value, error, text in (
            (1, ResourceExhaustedError, "no room"),
            (2, InvalidArgumentError, "ValueError: bad (model.py:9)"),
            (3, InternalError, "SystemExit (model.py:11)"),
            (4, InternalError, 'predict of model.py: "y" has the type <U4, expected float'),
        ):
            with pytest.raises(ServingError) as caught:
                client.predict("m", {"x": np.array([value], np.float32)})
            assert text in caught.value.message
            if kind == "grpc":
                assert type(caught.value) is error
        assert client.predict("m", {"x": np.array([5], np.float32)})["y"].tolist() == [5]


BATCHED = """
X_TO_Y
stateless = True
runs = []
def predict(inputs):
    x = inputs["x"]
    runs.append(len(x))
    if (x < 0).any():
        raise ValueError("negative")
    return {"y": x + len(x) * 1000}
"""


def test_batches(tmp_path: Path) -> None:
    """Requests run together; one at fault has the error alone, because the code says that it may be run again."""
    version(tmp_path / "m", 1, model=BATCHED)
    batching = BatchingParameters(max_batch_size=8, batch_timeout_micros=10_000_000)
    with python_server(tmp_path / "m", batching=batching) as server:
        server.wait_until_available("m", WAIT_S)
        (module,) = [name for name in modules() if name.endswith(".model")]
        runs = sys.modules[module].runs
        assert runs == [1]  # the warm-up with zeros, which `stateless` allows

        def ask(value: float) -> float | str:
            with Client(f"localhost:{server.grpc_port}") as client:
                try:
                    return float(client.predict("m", {"x": np.array([value], np.float32)})["y"][0])
                except ServingError as error:
                    return error.message

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, range(8))) == [8000 + value for value in range(8)]
            del runs[:]
            answers = list(pool.map(ask, [-1.0, *range(1, 8)]))
        assert answers == ["ValueError: negative (model.py:9)", *(1000 + value for value in range(1, 8))]
        assert runs == [8] + 8 * [1]
        del runs


def test_warm_up_records(tmp_path: Path) -> None:
    """Recorded requests are replayed before the version is available; one that fails keeps it from being so."""
    log = tfs.PredictionLog()
    tensor = log.predict_log.request.inputs["x"]
    tensor.dtype = 1
    tensor.tensor_shape.dim.add().size = 1
    tensor.float_val.append(7)
    seen = (
        "X_TO_Y\nseen = []\ndef predict(inputs):\n    seen.append(inputs['x'].item())\n    return {'y': [1]}"
    )
    for name, model in (("good", seen), ("bad", ERRORS.replace("4", "7"))):
        file = write(tmp_path / name / "1", model=model) / PATH_IN_VERSION
        file.parent.mkdir()
        file.write_bytes(encode_record(log.SerializeToString()))
    with python_server(tmp_path / "good", tmp_path / "bad") as server:
        server.wait_until_available("good", WAIT_S)
        (module,) = [name for name in modules() if name.endswith(".model")]
        assert sys.modules[module].seen == [7]
        found = server.monitor.state(ServableId("bad", 1))
        assert found is not None
        assert '"y" has the type <U4, expected float' in found.status.message


CLASSIFY = """
signatures = {
    "serving_default": {
        "inputs": {"inputs": ("string", [None])},
        "outputs": {"classes": ("string", [None, None]), "scores": ("float", [None, None])},
        "method": "classify",
    }
}
def predict(inputs):
    rows = len(inputs["inputs"])
    return {"classes": [["a", "b"]] * rows, "scores": [[0.25, 0.75]] * rows}
"""


@pytest.mark.parametrize("kind", CLIENTS)
def test_classify(kind: str, tmp_path: Path) -> None:
    """A signature of that method takes examples."""
    version(tmp_path / "m", 1, model=CLASSIFY)
    with python_server(tmp_path / "m") as server, client_of(kind, server) as client:
        server.wait_until_available("m", WAIT_S)
        found = client.classify("m", [{"age": 3.0}])
        assert (found.labels.tolist(), found.scores.tolist()) == ([["a", "b"]], [[0.25, 0.75]])


def test_a_half_copied_version(tmp_path: Path) -> None:
    """A model of a reload waits for the files that its code imports, without a failed attempt."""
    version(tmp_path / "first", 1, model=VERSION, constant="ADD = 1")
    write(tmp_path / "m" / "1", model=VERSION)
    load = LoadOptions(file_system_poll_wait_seconds=0.05, incomplete_version_wait_s=600)
    seen: list[State] = []
    with (
        python_server(tmp_path / "first", load=load) as server,
        Client(f"localhost:{server.grpc_port}") as client,
        ThreadPoolExecutor(1) as pool,
    ):
        server.monitor.subscribe(
            lambda changed: seen.append(changed.state) if changed.id.name == "m" else None
        )
        models = {"first": tmp_path / "first", "m": tmp_path / "m"}
        reload = pool.submit(client.reload, python_config(models), timeout_s=WAIT_S)
        until(lambda: state(server, "m", 1) is State.START)
        write(tmp_path / "m" / "1", constant="ADD = 10")
        reload.result()
        assert client.predict("m", {"x": X})["y"].tolist() == [11, 12]
        assert seen == [State.START, State.LOADING, State.AVAILABLE]


def python_config(models: Mapping[str, Path]) -> str:
    return config_text(models).replace('"tensorflow"', '"python"')


def test_without_the_flag(tmp_path: Path) -> None:
    """The platform does not exist, neither at the start nor for a reload, and nothing is run."""
    models = {"m": version(tmp_path / "m", 1, model="1 / 0").parent}
    config = tmp_path / "models.config"
    config.write_text(python_config(models))
    refusal = "Model m requests unsupported platform python; it needs --allow_python_models"
    done = subprocess.run(
        [sys.executable, "-m", "pyserve", "--port=1", f"--model_config_file={config}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 255
    assert refusal in done.stdout
    with (
        function_server({"other": add_version(tmp_path, "other")}) as server,
        Client(f"localhost:{server.grpc_port}") as client,
        pytest.raises(InvalidArgumentError, match=refusal),
    ):
        client.reload(python_config(models))


def test_tensorflow_is_not_imported(tmp_path: Path) -> None:
    """A server with nothing but Python models never imports it."""
    version(tmp_path / "m", 1, model=f"{X_TO_Y}\ndef predict(inputs): return {{'y': inputs['x']}}")
    program = f"""
import sys, time
from pyserve import Server, ServerConfig
from pyserve.config import ModelConfig
models = (ModelConfig("m", {str(tmp_path / "m")!r}, platform="python"),)
with Server(ServerConfig(models=models, allow_python_models=True, port=0)) as server:
    server.wait_until_available("m", {WAIT_S})
    time.sleep(0.1)
    assert "tensorflow" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stderr, done.returncode) == ("", 0)
