"""Hot swaps under load: replace a model's version again and again while clients call it.

    python benchmarks/hot_swap.py [--swaps 500] [--clients 8] [--layers 80] [--quiet-s 20]

A real server process serves a model of at least 150 operations; a process of its own keeps one call per client
in flight. Each swap publishes the next version by renaming a directory and takes the previous one away.
Quiet stretches before, between and after the swaps give the latency without swaps in the same run.

Prints: failed requests, latency with and without swaps, time per swap, and the resident memory of the server
with its slope after the first 50 swaps. Exit code 1 when a request failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from servers import ServerProcess

MODEL = "swapped"
WIDTH = 32
SETTLED_SWAPS = 50

_EXPORT = """
import sys, tensorflow as tf
layers, width, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
class Chain(tf.Module):
    def __init__(self):
        generator = tf.random.Generator.from_seed(1)
        self.weights = [tf.Variable(generator.normal([width, width]) / width**0.5) for _ in range(layers)]
    @tf.function(input_signature=[tf.TensorSpec([None, width], tf.float32, name="x")])
    def __call__(self, x):
        for weight in self.weights:
            x = tf.nn.relu(tf.matmul(x, weight)) + x * 0.1
        return {"y": x}
module = Chain()
function = module.__call__.get_concrete_function()
print(len(function.graph.get_operations()))
tf.saved_model.save(module, path, signatures=function)
"""


def export(layers: int, path: Path) -> int:
    """Make the model in a process of its own; the number of operations in its graph."""
    command = [sys.executable, "-c", _EXPORT, str(layers), str(WIDTH), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.strip().splitlines()[-1])


def publish(template: Path, base: Path, version: int) -> None:
    """Make a version appear at once, complete."""
    arriving = base / f"{version}.arriving"
    shutil.copytree(template, arriving)
    arriving.rename(base / str(version))


def take_away(base: Path, version: int) -> None:
    leaving = base / f"{version}.leaving"
    (base / str(version)).rename(leaving)
    shutil.rmtree(leaving)


def load(port: int, clients: int, end: multiprocessing.connection.Connection, out: str) -> None:
    """The load process: one call in flight per client until told to end; writes (start, seconds, ok, error)."""
    import grpc.aio

    from pyserve.protos import tf, tfs

    request = tfs.PredictRequest()
    request.model_spec.name = MODEL
    request.inputs["x"].CopyFrom(
        tf.TensorProto(
            dtype=tf.DT_FLOAT, float_val=[0.5], tensor_shape={"dim": [{"size": 1}, {"size": WIDTH}]}
        )
    )
    data = request.SerializeToString()

    async def client(results: list[tuple[float, float, bool, str]]) -> None:
        async with grpc.aio.insecure_channel(f"localhost:{port}") as channel:
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            while not end.poll():
                began = time.monotonic()
                try:
                    await call(data, timeout=30)
                    ok, error = True, ""
                except grpc.aio.AioRpcError as failure:
                    ok, error = False, f"{failure.code().name}: {failure.details()}"
                results.append((began, time.monotonic() - began, ok, error))

    async def run() -> list[tuple[float, float, bool, str]]:
        results: list[tuple[float, float, bool, str]] = []
        await asyncio.gather(*(client(results) for _ in range(clients)))
        return results

    Path(out).write_text(json.dumps(asyncio.run(run())))


def wait_for(server: ServerProcess, text: str) -> None:
    """Wait for a line of the server's log; the log is read from its end, as it grows long."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        tail = Path(server.log_path).read_bytes()[-20_000:].decode(errors="replace")
        if text in tail:
            return
        time.sleep(0.01)
    raise TimeoutError(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--swaps", type=int, default=500)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument(
        "--layers", type=int, default=80, help="layers of the model; each has several operations"
    )
    parser.add_argument("--quiet-s", type=float, default=20.0, help="seconds without swaps, three times")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        template, base = Path(directory, "template"), Path(directory, "base")
        operations = export(arguments.layers, template)
        base.mkdir()
        publish(template, base, 1)
        flags = [f"--model_name={MODEL}", f"--model_base_path={base}"]
        with ServerProcess(flags, rest=False) as server:
            return measure(server, template, base, operations, arguments)


def measure(
    server: ServerProcess, template: Path, base: Path, operations: int, arguments: argparse.Namespace
) -> int:
    out = str(base.parent / "results.json")
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=load, args=(server.grpc_port, arguments.clients, there, out))
    process.start()
    time.sleep(3)  # the load process imports and connects
    quiet: list[tuple[float, float]] = []
    busy: list[tuple[float, float]] = []
    seconds: list[float] = []
    memory: list[int] = []

    def rest() -> None:
        began = time.monotonic()
        time.sleep(arguments.quiet_s)
        quiet.append((began, time.monotonic()))

    rest()
    half = arguments.swaps // 2
    for stretch in (range(half), range(half, arguments.swaps)):
        stretch_began = time.monotonic()
        for number in stretch:
            began = time.monotonic()
            publish(template, base, number + 2)
            wait_for(server, f"Successfully loaded servable version {{name: {MODEL} version: {number + 2}}}")
            take_away(base, number + 1)
            wait_for(server, f"Done unloading servable version {{name: {MODEL} version: {number + 1}}}")
            seconds.append(time.monotonic() - began)
            memory.append(server.rss_bytes())
        busy.append((stretch_began, time.monotonic()))
        rest()
    here.send("end")
    process.join()
    results = json.loads(Path(out).read_text())
    report(results, quiet, busy, seconds, memory, operations, arguments)
    return 0 if all(ok for _, _, ok, _ in results) else 1


def report(
    results: list[Any],
    quiet: list[tuple[float, float]],
    busy: list[tuple[float, float]],
    seconds: list[float],
    memory: list[int],
    operations: int,
    arguments: argparse.Namespace,
) -> None:
    failures = [error for _, _, ok, error in results if not ok]
    print(f"{os.cpu_count()} CPUs, model of {operations} operations, {arguments.clients} clients over gRPC")
    print(f"swaps {len(seconds)}, requests {len(results)}, failed {len(failures)}")
    for error in failures[:5]:
        print("  ", error)
    p99 = {}
    for name, stretches in (("quiet", quiet), ("swapping", busy)):
        taken = (
            np.array([d for b, d, _, _ in results if any(begin <= b < end for begin, end in stretches)]) * 1e3
        )
        length = sum(end - begin for begin, end in stretches)
        p99[name] = float(np.percentile(taken, 99))
        print(
            f"{name:>8}: {len(taken) / length:7.0f} requests/s, latency ms p50 {np.percentile(taken, 50):.2f} "
            f"p99 {p99[name]:.2f} max {taken.max():.2f}"
        )
    print(f"p99 swapping / quiet: {p99['swapping'] / p99['quiet']:.2f}")
    print(f"seconds per swap: median {np.median(seconds):.3f}, max {max(seconds):.3f}")
    mib = np.array(memory) / 2**20
    print(f"RSS MiB: after swap 1 {mib[0]:.1f}, last {mib[-1]:.1f}, max {mib.max():.1f}")
    if len(mib) > SETTLED_SWAPS + 10:
        settled = mib[SETTLED_SWAPS:]
        slope = np.polyfit(np.arange(len(settled)), settled, 1)[0]
        print(f"RSS slope after the first {SETTLED_SWAPS} swaps: {slope * 1024:+.2f} KiB per swap")


if __name__ == "__main__":
    sys.exit(main())
