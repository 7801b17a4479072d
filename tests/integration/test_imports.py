"""What importing pyserve costs, and what it must not bring along."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

HEAVY = ("tensorflow", "keras", "grpc", "aiohttp", "numpy", "google.protobuf")


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_pyserve_is_nearly_free() -> None:
    """`import pyserve` loads no package of others at all."""
    code = f"import sys, pyserve; print([m for m in {HEAVY} if m in sys.modules])"
    assert run(code).strip() == "[]"


@pytest.mark.parametrize(
    "code",
    [
        "import pyserve.server",
        "from pyserve import Server, ServerConfig; Server(ServerConfig())",
        "import pyserve.cli.main as m; m.main(['--help'])",
        "import pyserve.cli.main as m; m.main(['--nonsense'])",
        "import pyserve.cli.main as m; m.main(['--port=x'])",
        "import pyserve.cli.main as m; m.main(['--version'])",
        "import pyserve.cli.main as m; m.main([])",
    ],
)
def test_no_tensorflow(code: str) -> None:
    """Neither help, nor versions, nor errors in the arguments, nor making a server import TensorFlow."""
    assert (
        run(code + "\nimport sys\nassert not [m for m in sys.modules if m.split('.')[0] == 'tensorflow']")
        != "x"
    )


def test_help_is_quick() -> None:
    """`pyserve --help` takes well under a second: less than six bare interpreter starts and half a second."""

    def seconds(*arguments: str) -> float:
        began = time.monotonic()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True, timeout=60)
        return time.monotonic() - began

    seconds("-m", "pyserve", "--help")  # writes the byte code
    bare = min(seconds("-c", "pass") for _ in range(3))
    assert min(seconds("-m", "pyserve", "--help") for _ in range(3)) < 6 * bare + 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "order",
    [
        ("pyserve.protos.tfs", "tensorflow_serving.apis.predict_pb2", "tensorflow"),
        ("tensorflow", "tensorflow_serving.apis.predict_pb2", "pyserve.protos.tfs"),
        ("tensorflow_serving.apis.prediction_service_pb2_grpc", "pyserve.server", "tensorflow"),
        ("pyserve.server", "tensorflow", "tensorflow_serving.apis.prediction_service_pb2_grpc"),
    ],
    ids=" then ".join,
)
def test_beside_tensorflow_and_its_serving_api(order: tuple[str, ...]) -> None:
    """In one process with TensorFlow and tensorflow-serving-api, in any order, each has its own messages."""
    code = "".join(f"import {name}\n" for name in order)
    code += (
        "from pyserve.protos import tfs\n"
        "from tensorflow_serving.apis import predict_pb2\n"
        "request = predict_pb2.PredictRequest()\n"
        "request.model_spec.name = 'm'\n"
        "assert tfs.PredictRequest.FromString(request.SerializeToString()).model_spec.name == 'm'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-2000:]
