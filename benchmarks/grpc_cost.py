"""What a gRPC call costs: pyserve with half_plus_two beside a bare grpcio echo, under h2load.

    python benchmarks/grpc_cost.py [--rounds 3] [--calls 10000]

Needs h2load (Debian: nghttp2-client). Both servers run at once and are loaded in turn, round by round, at 1, 8 and 64
calls in flight. Prints the medians of calls per second, of the server's CPU time per call, and of the load
generator's own share of a core: a row in which that reaches 90 % says nothing about the server.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from pyserve.protos import tf, tfs
from servers import EXAMPLES, ServerProcess, free_port

_ECHO = """
import asyncio, sys
import grpc, grpc.aio
class Echo(grpc.GenericRpcHandler):
    def __init__(self):
        async def echo(data, context):
            return data
        self.method = grpc.unary_unary_rpc_method_handler(echo)
    def service(self, details):
        return self.method
async def main():
    server = grpc.aio.server(handlers=[Echo()])
    server.add_insecure_port("127.0.0.1:" + sys.argv[1])
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()
try:
    import uvloop
    uvloop.run(main())
except ImportError:
    asyncio.run(main())
"""
_IN_FLIGHT = {1: (1, 1), 8: (8, 1), 64: (8, 8)}  # in flight → connections, streams on each


def body() -> bytes:
    """One Predict call's message with its gRPC prefix."""
    request = tfs.PredictRequest()
    request.model_spec.name = "default"
    shape = {"dim": [{"size": 1}]}
    request.inputs["x"].CopyFrom(tf.TensorProto(dtype=tf.DT_FLOAT, float_val=[1.0], tensor_shape=shape))
    data = request.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(port: int, pid: int, in_flight: int, calls: int, data: str) -> tuple[float, float, float]:
    """Calls per second, the server's CPU seconds per call, and the load generator's share of a core."""
    connections, streams = _IN_FLIGHT[in_flight]
    command = ["h2load", "-t1", f"-n{calls}", f"-c{connections}", f"-m{streams}", f"-d{data}"]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    command.append(f"http://127.0.0.1:{port}/tensorflow.serving.PredictionService/Predict")
    before, mine, began = cpu_s(pid), resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    good = re.search(r"(\d+) succeeded, 0 failed", done.stdout)
    if good is None or int(good[1]) != calls:
        raise RuntimeError(done.stdout)
    own = after.ru_utime + after.ru_stime - mine.ru_utime - mine.ru_stime
    return calls / seconds, (cpu_s(pid) - before) / calls, own / seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=10_000)
    arguments = parser.parse_args()
    if shutil.which("h2load") is None:
        print("h2load is not installed (Debian: nghttp2-client)")
        return 2
    echo_port = free_port()
    with (
        tempfile.NamedTemporaryFile() as data,
        subprocess.Popen([sys.executable, "-c", _ECHO, str(echo_port)], stdout=subprocess.PIPE) as echo,
        ServerProcess([f"--model_base_path={EXAMPLES / 'half_plus_two'}"], rest=False) as server,
    ):
        data.write(body())
        data.flush()
        assert echo.stdout is not None
        echo.stdout.readline()
        targets = {"echo": (echo_port, echo.pid), "pyserve": (server.grpc_port, server.pid)}
        for in_flight in _IN_FLIGHT:
            seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in targets}
            for _ in range(arguments.rounds):
                for name, (port, pid) in targets.items():
                    seen[name].append(load(port, pid, in_flight, arguments.calls, data.name))
            for name, rows in seen.items():
                rate, cpu, own = (statistics.median(column) for column in zip(*rows, strict=True))
                print(
                    f"{in_flight:3} in flight, {name:>8}: {rate:7.0f} calls/s, {cpu * 1e6:5.0f} µs CPU per call, "
                    f"load generator {own:.0%} of a core"
                )
        echo.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
