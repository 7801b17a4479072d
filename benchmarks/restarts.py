"""Restarts under load: does a request that was in flight when the server was told to stop get lost?

    python benchmarks/restarts.py [--restarts 20] [--clients 8]

Clients of both protocols call one server without pause, each request on a connection that is open for it; the server
is stopped with SIGTERM and started again on the same ports. A request that could not be connected was not in flight:
such are counted apart, and so are calls that the server turned away with UNAVAILABLE because it was already stopping;
a client retries both. Calls that grpcio itself answers with CANCELLED, because they arrive in the moment between its
shutdown and its farewell and no handler ever sees them, are counted as `cancelled unseen`. Every other failure is a
lost request, and so is each one that the server itself reports as cut off. Exit code 1 when one was lost.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import sys
import threading
import time
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from pyserve.protos import tf, tfs
from servers import EXAMPLES, ServerProcess

BODY = '{"instances": [1.0, 2.0, 5.0]}'


class Count:
    """What became of the requests of all clients. Guarded by the lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_outcome: collections.Counter[str] = collections.Counter()
        self.lost: list[str] = []

    def add(self, outcome: str, detail: str = "") -> None:
        with self.lock:
            self.by_outcome[outcome] += 1
            if outcome == "lost":
                self.lost.append(detail)


def rest_client(port: int, over: threading.Event, count: Count) -> None:
    while not over.is_set():
        connection = http.client.HTTPConnection("localhost", port, timeout=30)
        try:
            connection.connect()
        except ConnectionError:
            count.add("not connected")
            time.sleep(0.02)
            continue
        try:
            connection.request("POST", "/v1/models/default:predict", BODY, {"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read()
            good = answer.status == 200 and b"4.5" in body
            count.add("answered" if good else "lost", f"REST {answer.status} {body[:80]!r}")
        except (ConnectionError, http.client.HTTPException, TimeoutError) as error:
            count.add("lost", f"REST {type(error).__name__}: {error}")
        finally:
            connection.close()


def grpc_client(port: int, over: threading.Event, count: Count) -> None:
    request = tfs.PredictRequest()
    request.model_spec.name = "default"
    shape = {"dim": [{"size": 1}]}
    request.inputs["x"].CopyFrom(tf.TensorProto(dtype=tf.DT_FLOAT, float_val=[5.0], tensor_shape=shape))
    data = request.SerializeToString()
    # Each client its own connection, tried again at once.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100)]
    with grpc.insecure_channel(f"localhost:{port}", options) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        while not over.is_set():
            try:
                call(data, timeout=30)
                count.add("answered")
            except grpc.RpcError as error:
                text = f"gRPC {error.code().name}: {error.details()}"
                refused = "onnection refused" in text or "ailed to connect" in text
                turned_away = error.details() == "The server is shutting down"
                unseen = error.code() is grpc.StatusCode.CANCELLED and error.details() == "CANCELLED"
                outcome = "not connected" if refused else "turned away" if turned_away else "lost"
                count.add("cancelled unseen" if unseen else outcome, text)
                time.sleep(0.02)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--clients", type=int, default=8, help="half of them REST, half gRPC")
    arguments = parser.parse_args()
    flags = [f"--model_base_path={EXAMPLES / 'half_plus_two'}"]
    first = ServerProcess(flags)
    first.start()
    over, count = threading.Event(), Count()
    threads = [
        threading.Thread(target=target, args=(port, over, count))
        for target, port in ((rest_client, first.rest_port), (grpc_client, first.grpc_port))
        for _ in range(arguments.clients // 2)
    ]
    for thread in threads:
        thread.start()
    server, stops = first, []
    for _ in range(arguments.restarts):
        time.sleep(0.5)
        began = time.monotonic()
        code = server.stop()
        stops.append(time.monotonic() - began)
        if code != 0:
            count.add("lost", f"exit code {code}")
        for line in server.log.splitlines():
            if "cut off at shutdown" in line:
                count.add("lost", line)
        server = ServerProcess(flags)
        server.add(f"--port={first.grpc_port}", f"--rest_api_port={first.rest_port}")
        server.start()
    time.sleep(0.5)
    over.set()
    for thread in threads:
        thread.join()
    server.stop()
    names = ("answered", "not connected", "turned away", "cancelled unseen")
    shown = ", ".join(f"{name} {count.by_outcome[name]}" for name in names)
    print(f"{arguments.restarts} restarts, {arguments.clients} clients: {shown}, lost {len(count.lost)}")
    print(
        f"seconds from SIGTERM to the end: median {sorted(stops)[len(stops) // 2]:.2f}, max {max(stops):.2f}"
    )
    for text in count.lost[:10]:
        print("  ", text)
    return 1 if count.lost else 0


if __name__ == "__main__":
    sys.exit(main())
