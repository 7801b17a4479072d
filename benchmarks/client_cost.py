"""What the client costs beside tensorflow-serving-api: time per call, and time and memory of the imports.

    python benchmarks/client_cost.py [--rounds 7] [--calls 300]

The server echoes, without a model; one client at a time keeps one call in
flight, the clients in turn, round by round. "stubs" is what tutorials teach: `tf.make_tensor_proto`, the stubs of
tensorflow-serving-api, `tf.make_ndarray`. Prints medians with their range, and the ratio to pyserve.client.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from echo_servers import echo_server
from pyserve.client import Client, RestClient

_STUBS = (
    "import grpc, tensorflow\nfrom tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc"
)
_IMPORTS = {
    "Client": "from pyserve.client import Client",
    "RestClient": "from pyserve.client import RestClient",
    "stubs": _STUBS,
    "grpc and numpy": "import grpc, numpy",
}
_MEASURE = """
import os, time
began = time.perf_counter()
{code}
seconds = time.perf_counter() - began
print(seconds, int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
"""
_SIZES = {"4 B": 1, "600 KB": 150_528, "4 MB": 1_048_576}


def imports(rounds: int) -> None:
    """Seconds, and the process's memory afterwards."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in _IMPORTS}
    for _ in range(rounds):
        for name, code in _IMPORTS.items():
            command = [sys.executable, "-c", _MEASURE.format(code=code)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, resident = done.stdout.split()
            seen[name].append((float(seconds), float(resident) / 2**20))
    for name, rows in seen.items():
        seconds, mib = ([row[n] for row in rows] for n in (0, 1))
        print(f"import {name:>14}: {_spread(seconds, 1000, 'ms')}, process {statistics.median(mib):.0f} MiB")


def _spread(values: list[float], factor: float, unit: str) -> str:
    low, middle, high = (factor * x for x in (min(values), statistics.median(values), max(values)))
    return f"{middle:6.0f} {unit} ({low:.0f} to {high:.0f})"


def calls(rounds: int, count: int) -> None:
    """Time per call of each client, by the tensor's size."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with tempfile.TemporaryDirectory() as directory, echo_server(Path(directory)) as server:
        address = f"localhost:{server.grpc_port}"
        with (
            grpc.insecure_channel(address, options) as channel,
            Client(address) as client,
            RestClient(f"http://localhost:{server.rest_port}") as rest,
        ):
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

            def by_stubs(x: np.ndarray) -> np.ndarray:
                request = predict_pb2.PredictRequest()
                request.model_spec.name = "echo"
                request.model_spec.signature_name = "float"
                request.inputs["x"].CopyFrom(tf.make_tensor_proto(x))
                answer: np.ndarray = tf.make_ndarray(stub.Predict(request, timeout=60.0).outputs["y"])
                return answer

            clients: dict[str, Callable[[np.ndarray], np.ndarray]] = {
                "Client": lambda x: client.predict("echo", {"x": x}, signature="float")["y"],
                "stubs": by_stubs,
                "RestClient": lambda x: rest.predict("echo", {"x": x}, signature="float")["y"],
            }
            for size, elements in _SIZES.items():
                x = np.random.default_rng(1).random(elements, np.float32)
                compare(size, clients, x, rounds, max(3, count // max(1, elements // 1000)))


def compare(
    size: str,
    clients: dict[str, Callable[[np.ndarray], np.ndarray]],
    x: np.ndarray,
    rounds: int,
    count: int,
) -> None:
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in clients}
    for call in clients.values():
        if not np.array_equal(call(x), x):
            raise RuntimeError("not what was sent")
    for _ in range(rounds):
        for name, call in clients.items():
            began, cpu = time.perf_counter(), time.thread_time()
            for _ in range(count):
                call(x)
            seen[name].append(((time.perf_counter() - began) / count, (time.thread_time() - cpu) / count))
    reference = statistics.median(wall for wall, _ in seen["Client"])
    for name, rows in seen.items():
        wall, cpu_s = ([row[n] for row in rows] for n in (0, 1))
        ratio = statistics.median(wall) / reference
        print(
            f"{size:>6}, {name:>10}: {_spread(wall, 1e6, 'µs')} per call, of it the caller's own thread ",
            end="",
        )
        print(f"{_spread(cpu_s, 1e6, 'µs')}; {ratio:.2f} times Client")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=300)
    arguments = parser.parse_args()
    imports(arguments.rounds)
    calls(arguments.rounds, arguments.calls)
    return 0


if __name__ == "__main__":
    sys.exit(main())
